"""Checks of what an attack is given; every message says how to mend it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from robustnb.attacks.projections import Clip, check_norm
from robustnb.errors import warn
from robustnb.models.ask import check_has_values, check_model, tensors_of
from robustnb.scalars import finite, is_scalar, real, whole

_PIXELS = " in pixel units (8/255, not 8)"
_ROUNDING = 1e-3  # of the box: what float arithmetic and file formats put on top


def check_tensor(what: str, given: Any) -> None:
    """Refuse what is no torch tensor, and a sparse one."""
    if not isinstance(given, Tensor):
        raise TypeError(
            f"{what} must be a torch tensor, got {type(given).__name__}; "
            f"use torch.as_tensor({what})"
        )
    if given.layout != torch.strided:
        raise TypeError(
            f"{what} must be a dense tensor, got one of layout {given.layout}; "
            f"use {what}.to_dense()"
        )


def check_images(x: Tensor, clip: Clip = (0.0, 1.0)) -> None:
    """Refuse anything but a finite batch (N, ...) of float32 or float64 inside `clip`."""
    check_tensor("x", x)
    if not x.dtype.is_floating_point:
        raise TypeError(f"x must be float in [0, 1], got {x.dtype}; use robustnb.data.to_unit(x)")
    if x.dtype not in (torch.float32, torch.float64):
        raise TypeError(
            f"x must be float32 or float64, got {x.dtype}; use x.float() and, for a "
            "model in half precision, model.float() or `lambda x: model(x.half()).float()`"
        )
    if x.ndim < 2:
        raise ValueError(f"x must be a batch (N, ...), got shape {tuple(x.shape)}; use x[None]")
    if x.numel() == 0:
        return
    low, high = float(x.detach().min()), float(x.detach().max())
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError("x holds NaN or infinite values; clean the data before attacking it")
    if clip is not None and (low < clip[0] or high > clip[1]):
        raise ValueError(_outside(low, high, clip))


def _outside(low: float, high: float, clip: tuple[float, float]) -> str:
    """By how much images leave the box, and what to do about it."""
    excess, width = max(clip[0] - low, high - clip[1]), clip[1] - clip[0]
    if excess <= _ROUNDING * width:
        return (
            f"x must be in [{clip[0]:g}, {clip[1]:g}] and leaves it by {excess:.2g}, as rounding "
            f"does; use x.clamp({clip[0]:g}, {clip[1]:g})"
        )
    return (
        f"x must be in [{clip[0]:g}, {clip[1]:g}], got [{low:.3g}, {high:.3g}]; put Normalize "
        "inside the model: Sequential(Normalize(mean, std), net)"
    )


def check_alike(what: str, given: Tensor, x: Tensor) -> None:
    """Refuse images that are not of x's shape, dtype and device."""
    check_tensor(what, given)
    if (given.shape, given.dtype, given.device) != (x.shape, x.dtype, x.device):
        raise ValueError(
            f"{what} must be like x, {tuple(x.shape)} of {x.dtype} on {x.device}; got "
            f"{tuple(given.shape)} of {given.dtype} on {given.device}"
        )


def check_labels(y: Tensor, x: Tensor) -> None:
    """Refuse labels that are not one class number (or sign) per image, on the images' device."""
    check_tensor("y", y)
    if y.shape != (len(x),):
        raise ValueError(
            f"y must have shape ({len(x)},), one label per image, got {tuple(y.shape)}; "
            "use class numbers, not one-hot rows: y.argmax(1)"
        )
    if y.device != x.device:
        raise ValueError(f"x is on {x.device} and y on {y.device}; use y.to(x.device)")


def check_classes(y: Tensor, logits: Tensor) -> None:
    """Refuse labels that these logits have no column for (or no sign, for scores (N,))."""
    if logits.ndim == 1:
        if not bool(((y == 1) | (y == -1)).all()):
            raise ValueError("the model returns scores (N,), so y must be -1 or +1; use 2 * y - 1")
        return
    if y.dtype != torch.int64:
        raise TypeError(f"y must be int64 class numbers, got {y.dtype}; use y.long()")
    low, high, classes = int(y.min()), int(y.max()), logits.shape[1]
    if low < 0 or high >= classes:
        raise ValueError(
            f"y must be in 0..{classes - 1} for a model of {classes} classes, got {low}..{high}; "
            "check the labels or the model's `classes`"
        )


def check_loss(value: Tensor, count: int) -> None:
    """Refuse a loss that is not one value per example, (N,)."""
    if not isinstance(value, Tensor):
        raise TypeError(f"the loss must return a tensor ({count},), got {type(value).__name__}")
    if value.shape != (count,):
        raise ValueError(
            f"the loss must give one value per example ({count},), got shape "
            f'{tuple(value.shape)}; use reduction="none"'
        )


def check_eps(eps: float | Tensor, count: int) -> float | Tensor:
    """The radius as a float, or as the tensor (N,) it is.

    ValueError if it is negative, NaN or infinite.
    """
    if is_scalar(eps):
        return check_radius(eps)
    try:
        value = torch.as_tensor(eps)
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(f"eps must be a number or a tensor ({count},), got {eps!r}") from None
    if value.ndim != 1 or len(value) != count:
        raise ValueError(
            f"eps must be a number or a tensor ({count},), got shape {tuple(value.shape)}"
        )
    if not bool((torch.isfinite(value) & (value >= 0)).all()):
        raise ValueError(f"eps must be finite and >= 0{_PIXELS}, got {eps}")
    return value.detach()


def check_radius(eps: float | Tensor) -> float:
    """One radius for all examples, as a float; ValueError if it is negative, NaN or infinite."""
    if not is_scalar(eps):
        raise ValueError(f"eps must be one number for all examples, got {eps!r}")
    value = real("eps", eps)
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"eps must be finite and >= 0{_PIXELS}, got {value}")
    return value


def warn_of_bytes(eps: float | Tensor, norm: str, clip: Clip, size: int) -> None:
    """Warn of a radius beyond which there is no image: mostly 8 where 8/255 was meant.

    size: the number of coordinates of an image.
    """
    if clip is None:
        return
    reach = {"linf": 1.0, "l2": math.sqrt(size), "l1": float(size)}[norm] * (clip[1] - clip[0])
    largest = float(torch.as_tensor(eps, dtype=torch.float64).amax()) if size else 0.0
    if largest > reach * (1 + 1e-6):
        warn(
            f"eps = {largest:g} is larger than the whole box [{clip[0]:g}, {clip[1]:g}] (at most "
            f"{reach:g} in {norm}), so every image is allowed; eps is in pixel units: 8/255, not 8"
        )


def check_steps(
    step: float | Tensor | Sequence[float], steps: int
) -> tuple[float | Tensor | list[float], int]:
    """The step size (one, one for each example, or one for each step) and the number of steps.

    ValueError for no steps, a size that is negative or not finite, or a list of another length.
    """
    steps = whole("steps", steps, hint="; for no attack use eps=0")
    hint = "; try 2.5 * eps / steps"
    if is_scalar(step):
        return finite("step", step, least=0, hint=hint), steps
    if isinstance(step, Tensor):
        if step.ndim != 1:
            raise ValueError(
                f"step must be one number, a tensor (N,) or a list of one size per step, got shape "
                f"{tuple(step.shape)}"
            )
        if not bool((torch.isfinite(step) & (step >= 0)).all()):
            raise ValueError(f"step must be finite and >= 0, got {step}{hint}")
        return step, steps
    if isinstance(step, str) or not hasattr(step, "__iter__"):
        raise TypeError(f"step must be a number, a tensor (N,) or a list of numbers, got {step!r}")
    sizes = [finite("step", size, least=0, hint=hint) for size in cast(Sequence[float], step)]
    if len(sizes) != steps:
        raise ValueError(f"step lists {len(sizes)} sizes for {steps} steps; give one size per step")
    return sizes, steps


def check_choice(what: str, value: object, known: Sequence[str]) -> None:
    """Refuse a word that is not one of the known ones."""
    if value not in known:
        raise ValueError(f"{what} must be one of {', '.join(known)}, got {value!r}")


def check_place(model: Callable[[Tensor], Tensor], x: Tensor) -> None:
    """Refuse what is no model, and images whose device or dtype is not the model's."""
    check_model(model)
    check_tensor("x", x)
    first = next((t for t in tensors_of(model) if t.dtype.is_floating_point), None)
    if first is None:
        return
    check_has_values(first)
    if first.device != x.device:
        raise ValueError(f"the model is on {first.device} and x on {x.device}; use x.to(...)")
    if first.dtype != x.dtype:
        raise TypeError(
            f"the model is {first.dtype} and x is {x.dtype}; use x.to(...) or model.to(...)"
        )


def check_gradients_allowed(model: Callable[[Tensor], Tensor]) -> None:
    """Refuse to look for gradients where autograd is off for good."""
    if torch.is_inference_mode_enabled():
        raise RuntimeError(
            "this needs gradients, and torch.inference_mode() is on here, which turns them off for "
            "good; call it outside that block, or use torch.no_grad() there instead"
        )
    if any(tensor.is_inference() for tensor in tensors_of(model)):
        raise RuntimeError(
            "the model was made or loaded inside torch.inference_mode(), so no gradient passes "
            "through its weights; make it outside that block"
        )


def check_attack(
    model: Callable[[Tensor], Tensor],
    x: Tensor,
    y: Tensor,
    *,
    eps: float | Tensor,
    step: float | Tensor | Sequence[float],
    steps: int,
    norm: str,
    clip: Clip,
    gradients: bool = True,
) -> tuple[float | Tensor, float | Tensor | list[float], int]:
    """All the checks that need no pass through the model; eps, step and steps as plain numbers."""
    check_images(x, clip)
    check_labels(y, x)
    eps = check_eps(eps, len(x))
    step, steps = check_steps(step, steps)
    if isinstance(step, Tensor) and len(step) not in (1, len(x)):
        raise ValueError(f"step has {len(step)} sizes for {len(x)} images; give one for each")
    check_norm(norm)
    check_place(model, x)
    warn_of_bytes(eps, norm, clip, x[0].numel() if len(x) else 0)
    if gradients:
        check_gradients_allowed(model)
    return eps, step, steps


def check_batch_size(batch_size: int) -> int:
    """The batch size as an int; ValueError for anything but a whole number of examples."""
    return whole("batch_size", batch_size)


def check_restarts(restarts: int, start: str) -> int:
    """The restarts as an int; ValueError for less than one, and several from the same point."""
    check_choice("start", start, ("uniform", "zero", "gaussian"))
    restarts = whole("restarts", restarts)
    if restarts > 1 and start == "zero":
        raise ValueError('every restart from start="zero" is the same; use start="uniform"')
    return restarts
