"""Adam on a risk, with and without one point, on the same batches: retraining short of a minimum.

Koh & Liang 2017 retrain their network by more steps of training from where it is.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.func import grad

from robustnb.influence.autodiff import ModelRisk
from robustnb.influence.checks import check_index
from robustnb.progress import progress
from robustnb.scalars import finite, whole

_BETA1, _BETA2, _EPSILON = 0.9, 0.999, 1e-8


def adam_steps(
    risk: ModelRisk,
    *,
    steps: int,
    lr: float,
    batch_size: int,
    seed: int,
    without: int | None = None,
) -> Tensor:
    """The parameters (p,) after `steps` of Adam from those of the risk.

    Batches are drawn with replacement from a generator of `seed`, so that a run without a point
    differs from one with it by that point alone; the other points keep their weights.
    """
    steps, batch_size = whole("steps", steps), whole("batch_size", batch_size)
    lr = finite("lr", lr, above=0)
    if without is not None:
        without = whole("without", without, least=0)
        check_index([without], risk.n, device=risk.y.device)
    generator = torch.Generator().manual_seed(whole("seed", seed, least=0))
    theta = risk.theta.clone()
    mean, square = torch.zeros_like(theta), torch.zeros_like(theta)
    with progress("Adam", total=steps) as bar:
        for t in range(1, steps + 1):
            rows = torch.randint(risk.n, (batch_size,), generator=generator).to(risk.y.device)
            kept = torch.ones_like(rows, dtype=theta.dtype)
            if without is not None:
                kept[rows == without] = 0
            g = _batch_gradient(risk, theta, rows, kept)
            mean = _BETA1 * mean + (1 - _BETA1) * g
            square = _BETA2 * square + (1 - _BETA2) * g.square()
            step = mean / (1 - _BETA1**t)
            theta = theta - lr * step / ((square / (1 - _BETA2**t)).sqrt() + _EPSILON)
            bar.advance()
    return theta


def _batch_gradient(risk: ModelRisk, theta: Tensor, rows: Tensor, kept: Tensor) -> Tensor:
    x, y = risk.x[rows], risk.y[rows]

    def value(t: Tensor) -> Tensor:
        return (kept * risk.loss(risk.outputs(t, x), y)).sum() / len(rows)

    gradient: Tensor = grad(value)(theta)
    return gradient.detach() + risk.l2 * risk.decayed * theta
