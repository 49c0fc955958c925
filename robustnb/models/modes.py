"""Put a model in evaluation or training mode for a block, and give every module its flag back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import Tensor, nn

Model = Callable[[Tensor], Tensor]


@contextmanager
def evaluating(model: Model) -> Iterator[None]:
    """Run the block in evaluation mode; each module's own flag is restored, also after an error.

    A plain function has no mode and is left alone.

    >>> net = nn.Sequential(nn.Dropout().train(), nn.Dropout().eval())
    >>> with evaluating(net):
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
    before = [module.training for module in modules]
    try:
        if isinstance(model, nn.Module):
            model.train(train)  # through the model, which may keep some of its layers frozen
        yield
    finally:
        for module, flag in zip(modules, before, strict=True):
            module.training = flag
