"""What a training needs to go on after an interruption, in one file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from robustnb import resume, tensorfile
from robustnb.training.beginning import anchor

_PLAIN = (bool, int, float, str)


@dataclass
class State:
    """Everything that one epoch hands to the next, and the best weights so far."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    generator: torch.Generator
    best: dict[str, Tensor] | None = None

    def keep(self) -> None:
        """Remember the present weights as the best."""
        self.best = {name: value.clone() for name, value in self.model.state_dict().items()}

    def use_best(self) -> None:
        """Give the model the best weights, if any were kept."""
        if self.best is not None:
            self.model.load_state_dict(self.best)


def save(
    path: Path,
    state: State,
    settings: Mapping[str, Any],
    history: Mapping[str, Any],
    others: Mapping[str, Any],
) -> None:
    """Replace `path` by the present state in one step; of `others` by what they have as attributes.

    `others` are the objective and whatever else may keep count, by name.
    """
    tensors = {f"model/{name}": value for name, value in state.model.state_dict().items()}
    tensors |= {f"best/{name}": value for name, value in (state.best or {}).items()}
    for number, values in state.optimizer.state_dict()["state"].items():
        for name, value in values.items():
            if value is not None:
                tensors[f"optimizer/{number}/{name}"] = torch.as_tensor(value)
    tensors |= {f"unsaved/{name}": value for name, value in _unsaved_buffers(state.model).items()}
    tensors["generator"] = state.generator.get_state()
    kept = {name: plain_attributes(thing) for name, thing in others.items()}
    own = plain_attributes(state.model)
    resume.save(path, tensors, settings, history=history, attributes=own, others=kept)


def restore(
    path: Path, state: State, settings: Mapping[str, Any], others: Mapping[str, Any]
) -> dict[str, Any] | None:
    """Put `state` back to what `path` holds and return its history; None if there is no file.

    Raises ValueError if the file is damaged or comes from a training with other settings.
    """
    saved = resume.load(path, what="training")
    if saved is None:
        return None
    tensors, record = saved
    resume.refuse_other(path, record, settings, what="training")
    state.model.load_state_dict(_below("model/", tensors))
    for name, buffer in _unsaved_buffers(state.model).items():
        buffer.copy_(tensors[f"unsaved/{name}"])
    for name, kept in {"": record["attributes"], **record.get("others", {})}.items():
        _set_attributes(others[name] if name else state.model, kept)
    state.best = _below("best/", tensors) or None
    slots: dict[int, dict[str, Tensor]] = {}
    for name, value in _below("optimizer/", tensors).items():
        number, _, slot = name.partition("/")
        slots.setdefault(int(number), {})[slot] = value
    groups = state.optimizer.state_dict()["param_groups"]
    state.optimizer.load_state_dict({"state": slots, "param_groups": groups})
    state.generator.set_state(tensors["generator"])
    history: dict[str, Any] = record["history"]
    return history


def fingerprint(*tensors: Tensor) -> str:
    """SHA-256 of data tensors."""
    named = {str(number): tensor for number, tensor in enumerate(tensors)}
    return tensorfile.weights_digest(named)


def check_can_be_saved(model: nn.Module) -> None:
    """TypeError, before training, if a checkpoint could not hold all of the model's state."""
    for name, value in model.state_dict().items():
        if not isinstance(value, Tensor):
            raise TypeError(
                f"a checkpoint holds tensors, and {name} of the model's state is a "
                f"{type(value).__name__}; train it without checkpoint"
            )


def _unsaved_buffers(model: nn.Module) -> dict[str, Tensor]:
    """The buffers that `state_dict` leaves out; training may change them as well."""
    kept = model.state_dict().keys()
    return {name: buffer for name, buffer in model.named_buffers() if name not in kept}


def plain_attributes(thing: Any) -> dict[str, Any]:
    """Numbers and texts that a module, object or function keeps as attributes, by path.

    Such as a count of steps; of a module those of the modules below it as well.
    """
    modules = dict(thing.named_modules()) if isinstance(thing, nn.Module) else {"": anchor(thing)}
    return {
        f"{path}.{name}".lstrip("."): value
        for path, owner in modules.items()
        for name, value in getattr(owner, "__dict__", {}).items()
        if name != "training" and type(value) in _PLAIN
    }


def _set_attributes(thing: Any, values: Mapping[str, Any]) -> None:
    for path, value in values.items():
        place, _, name = path.rpartition(".")
        owner = thing.get_submodule(place) if place else anchor(thing)
        if getattr(owner, name, None) != value:
            setattr(owner, name, value)


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name[len(prefix) :]: v for name, v in tensors.items() if name.startswith(prefix)}
