"""The best perturbation of a Gaussian's likelihood (Lemma 1) and what it costs (Theorem 1)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

Floats = NDArray[np.float64]


def gaussian_loss(variances: Floats, v: Floats) -> Floats:
    """-log N(v; 0, diag(variances)) without the constant: (d,) and (..., d) give (...)."""
    quadratic: Floats = (v**2 / variances).sum(-1)
    found: Floats = 0.5 * (quadratic + np.log(variances).sum())
    return found


def optimal_perturbation(variances: Floats, v: Floats, *, radius: float) -> tuple[Floats, float]:
    """delta of length `radius` that maximises `gaussian_loss` at v + delta, and its multiplier.

    variances (d,) > 0; v (d,), not zero along the smallest variance. delta is
    (lambda diag(variances) - I)^-1 v with lambda > 1 / min(variances), which makes it the global
    maximum on the sphere.
    """
    if not radius > 0:
        raise ValueError(f"radius must be above 0, got {radius}")
    least = float(variances.min())

    def length(multiplier: float) -> float:
        return float(np.linalg.norm(v / (multiplier * variances - 1)))

    low, high = (1 + 1e-12) / least, 2 / least
    while length(high) > radius:
        high *= 2
    if length(low) < radius:
        raise ValueError("v must not be zero along the smallest variance; move it a little")
    found = optimize.brentq(lambda m: length(m) - radius, low, high, xtol=1e-15, rtol=1e-14)
    multiplier = float(found)
    return v / (multiplier * variances - 1), multiplier


def adversarial_excess(variances: Floats, penalty: float) -> float:
    """What the adversary adds to the expected loss of the maximum-likelihood fit (Theorem 1).

    For the adversary's penalty penalty / 2 |delta|^2 with penalty > 1 / min(variances):
    1/2 (tr[(I + (penalty Sigma - I)^-1)^2] - d), the penalty itself not subtracted.
    """
    if not penalty * float(np.min(variances)) > 1:
        raise ValueError(
            f"the penalty must exceed 1 / min(variances) = {1 / float(np.min(variances)):.4g}, got "
            f"{penalty}; below it the adversary is unbounded"
        )
    grown = 1 + 1 / (penalty * np.asarray(variances) - 1)
    return 0.5 * float((grown**2).sum() - len(grown))
