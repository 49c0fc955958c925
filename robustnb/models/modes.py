"""Put a model in evaluation or training mode for a block, and give every module its flag back."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import Tensor, nn

Model = Callable[[Tensor], Tensor]


@contextmanager
def eval_mode(model: Model) -> Iterator[None]:
    """Run the block in evaluation mode; each module's own flag is restored, also after an error.

    A plain function has no mode and is left alone, and so is a module whose mode cannot be set
    (frozen by torch.jit.freeze, or made by torch.export).

    >>> net = nn.Sequential(nn.Dropout().train(), nn.Dropout().eval())
    >>> with eval_mode(net):
    ...     [m.training for m in net]
    [False, False]
    >>> [m.training for m in net]
    [True, False]
    """
    with _mode(model, train=False):
        yield


@contextmanager
def training(model: Model) -> Iterator[None]:
    """Run the block in training mode; each module's own flag is restored, also after an error."""
    with _mode(model, train=True):
        yield


@contextmanager
def _mode(model: Model, *, train: bool) -> Iterator[None]:
    modules = list(model.modules()) if isinstance(model, nn.Module) else []
    before = [(module, module.training) for module in modules if hasattr(module, "training")]
    try:
        if isinstance(model, nn.Module) and hasattr(model, "training"):
            with contextlib.suppress(NotImplementedError):  # torch.export fixes the mode
                model.train(train)  # through the model, which may keep some layers frozen
        yield
    finally:
        for module, flag in before:
            module.training = flag
