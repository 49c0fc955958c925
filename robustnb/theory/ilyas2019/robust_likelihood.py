"""Robust maximum likelihood of a Gaussian with a linear adversary (Theorems 2 and 3)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

Floats = NDArray[np.float64]


def robust_variances(true: Floats, multiplier: float) -> Floats:
    """Theorem 2: s/2 + 1/lambda + sqrt(s/lambda + s^2/4) of each true variance s, (d,)."""
    s = np.asarray(true, dtype=np.float64)
    found: Floats = s / 2 + 1 / multiplier + np.sqrt(s / multiplier + s**2 / 4)
    return found


def worst_cosine(condition: float) -> float:
    """2 sqrt(k) / (1 + k): the least cosine between x and A x for a matrix of condition k."""
    return 2 * math.sqrt(condition) / (1 + condition)


@dataclass(frozen=True)
class RobustFit:
    """The robust variances (d,) at a radius, with the multiplier (infinite at radius 0)."""

    variances: Floats
    multiplier: float

    @property
    def condition(self) -> float:
        """Largest over smallest variance."""
        return float(self.variances.max() / self.variances.min())

    @property
    def cosine(self) -> float:
        """The least cosine between the mean and the gradient, over all means (Theorem 3)."""
        return worst_cosine(self.condition)


def robust_fit(true: Floats, *, radius: float) -> RobustFit:
    """The minimiser of the expected loss against all diagonal M with E |M v|^2 = radius^2.

    true (d,): variances of v. The paper's epsilon in Theorem 2 is radius^2.
    """
    true = np.asarray(true, dtype=np.float64)
    if not (radius >= 0 and math.isfinite(radius)) or not bool((true > 0).all()):
        raise ValueError(f"radius must be >= 0 and variances above 0, got {radius} and {true}")
    if radius == 0:
        return RobustFit(true.copy(), math.inf)

    def excess(logarithm: float) -> float:
        multiplier = math.exp(logarithm)
        moved = 1 / (multiplier * robust_variances(true, multiplier) - 1)
        return math.log(float((true * moved**2).sum())) - 2 * math.log(radius)

    found = optimize.brentq(excess, -60.0, 60.0, xtol=1e-13, rtol=1e-14)
    multiplier = math.exp(float(found))
    return RobustFit(robust_variances(true, multiplier), multiplier)


def attacked_loss(variances: Floats, true: Floats, *, radius: float) -> float:
    """The expected loss of a fit with these variances against the best M of `robust_fit`.

    The maximum over diagonal M with sum_i true_i M_ii^2 = radius^2 of
    1/2 sum_i [true_i (1 + M_ii)^2 / variances_i + log variances_i], by its stationary condition.
    """
    if radius == 0:
        return 0.5 * float((true / variances + np.log(variances)).sum())
    least = float(variances.min())

    def size(multiplier: float) -> float:
        return float((true / (multiplier * variances - 1) ** 2).sum()) - radius**2

    low, high = (1 + 1e-13) / least, 2 / least
    while size(high) > 0:
        high *= 2
    multiplier = float(optimize.brentq(size, low, high, xtol=1e-15, rtol=1e-14))
    moved = 1 / (multiplier * variances - 1)
    return 0.5 * float((true * (1 + moved) ** 2 / variances + np.log(variances)).sum())
