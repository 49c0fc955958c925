"""Linear learners against their exact linf adversary (Tsipras 2019, theorem 2.2 and appendix E)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from robustnb.attacks.projections import Clip, check_box
from robustnb.attacks.validation import check_choice, check_images, check_radius
from robustnb.scalars import finite, whole

_LOSSES: dict[str, Callable[[Tensor], Tensor]] = {
    "hinge": lambda margins: F.relu(1 - margins),
    "logistic": lambda margins: F.softplus(-margins),
}


@dataclass(frozen=True)
class LinearLearner:
    """sign(w . x + b), with weights w (d,) and bias b."""

    weights: Tensor
    bias: float

    def margins(self, x: Tensor, y: Tensor, *, eps: float = 0.0, clip: Clip = None) -> Tensor:
        """y (w . x' + b) at the worst x' of `worst_inputs`, (N,); above 0 is right."""
        eps, clip = check_radius(eps), check_box(clip)
        _check(x, y)
        return _margins(self.weights, x.new_tensor(self.bias), x, y.to(x), eps, clip)


def worst_inputs(weights: Tensor, x: Tensor, y: Tensor, *, eps: float, clip: Clip = None) -> Tensor:
    """The inputs of lowest margin in the linf ball of radius eps around x and in `clip`, (N, d).

    x: (N, d); y: (N,) of -1 and +1. Every coordinate moves against the sign of y w by eps, or up to
    the box: no other point has a lower margin, as the margin is a sum over coordinates.
    """
    eps, clip = check_radius(eps), check_box(clip)
    _check(x, y)
    return _worst(weights, x, y.to(x), eps, clip)


def _worst(weights: Tensor, x: Tensor, y: Tensor, eps: float, clip: Clip) -> Tensor:
    moved = x - eps * y[:, None] * weights.sign()
    return moved if clip is None else moved.clamp(*clip)


def fit_linear(
    x: Tensor,
    y: Tensor,
    *,
    eps: float,
    l2: float,
    loss: Literal["hinge", "logistic"] = "logistic",
    bias: bool = True,
    clip: Clip = None,
    steps: int = 500,
    lr: float = 0.05,
) -> LinearLearner:
    """Minimise the mean loss at `worst_inputs` plus l2 / 2 |w|^2, by full passes of Adam from 0.

    x: (N, d) floats; y: (N,) of -1 and +1. The problem is convex; the rate falls to 0 along half a
    cosine, so that the steps settle where the objective has a corner. Nothing is random.
    """
    check_choice("loss", loss, tuple(_LOSSES))
    steps, lr = whole("steps", steps), finite("lr", lr, above=0)
    l2, eps, clip = finite("l2", l2, least=0), check_radius(eps), check_box(clip)
    _check(x, y)
    if not len(x):
        raise ValueError("x must be (N, d) with N >= 1, got no example")
    with torch.inference_mode(False), torch.enable_grad():
        return _fitted(x.detach().clone(), y.to(x).clone(), eps, l2, loss, bias, clip, steps, lr)


def _fitted(
    x: Tensor,
    sign: Tensor,
    eps: float,
    l2: float,
    loss: str,
    bias: bool,
    clip: Clip,
    steps: int,
    lr: float,
) -> LinearLearner:
    w, b = x.new_zeros(x.shape[1]).requires_grad_(), x.new_zeros(()).requires_grad_(bias)
    adam = torch.optim.Adam([w, b] if bias else [w], lr=lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)
    for _ in range(steps):
        value = _LOSSES[loss](_margins(w, b, x, sign, eps, clip)).mean()
        value = value + l2 / 2 * w.square().sum()
        adam.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        adam.step()
        schedule.step()
    return LinearLearner(w.detach(), float(b.detach()))


def _margins(w: Tensor, b: Tensor, x: Tensor, sign: Tensor, eps: float, clip: Clip) -> Tensor:
    """The margins at the worst inputs; without a box they lose eps |w|_1, and no input is made."""
    if eps == 0 or clip is None:
        return sign * (x @ w + b) - eps * w.abs().sum()
    worst = _worst(w.detach(), x, sign, eps, clip)
    return sign * (worst @ w + b)


def _check(x: Tensor, y: Tensor) -> None:
    """Refuse what is not finite floats (N, d) with labels (N,) of -1 and +1."""
    check_images(x, None)
    if x.ndim != 2 or y.shape != (len(x),):
        raise ValueError(f"x must be (N, d) and y (N,), got {tuple(x.shape)} and {tuple(y.shape)}")
    if not bool(((y == 1) | (y == -1)).all()):
        raise ValueError("y must be -1 or +1; use 2 * y - 1 for labels 0 and 1")
