"""Why a linear head on robust features is robust: margins against shifts of the features.

For logits W z + b the margin of y over j changes by at most |w_y - w_j|_q |z' - z|_p with
1/p + 1/q = 1. So an image stays right if every margin exceeds that (Hoelder's inequality).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from robustnb.attacks.projected_gradient import initial_point, maximize
from robustnb.attacks.validation import (
    check_alike,
    check_classes,
    check_gradients_allowed,
    check_images,
    check_labels,
    check_place,
    check_radius,
)
from robustnb.generators import check_generator
from robustnb.models.ask import ask_features
from robustnb.models.modes import eval_mode
from robustnb.scalars import real

Features = Callable[[Tensor], Tensor]


def head_norms(head: nn.Linear, y: Tensor, *, p: float = 2.0) -> Tensor:
    """|w_y - w_j|_q for each image and class, (N, classes); 0 at j = y. q is the dual of p >= 1."""
    _check_head(head, y)
    return _norm(head.weight[y][:, None] - head.weight[None], _dual(p))


def margin_bound(
    head: nn.Linear, z: Tensor, y: Tensor, shift: Tensor | float, *, p: float = 2.0
) -> Tensor:
    """A lower bound (N,) of the margin of y at every z' with |z' - z|_p <= shift.

    z: (N, k); shift: one number or (N,). min over j != y of the margin over j at z, less
    |w_y - w_j|_q shift; where it is positive no such z' is classified otherwise. It is attained,
    so no larger bound holds for all z'.
    """
    _check_head(head, y)
    check_images(z, None)
    check_labels(y, z)
    apart = torch.as_tensor(shift, dtype=z.dtype, device=z.device)
    if not bool((apart >= 0).all()) or (apart.ndim > 0 and apart.shape != (len(z),)):
        raise ValueError(f"shift must be >= 0, one number or ({len(z)},), got {apart.shape}")
    logits = head(z)
    margins = logits.gather(1, y[:, None]) - logits
    bound: Tensor = margins - head_norms(head, y, p=p) * apart.expand(len(z))[:, None]
    others = bound.scatter(1, y[:, None], math.inf)
    return others.amin(1)


@torch.no_grad()
def feature_shift(extractor: Features, x: Tensor, x_adv: Tensor, *, p: float = 2.0) -> Tensor:
    """|z(x_adv) - z(x)|_p for each image, (N,), in evaluation mode."""
    check_images(x, None)
    check_alike("x_adv", x_adv, x)
    check_place(extractor, x)
    with eval_mode(extractor):
        return _norm(ask_features(extractor, x_adv) - ask_features(extractor, x), _checked(p))


def largest_shift(
    extractor: Features,
    x: Tensor,
    *,
    eps: float,
    step: float,
    steps: int,
    p: float = 2.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """The largest |z(x + delta) - z(x)|_p that PGD finds for |delta|_inf <= eps, (N,).

    It is a lower bound of the largest there is, so the bound with it certifies nothing. The climb
    begins at a random point, since at x the gradient of the shift is 0.
    """
    check_images(x)
    check_place(extractor, x)
    eps, p = check_radius(eps), _checked(p)
    check_generator(generator)
    check_gradients_allowed(extractor)
    with eval_mode(extractor):
        with torch.no_grad():
            z = ask_features(extractor, x)

        def shift(at: Tensor) -> Tensor:
            return _norm(ask_features(extractor, at) - z, p)

        x_adv = maximize(
            shift, x, eps=eps, step=step, steps=steps, keep="worst",
            initial_point=initial_point(x, "uniform", eps=eps, norm="linf", generator=generator),
        )  # fmt: skip
    return feature_shift(extractor, x, x_adv, p=p)


def _check_head(head: nn.Linear, y: Tensor) -> None:
    if not isinstance(head, nn.Linear):
        raise TypeError(f"head must be a linear layer, got {type(head).__name__}")
    if y.ndim != 1:
        raise ValueError(f"y must have shape (N,), one label per image, got {tuple(y.shape)}")
    check_classes(y, head.weight.T)


def _norm(rows: Tensor, p: float) -> Tensor:
    found: Tensor = torch.linalg.vector_norm(rows, ord=p, dim=-1)
    return found


def _checked(p: float) -> float:
    p = real("p", p)
    if not p >= 1:
        raise ValueError(f"p must be a norm's, 1 to inf, got {p}")
    return p


def _dual(p: float) -> float:
    p = _checked(p)
    if p == 1:
        return math.inf
    return 1.0 if math.isinf(p) else p / (p - 1)
