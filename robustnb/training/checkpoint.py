"""What a training needs to go on after an interruption, in one file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from robustnb.training import tensorfile


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


def save(path: Path, state: State, settings: Mapping[str, Any], history: Mapping[str, Any]) -> None:
    """Replace `path` by the present state in one step."""
    tensors = {f"model/{name}": value for name, value in state.model.state_dict().items()}
    tensors |= {f"best/{name}": value for name, value in (state.best or {}).items()}
    for number, values in state.optimizer.state_dict()["state"].items():
        for name, value in values.items():
            if value is not None:
                tensors[f"optimizer/{number}/{name}"] = torch.as_tensor(value)
    tensors["generator"] = state.generator.get_state()
    tensorfile.write(path, tensors, {"settings": settings, "history": history})


def restore(path: Path, state: State, settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """Put `state` back to what `path` holds and return its history; None if there is no file.

    Raises ValueError if the file is damaged or comes from a training with other settings.
    """
    if not path.exists():
        return None
    try:
        tensors, record = tensorfile.read(path)
    except tensorfile.DamagedFile as error:
        raise ValueError(f"{error}; delete it to train from the start") from error
    _check_same(path, record["settings"], settings)
    state.model.load_state_dict(_below("model/", tensors))
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


def describe(value: Any) -> Any:
    """A setting as JSON: numbers and texts as they are, functions by name and plain keywords."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, partial):
        keywords = {name: describe(item) for name, item in sorted(value.keywords.items())}
        return {"function": describe(value.func), **keywords}
    if isinstance(value, tuple | list):
        return [describe(item) for item in value]
    if isinstance(value, Tensor):
        return fingerprint(value)
    return getattr(value, "__qualname__", type(value).__qualname__)


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name[len(prefix) :]: v for name, v in tensors.items() if name.startswith(prefix)}


def _check_same(path: Path, then: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    changed = sorted(name for name in then.keys() | now.keys() if then.get(name) != now.get(name))
    if changed:
        was = ", ".join(f"{name}: {then.get(name)!r}, now {now.get(name)!r}" for name in changed)
        raise ValueError(f"{path} belongs to another training ({was}); delete it or name another")
