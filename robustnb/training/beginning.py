"""What a training began with, as a checkpoint must have it, however its own steps have changed it.

A module may count its calls and an objective its steps, and an interrupted training leaves a model
with other weights. So that the same cell can simply be run again, an object that is as an earlier
training here left it is known by what it was before that. What anybody else changed does count.
"""

from __future__ import annotations

import contextlib
import types
import warnings
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from robustnb import identity
from robustnb.identity_tree import changed, without
from robustnb.models.modes import eval_mode
from robustnb.provenance import digest
from robustnb.tensorfile import weights_digest

Leaves = dict[str, Any]
_MODEL = "the model"
_PARAMETERS = "the parameters"


@dataclass
class Thing:
    """An object's settings at the beginning of work and, once it has ended, at the end."""

    lives: Callable[[], Any]
    before: Leaves
    after: Leaves
    weights: str = ""  # of a model at the beginning: its parameters, and buffers as well


_seen: dict[tuple[int, Path | None], Thing] = {}  # by object and checkpoint


def anchor(thing: Any) -> Any:
    """The object that holds the state: that of a bound method, else the thing itself."""
    return thing.__self__ if isinstance(thing, types.MethodType) else thing


def begun(thing: Any, leaves: Leaves, *, where: Path | None = None) -> Thing:
    """A thing with its settings by path; what is as earlier work left it is as it was before that.

    That work is of the same place, such as a checkpoint.
    """
    own = anchor(thing)
    seen = _seen.get((id(own), where))
    if seen is not None and seen.lives() is own:
        moved = changed(seen.before, seen.after)
        left = {path for path in moved if leaves.get(path) == seen.after.get(path)}
        undone = {path: value for path, value in seen.before.items() if path in left}
        leaves = {path: value for path, value in leaves.items() if path not in left} | undone
        return Thing(seen.lives, leaves, leaves, seen.weights)
    try:
        return Thing(weakref.ref(own), leaves, leaves)
    except TypeError:  # an object without weak references
        return Thing(_nobody, leaves, leaves)


def ended(thing: Any, found: Thing, leaves: Leaves, *, where: Path | None = None) -> None:
    """Note that work which began with `found` leaves the thing with these settings."""
    found.after = leaves
    if found.lives() is not None:
        _seen[id(anchor(thing)), where] = found


def forget(thing: Any, where: Path) -> None:
    """Know a thing by what it is now, as there is no work to go on with."""
    _seen.pop((id(anchor(thing)), where), None)


def _nobody() -> None:
    return None


class Beginning:
    """What a model and the things that train it were before; made before anything is restored."""

    def __init__(
        self, path: Path, model: nn.Module, things: Mapping[str, Any], images: Tensor
    ) -> None:
        """`things` are the objective and so on by name, `images` two for the model to answer."""
        self._path, self._model = path.resolve(), model
        self._things = {name: thing for name, thing in things.items() if thing is not None}
        self._by_asking = _changed_by_asking(model, images)
        self.facts: Leaves = {}
        self._began: dict[str, Thing] = {}
        for name, thing in {_MODEL: model, **self._things}.items():
            if not path.exists():
                forget(thing, self._path)
            found = begun(thing, self._leaves(name, thing), where=self._path)
            self._began[name] = found
            self.facts |= (
                self._model_facts(found) if thing is model else {name: digest(found.before)}
            )

    def _model_facts(self, found: Thing) -> Leaves:
        parameters = found.before[_PARAMETERS]
        known, _, weights = found.weights.partition(" ")
        if known != parameters:
            weights = identity.weights(self._model)
            found.weights = f"{parameters} {weights}"
        return {
            "the model (code and settings)": digest(without(found.before, {_PARAMETERS})),
            "the model (weights before training)": weights,
        }

    def _leaves(self, name: str, thing: Any) -> Leaves:
        leaves = identity.settings(thing)
        if name == _MODEL:
            parameters = dict(self._model.named_parameters(remove_duplicate=False))
            return without(leaves, self._by_asking) | {_PARAMETERS: weights_digest(parameters)}
        return leaves | ({"its weights": identity.weights(thing)} if _has_weights(thing) else {})

    def ended(self) -> None:
        """Note how the training, ended or interrupted, leaves its model and the other things."""
        for name, thing in {_MODEL: self._model, **self._things}.items():
            with contextlib.suppress(identity.UnknownIdentity):
                ended(thing, self._began[name], self._leaves(name, thing), where=self._path)

    def warn_of_unsaved(self, saved: Mapping[str, Mapping[str, Any]]) -> None:
        """Warn of state that training has changed and `saved`, attributes by thing, lacks."""
        lost = []
        for name, thing in {_MODEL: self._model, **self._things}.items():
            own = {_PARAMETERS, *saved.get(name, {})}
            own |= {f"attributes.{path}" for path in own}
            moved = changed(self._began[name].before, self._leaves(name, thing)) - own
            lost += [f"{path.removesuffix(':keys')} of {name}" for path in sorted(moved)]
        if lost:
            shown = ", ".join(dict.fromkeys(lost[:3])) + (" and more" if len(lost) > 3 else "")
            warnings.warn(
                f"training changes what its checkpoint does not hold: {shown}. If it decides "
                "anything, a training that goes on from the file ends otherwise; keep it as a "
                "buffer of the model, or as a number in an attribute",
                stacklevel=4,
            )


def _has_weights(thing: Any) -> bool:
    return isinstance(thing, nn.Module) and any(
        True for _ in (*thing.parameters(), *thing.buffers())
    )


@torch.no_grad()
def _changed_by_asking(model: nn.Module, images: Tensor) -> set[str]:
    """The settings that an answer changes, such as a count of calls; it was asked before."""
    before = identity.settings(model)
    devices = [images.device] if images.device.type == "cuda" else []
    with eval_mode(model), torch.random.fork_rng(devices=devices):
        model(images)
    return changed(before, identity.settings(model))
