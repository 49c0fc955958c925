"""Checks of what an attack is given; every message says how to mend it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from robustnb.attacks.geometry import NORMS, Clip


def check_images(x: Tensor, clip: Clip = (0.0, 1.0)) -> None:
    """Refuse anything but a finite batch (N, ...) of float32 or float64 inside `clip`."""
    if not isinstance(x, Tensor):
        raise TypeError(f"x must be a torch tensor, got {type(x).__name__}; use torch.as_tensor(x)")
    if not x.dtype.is_floating_point:
        raise TypeError(f"x must be float in [0, 1], got {x.dtype}; use robustnb.data.to_unit(x)")
    if x.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"x must be float32 or float64, got {x.dtype}; use x.float()")
    if x.ndim < 2:
        raise ValueError(f"x must be a batch (N, ...), got shape {tuple(x.shape)}; use x[None]")
    if x.numel() == 0:
        return
    low, high = float(x.min()), float(x.max())
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError("x holds NaN or infinite values; clean the data before attacking it")
    if clip is not None and (low < clip[0] or high > clip[1]):
        raise ValueError(
            f"x must be in [{clip[0]:g}, {clip[1]:g}], got [{low:.3g}, {high:.3g}]; put Normalize "
            "inside the model: Sequential(Normalize(mean, std), net)"
        )


def check_labels(y: Tensor, x: Tensor) -> None:
    """Refuse labels that are not one class number (or sign) per image, on the images' device."""
    if not isinstance(y, Tensor):
        raise TypeError(f"y must be a torch tensor, got {type(y).__name__}; use torch.as_tensor(y)")
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


def check_logits(logits: Tensor, count: int) -> None:
    """Refuse a model's output unless it is finite logits (N, classes) or scores (N,)."""
    if logits.ndim not in (1, 2) or len(logits) != count:
        raise ValueError(
            f"the model must return logits ({count}, classes) or scores ({count},), got shape "
            f"{tuple(logits.shape)}; flatten its output"
        )
    if not bool(torch.isfinite(logits).all()):
        raise ValueError(
            "the model returned NaN or infinite logits; a NaN never counts as fooled, so the "
            "attack would overstate robustness. Check the weights (training diverged?)"
        )


def check_eps(eps: float | Tensor, count: int) -> None:
    """Refuse a radius that is negative, NaN or infinite, or a tensor that is not (N,)."""
    value = torch.as_tensor(eps, dtype=torch.float64)
    if value.ndim > 1 or (value.ndim == 1 and len(value) != count):
        raise ValueError(
            f"eps must be a number or a tensor ({count},), got shape {tuple(value.shape)}"
        )
    if not bool((torch.isfinite(value) & (value >= 0)).all()):
        raise ValueError(f"eps must be finite and >= 0 in pixel units (8/255, not 8), got {eps}")


def check_steps(step: float | Tensor | Sequence[float], steps: int) -> None:
    """Refuse no steps, a step size that is not positive, or a schedule of another length."""
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise ValueError(f"steps must be an integer >= 1, got {steps!r}; for no attack use eps=0")
    if not isinstance(step, (int, float, Tensor)) and len(step) != steps:
        raise ValueError(f"step lists {len(step)} sizes for {steps} steps; give one size per step")
    value = torch.as_tensor(step, dtype=torch.float64)
    if not bool((torch.isfinite(value) & (value >= 0)).all()):
        raise ValueError(f"step must be finite and >= 0, got {step}; try 2.5 * eps / steps")


def check_choice(what: str, value: object, known: Sequence[str]) -> None:
    """Refuse a word that is not one of the known ones."""
    if value not in known:
        raise ValueError(f"{what} must be one of {', '.join(known)}, got {value!r}")


def check_norm(norm: str) -> None:
    """Refuse a norm we have no geometry for."""
    check_choice("norm", norm, NORMS)


def check_place(model: Callable[[Tensor], Tensor], x: Tensor) -> None:
    """Refuse images whose device or dtype is not the model's."""
    first = next(model.parameters(), None) if isinstance(model, nn.Module) else None
    if first is None:
        return
    if first.device != x.device:
        raise ValueError(f"the model is on {first.device} and x on {x.device}; use x.to(...)")
    if first.dtype != x.dtype:
        raise TypeError(
            f"the model is {first.dtype} and x is {x.dtype}; use x.to(...) or model.to(...)"
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
) -> None:
    """All the checks that need no pass through the model."""
    check_images(x, clip)
    check_labels(y, x)
    check_eps(eps, len(x))
    check_steps(step, steps)
    check_norm(norm)
    check_place(model, x)


def check_batch_size(batch_size: int) -> None:
    """Refuse anything but a whole number of examples."""
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise ValueError(f"batch_size must be an integer >= 1, got {batch_size!r}")


def check_restarts(restarts: int, start: str) -> None:
    """Refuse less than one restart, and several from the same point."""
    check_choice("start", start, ("uniform", "zero", "gaussian"))
    if isinstance(restarts, bool) or not isinstance(restarts, int) or restarts < 1:
        raise ValueError(f"restarts must be an integer >= 1, got {restarts!r}")
    if restarts > 1 and start == "zero":
        raise ValueError('every restart from start="zero" is the same; use start="uniform"')
