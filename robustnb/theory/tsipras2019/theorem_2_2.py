"""Theorem 2.2 of Tsipras et al. 2019: the hinge losses of linear learners in closed form.

A learner is (w_1, v): its score is w_1 x_1 + v z as in `DataModel`, and the norm of all its weights
is that of (w_1, v). Both learners minimise an expected hinge loss plus l2 / 2 times its square.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

from robustnb.theory.tsipras2019.data_model import DataModel


def expected_hinge(mean: float, spread: float) -> float:
    """E max(0, 1 - m) for a margin m ~ N(mean, spread^2), spread >= 0."""
    gap = 1 - mean
    if spread == 0:
        return max(0.0, gap)
    t = gap / spread
    return float(spread * stats.norm.pdf(t) + gap * stats.norm.cdf(t))


def natural_objective(model: DataModel, w_1: float, v: float, *, l2: float) -> float:
    """Objective (5): E max(0, 1 - y score) + l2 / 2 (w_1^2 + v^2)."""
    return adversarial_objective(model, w_1, v, eps=0.0, l2=l2)


def adversarial_objective(
    model: DataModel, w_1: float, v: float, *, eps: float, l2: float
) -> float:
    """Objective (5) with the worst linf perturbation of radius eps inside the expectation."""
    lost = eps * (abs(w_1) + math.sqrt(model.d) * abs(v))
    agree = expected_hinge(w_1 + v * model.strength - lost, abs(v))
    apart = expected_hinge(-w_1 + v * model.strength - lost, abs(v))
    return model.p * agree + (1 - model.p) * apart + l2 / 2 * (w_1**2 + v**2)


def natural_minimiser(model: DataModel, *, l2: float) -> tuple[float, float]:
    """(w_1, v) that minimises `natural_objective`, which is strictly convex for l2 > 0."""
    if not l2 > 0:
        raise ValueError(f"l2 must be above 0, got {l2}; else the minimiser may not be unique")
    found = optimize.minimize(
        lambda at: natural_objective(model, float(at[0]), float(at[1]), l2=l2),
        np.array([0.1, 0.1]),
        jac=lambda at: _natural_slope(model, float(at[0]), float(at[1]), l2=l2),
        method="BFGS",
        options={"gtol": 1e-10, "maxiter": 1000},
    )
    return float(found.x[0]), float(found.x[1])


def unit_norm_decay(model: DataModel) -> float:
    """The l2 at which the natural minimiser has norm 1, as Theorem 2.2 asks; its norm falls in l2.

    ValueError where no l2 between 1e-8 and 1 gives it.
    """

    def excess(logarithm: float) -> float:
        return math.hypot(*natural_minimiser(model, l2=math.exp(logarithm))) - 1

    low, high = math.log(1e-8), 0.0
    if excess(low) * excess(high) > 0:
        raise ValueError("no l2 between 1e-8 and 1 gives norm 1; the weak features are too faint")
    return math.exp(float(optimize.brentq(excess, low, high, xtol=1e-12)))


def _natural_slope(model: DataModel, w_1: float, v: float, *, l2: float) -> NDArray[np.float64]:
    """The gradient of `natural_objective` in (w_1, v); at v = 0 one of its subgradients."""
    slope = l2 * np.array([w_1, v])
    for sign, share in ((1.0, model.p), (-1.0, 1 - model.p)):
        t = (1 - sign * w_1 - v * model.strength) / max(abs(v), 1e-12)
        active, density = float(stats.norm.cdf(t)), float(stats.norm.pdf(t))
        slope -= share * np.array([sign * active, model.strength * active - np.sign(v) * density])
    return slope


def adversarial_minimiser(p: float, *, eps: float, l2: float) -> float:
    """w_1 of the minimiser of `adversarial_objective` for 2 eta <= eps < 1; its v is 0.

    It is the smaller of 1 / (1 - eps) and (2p - 1 - eps) / l2, and 0 from eps = 2p - 1 on.
    """
    if not (0 <= eps < 1 and l2 > 0):
        raise ValueError(f"eps must lie in [0, 1) and l2 be above 0, got {eps} and {l2}")
    return max(0.0, min(1 / (1 - eps), (2 * p - 1 - eps) / l2))
