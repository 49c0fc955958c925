"""The adversary that proves the Gaussian lower bound of Schmidt et al. 2018, played for real.

theta ~ N(0, I), x | y ~ N(y theta, sigma^2 I). Given n samples the posterior mean of theta is
n / (sigma^2 + n) times the mean of y_i x_i. Where it fits into the ball, the adversary subtracts y
times it, and what is left tells nothing about y. Full dimension, so for small d.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from robustnb.generators import check_rng
from robustnb.scalars import finite, whole

Array = NDArray[np.float64]
Learner = Callable[[Array, Array, Array], Array]


def averaging_label(x: Array, y: Array, at: Array) -> Array:
    """Labels (B,) at the points (B, d) by the sign of <mean(y_i x_i), x>."""
    return np.where(((y[:, :, None] * x).mean(axis=1) * at).sum(axis=1) >= 0, 1.0, -1.0)


def nearest_label(x: Array, y: Array, at: Array) -> Array:
    """Labels (B,) at the points (B, d) of the nearest of the samples; not a linear rule."""
    closest = ((x - at[:, None, :]) ** 2).sum(axis=2).argmin(axis=1)
    return np.asarray(np.take_along_axis(y, closest[:, None], axis=1)[:, 0])


def posterior_attack(
    rng: np.random.Generator,
    learner: Learner,
    *,
    d: int,
    n: int,
    sigma: float,
    eps: float,
    draws: int,
) -> NDArray[np.bool_]:
    """Failures (draws,) of a learner, each on its own theta, training set and attacked example.

    `learner(x, y, at)` gets samples (B, n, d), labels (B, n) and points (B, d). The example moves
    by the posterior mean where that fits into the linf ball of radius eps, else not at all.
    """
    d, n, draws = whole("d", d), whole("n", n), whole("draws", draws)
    sigma, eps = finite("sigma", sigma, above=0), finite("eps", eps, least=0)
    check_rng(rng)
    theta = rng.standard_normal((draws, 1, d))
    labels = rng.choice([-1.0, 1.0], size=(draws, n + 1))
    points = labels[:, :, None] * theta + sigma * rng.standard_normal((draws, n + 1, d))
    x, y, at, label = points[:, :n], labels[:, :n], points[:, n], labels[:, n]
    mean = n / (sigma**2 + n) * (y[:, :, None] * x).mean(axis=1)
    fits = np.abs(mean).max(axis=1) <= eps
    moved = np.where(fits[:, None], at - label[:, None] * mean, at)
    return np.asarray(learner(x, y, moved) != label)
