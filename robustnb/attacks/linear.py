"""Attacks on linear classifiers in closed form (Papernot 2016, section 2; DeepFool 2016)."""

from __future__ import annotations

import torch
from torch import Tensor

from robustnb.attacks.projections import Clip, check_box
from robustnb.scalars import finite


def softmax_jacobian(weights: Tensor, x: Tensor, *, bias: Tensor | None = None) -> Tensor:
    """The derivative of softmax probabilities in x: (N, classes, d) for weights (classes, d).

    F_j (w_j - sum_l F_l w_l). Equation (6) of Papernot 2016 is widely implemented without the
    factor F_j on the second term.
    """
    _check(weights, x)
    shares = (x @ weights.T + (0 if bias is None else bias)).softmax(1)
    mean = shares @ weights
    return shares[:, :, None] * (weights[None] - mean[:, None])


def svm_attack(
    weights: Tensor,
    x: Tensor,
    *,
    eps: float,
    bias: Tensor | None = None,
    clip: Clip = (0.0, 1.0),
) -> Tensor:
    """One l2 step of length eps against the answer of a one-vs-rest linear model (N, d).

    x - eps w_k / |w_k| for the class k of highest score, then clipped (Papernot 2016). weights:
    (classes, d), as `coef_` of scikit-learn's linear models with three classes or more.
    """
    eps, clip = finite("eps", eps, least=0), check_box(clip)
    _check(weights, x)
    own = weights[(x @ weights.T + (0 if bias is None else bias)).argmax(1)]
    moved = x - eps * own / own.norm(dim=1, keepdim=True).clamp_min(1e-30)
    found: Tensor = moved if clip is None else moved.clamp(*clip)
    return found


def svm_flip_radius(weights: Tensor, x: Tensor, *, bias: Tensor | None = None) -> Tensor:
    """The eps (N,) from which `svm_attack` without a box changes the answer; inf if none does.

    Score k falls by eps |w_k| and score j by eps w_j.w_k / |w_k|, so j overtakes k at
    |w_k| (score_k - score_j) / ((w_k - w_j).w_k) where that is positive.
    """
    _check(weights, x)
    scores = x @ weights.T + (0 if bias is None else bias)
    best, k = scores.max(1)
    own = weights[k]
    closing = ((own[:, None] - weights[None]) * own[:, None]).sum(2)
    closing = closing.scatter(1, k[:, None], 0.0)
    radius = own.norm(dim=1, keepdim=True) * (best[:, None] - scores) / closing
    found: Tensor = torch.where(closing > 0, radius, torch.inf).amin(1)
    return found


def _check(weights: Tensor, x: Tensor) -> None:
    if weights.ndim != 2 or x.ndim != 2 or weights.shape[1] != x.shape[1] or len(weights) < 2:
        raise ValueError(
            f"weights must be (classes >= 2, d) and x (N, d), got {tuple(weights.shape)} and "
            f"{tuple(x.shape)}; flatten images, and stack [-w, w] for a model of two classes"
        )
