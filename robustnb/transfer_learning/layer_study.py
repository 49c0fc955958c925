"""The blocks of a network, counted from the output, and training some of them anew."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from robustnb.attacks.validation import check_place
from robustnb.generators import check_cpu_generator
from robustnb.models.ask import check_layers, place_of
from robustnb.models.layers import Init, initialise
from robustnb.models.modes import eval_mode
from robustnb.scalars import whole

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
_KNOWN = (nn.Conv2d, nn.Linear, *_NORMS)


def blocks(model: nn.Module, x: Tensor) -> list[tuple[str, ...]]:
    """The names of the modules of each block; the first block is the nearest to the output.

    A block is a layer with weights, or a module made of layers such as a residual unit; only
    nn.Sequential is looked into. Batch norm belongs to the block before it. The order is that in
    which the model asks them for x (N, ...), a batch as in training.
    """
    check_layers(model, "finding its blocks")
    check_place(model, x)
    called: list[str] = []
    units = dict(_units(model, ""))
    handles = [
        unit.register_forward_pre_hook(lambda *_, name=name: called.append(name))
        for name, unit in units.items()
    ]
    try:
        with torch.no_grad(), eval_mode(model):
            model(x.clone())
    finally:
        for handle in handles:
            handle.remove()
    twice = [name for name in units if called.count(name) > 1]
    if twice:
        raise ValueError(f"{twice[0]} is asked more than once, so it has no place in an order")
    found: list[tuple[str, ...]] = []
    for name in called:
        if isinstance(units[name], _NORMS) and found:
            found[-1] += (name,)
        else:
            found.append((name,))
    return found[::-1]


def _units(model: nn.Module, prefix: str) -> Iterator[tuple[str, nn.Module]]:
    for name, part in model.named_children():
        if isinstance(part, nn.Sequential):
            yield from _units(part, f"{prefix}{name}.")
        elif any(True for _ in part.parameters()):
            yield f"{prefix}{name}", part


class PartlyTrained(nn.Module):
    """A model of which only the named modules train. x: (N, ...) -> logits (N, classes).

    All others keep their weights and stay in evaluation mode, so that batch norm does not move.
    """

    def __init__(self, model: nn.Module, trained: Sequence[str]) -> None:
        """Take the model as it is, and freeze what is not in `trained`."""
        super().__init__()
        check_layers(model, "training a part of it")
        known = dict(model.named_modules())
        missing = [name for name in trained if name not in known]
        if missing or isinstance(trained, str):
            raise ValueError(
                f"trained must be a list of names of modules, got {trained!r}; the model has "
                f"{', '.join(filter(None, known))}"
            )
        self.model, self.trained = model.requires_grad_(False), tuple(trained)
        for part in self._parts():
            part.requires_grad_(True)
        self.train(self.training)

    def forward(self, x: Tensor) -> Tensor:
        """What the model answers."""
        logits: Tensor = self.model(x)
        return logits

    def train(self, mode: bool = True) -> PartlyTrained:
        """As of any module, but frozen parts stay in evaluation mode."""
        super().train(mode)
        self.model.eval()
        for part in self._parts():
            part.train(mode)
        return self

    def _parts(self) -> list[nn.Module]:
        return [self.model.get_submodule(name) for name in self.trained]


def reinitialise(
    model: nn.Module,
    x: Tensor,
    *,
    count: int,
    generator: torch.Generator,
    init: Init = "torch",
) -> PartlyTrained:
    """A copy of the model with `count` blocks nearest the output drawn anew, the rest frozen.

    The layer study of Shafahi 2020, section 3.1; blocks are those of `blocks(model, x)`. With
    count=0 the model is as it was, and nothing trains. `init` is that of `models.layers`.
    """
    check_cpu_generator(generator, needed="new weights are drawn")
    found, count = blocks(model, x), whole("count", count, least=0)
    if count > len(found):
        raise ValueError(f"count must be at most {len(found)}, the blocks there are, got {count}")
    names = [name for block in found[:count] for name in block]
    fresh, (device, _) = copy.deepcopy(model), place_of(model, x)
    fresh.to("cpu")
    for name in reversed(names):
        part = fresh.get_submodule(name)
        _check_known(name, part)
        initialise(part, generator=generator, init=init)
    return PartlyTrained(fresh.to(device), names)


def _check_known(name: str, part: nn.Module) -> None:
    for inner in part.modules():
        if any(True for _ in inner.parameters(recurse=False)) and not isinstance(inner, _KNOWN):
            raise TypeError(
                f"{name} holds a {type(inner).__name__}, which cannot be drawn anew; known are "
                f"{', '.join(kind.__name__ for kind in _KNOWN)}"
            )
