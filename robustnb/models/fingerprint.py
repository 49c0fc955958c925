"""What decides a model's answers, as facts that saved work must have in common with a model."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from robustnb import identity
from robustnb.identity_tree import changed, without
from robustnb.models.ask import ask
from robustnb.models.modes import Model, eval_mode
from robustnb.provenance import digest

_NOISE, _SEED, _DIRECTIONS = 8, 20_140_000, 4
Clip = tuple[float, float] | None
# By the number of each model of this process that was asked: the settings that changed by it.
_changed: dict[int, tuple[Callable[[], Any], set[str]]] = {}


def facts_of(model: Model, x: Tensor, *, clip: Clip = (0.0, 1.0)) -> dict[str, Any]:
    """Class, code and attributes, weights, and the answers and gradients at fixed images.

    x: images (N, ...) of the kind the model will be asked about; a few of them, noise and the ends
    of `clip` are the fixed images. What changes by asking (a counter, a cache) does not count, and
    what is filled by the first asking counts as it is then. Raises UnknownIdentity if code or
    attributes cannot be read.
    """
    probe = _probe(x, clip) if len(x) else x
    answers = _answers(model, probe) if len(x) else []  # fills what is filled at first use
    before, weights = identity.settings(model), identity.weights(model)
    if len(x):
        _answers(model, probe[1:])  # another number of images, as caches go by it
    volatile = _volatile(model, changed(before, identity.settings(model)))
    return {
        "the model (code and settings)": digest(without(before, volatile)),
        "the model (weights)": weights if weights == identity.weights(model) else "change by use",
        "the model (answers)": answers,
    }


def _volatile(model: Model, paths: set[str]) -> set[str]:
    """These settings change by asking, and those that did when this object was asked before.

    A cache that has been filled does not change any more.
    """
    key = id(model)
    known, so_far = _changed.get(key, (lambda: None, set()))
    paths = paths | so_far if known() is model else paths
    with contextlib.suppress(TypeError):  # an object without weak references
        _changed[key] = weakref.ref(model, lambda _: _changed.pop(key, None)), paths
    return paths


def _probe(x: Tensor, clip: Clip) -> Tensor:
    """A few of the images, uniform noise, and constant images from end to end."""
    low, high = clip or (0.0, 1.0)
    shape = x.shape[1:]
    generator = torch.Generator().manual_seed(_SEED)
    noise = low + (high - low) * torch.rand((_NOISE, *shape), generator=generator)
    flat = [torch.full((1, *shape), low + (high - low) * part) for part in (0.0, 0.5, 1.0)]
    return torch.cat([x[:4].detach(), *(images.to(x) for images in (noise, *flat))])


def _answers(model: Model, x: Tensor) -> list[float]:
    """The logits and their gradient at x, each along a few fixed directions."""
    devices = [x.device] if x.device.type == "cuda" else []
    with eval_mode(model), torch.random.fork_rng(devices=devices), torch.inference_mode(False):
        torch.manual_seed(_SEED)
        with torch.no_grad():
            logits = _along(ask(model, x))
        torch.manual_seed(_SEED)
        gradient = _gradient(model, x)
    return [*logits, *gradient]


def _gradient(model: Model, x: Tensor) -> list[float]:
    """Nothing where the model has none: it leaves torch, or detaches."""
    leaf = x.clone().requires_grad_()
    try:
        with torch.enable_grad():
            value = ask(model, leaf).reshape(len(x), -1)
            weights = torch.linspace(-1, 1, value.shape[1]).to(value)
            (grad,) = torch.autograd.grad((value * weights).sum(), leaf, allow_unused=True)
    except (RuntimeError, TypeError, ValueError):
        return []
    return [] if grad is None else _along(grad)


def _along(values: Tensor) -> list[float]:
    flat = values.detach().reshape(len(values), -1).double().cpu().nan_to_num(0.0, 0.0, 0.0)
    generator = torch.Generator().manual_seed(_SEED)
    directions = torch.randn(flat.shape[1], _DIRECTIONS, generator=generator, dtype=torch.float64)
    return [float(value) for value in (flat @ directions).flatten()]
