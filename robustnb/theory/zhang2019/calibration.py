"""Calibrated surrogate losses and their psi-transforms (Zhang et al. 2019, Section 2.4)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from robustnb.theory.zhang2019.piecewise_losses import StepLoss, lower_hull

Array = NDArray[np.float64]
_LN2 = float(np.log(2.0))


@dataclass(frozen=True)
class Loss:
    """A loss phi with closed forms of H, psi and psi^{-1} (all elementwise on float arrays).

    `convex` says whether phi is convex, `vanishes` whether phi(a) -> 0 as a -> +infinity.
    """

    name: str
    phi: Callable[[Any], Any]
    minimal: Callable[[Any], Any]
    transform: Callable[[Any], Any]
    inverse: Callable[[Any], Any]
    convex: bool = True
    vanishes: bool = True

    def __str__(self) -> str:
        """The name, as it is printed in a check."""
        return self.name


def _entropy(eta: Any) -> Any:
    """Binary entropy in bits, 0 at both ends."""
    eta = np.asarray(eta, dtype=float)
    inside = np.where((eta > 0) & (eta < 1), eta, 0.5)
    bits = -(inside * np.log2(inside) + (1 - inside) * np.log2(1 - inside))
    return np.where((eta > 0) & (eta < 1), bits, 0.0)


def _logistic_psi(theta: Any) -> Any:
    return 1 - _entropy((1 + np.asarray(theta, dtype=float)) / 2)


def _bisect(function: Callable[[Any], Any], value: Any) -> Any:
    """Invert an increasing function on [0, 1] elementwise, to the last bit or so."""
    value = np.asarray(value, dtype=float)
    low, high = np.zeros_like(value), np.ones_like(value)
    for _ in range(54):
        middle = (low + high) / 2
        below = function(middle) < value
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return high


def _tent(eta: Any) -> Any:
    return 2 * np.minimum(eta, 1 - np.asarray(eta, dtype=float))


def _parabola(eta: Any) -> Any:
    return 4 * np.asarray(eta, dtype=float) * (1 - np.asarray(eta, dtype=float))


def _same(theta: Any) -> Any:
    return np.asarray(theta, dtype=float)


HINGE = Loss("hinge", lambda a: np.maximum(1 - a, 0), _tent, _same, _same)
SIGMOID = Loss("sigmoid", lambda a: 1 - np.tanh(a), _tent, _same, _same, convex=False)
EXPONENTIAL = Loss(
    "exponential",
    lambda a: np.exp(np.minimum(-np.asarray(a, dtype=float), 700.0)),  # no overflow warning
    lambda eta: 2 * np.sqrt(np.asarray(eta, dtype=float) * (1 - np.asarray(eta, dtype=float))),
    lambda theta: 1 - np.sqrt(1 - np.asarray(theta, dtype=float) ** 2),
    lambda gap: np.sqrt(np.asarray(gap, dtype=float) * (2 - np.asarray(gap, dtype=float))),
)
LOGISTIC = Loss(
    "logistic",
    lambda a: np.logaddexp(0.0, -np.asarray(a, dtype=float)) / _LN2,
    _entropy,
    _logistic_psi,
    lambda gap: _bisect(_logistic_psi, gap),
)
SQUARED = Loss("squared", lambda a: (1 - a) ** 2, _parabola, np.square, np.sqrt, vanishes=False)
TRUNCATED = Loss(
    "truncated squared", lambda a: np.maximum(1 - a, 0) ** 2, _parabola, np.square, np.sqrt
)

LOSSES: dict[str, Loss] = {
    loss.name: loss for loss in (HINGE, SIGMOID, EXPONENTIAL, LOGISTIC, SQUARED, TRUNCATED)
}
"""Table 2 of the paper (hinge, sigmoid, exponential, logistic base 2) and two squared losses."""

NATURAL_LOGISTIC = Loss(
    "natural logistic",
    lambda a: np.logaddexp(0.0, -np.asarray(a, dtype=float)),
    lambda eta: _LN2 * _entropy(eta),
    lambda theta: _LN2 * _logistic_psi(theta),
    lambda gap: _bisect(_logistic_psi, np.asarray(gap, dtype=float) / _LN2),
)
"""Logistic with natural logarithms: phi(0) = ln 2 < 1, outside the hypotheses of Theorem 3.1."""


def conditional_risk(loss: Loss, eta: ArrayLike, alpha: ArrayLike) -> Array:
    """C_eta(alpha) = eta phi(alpha) + (1 - eta) phi(-alpha) (Zhang 2019, Section 2.4)."""
    eta, alpha = np.asarray(eta, dtype=float), np.asarray(alpha, dtype=float)
    return np.asarray(eta * loss.phi(alpha) + (1 - eta) * loss.phi(-alpha), dtype=float)


def _smallest(loss: Loss, eta: ArrayLike, *, wrong: bool, reach: float, rounds: int) -> Array:
    """Minimise C_eta over scores in [-reach, reach] by a grid and `rounds` zooms into it."""
    eta = np.atleast_1d(np.asarray(eta, dtype=float))
    ray = np.concatenate([[0.0], np.geomspace(1e-3, reach, 60)])
    scores = np.broadcast_to(np.concatenate([-ray[:0:-1], ray]), (len(eta), 121))
    best = np.full(len(eta), np.inf)
    for _ in range(rounds + 1):
        risk = conditional_risk(loss, eta[:, None], scores)
        if wrong:  # C is infinite where the score has the sign of 2 eta - 1
            risk = np.where(scores * (2 * eta[:, None] - 1) > 0, np.inf, risk)
        at = risk.argmin(axis=1)
        best = np.minimum(best, risk.min(axis=1))
        last = scores.shape[1] - 1
        low = np.take_along_axis(scores, np.maximum(at - 1, 0)[:, None], 1)
        high = np.take_along_axis(scores, np.minimum(at + 1, last)[:, None], 1)
        scores = low + (high - low) * np.linspace(0, 1, 25)
    return best


def minimal_risk(loss: Loss, eta: ArrayLike, *, reach: float = 40.0, rounds: int = 8) -> Array:
    """H(eta) by search over scores, without the closed form; never below H."""
    return _smallest(loss, eta, wrong=False, reach=reach, rounds=rounds)


def wrong_sign_risk(loss: Loss, eta: ArrayLike, *, reach: float = 40.0, rounds: int = 8) -> Array:
    """H^-(eta) by search over scores with alpha (2 eta - 1) <= 0; never below H^-."""
    return _smallest(loss, eta, wrong=True, reach=reach, rounds=rounds)


def psi_tilde(loss: Loss, theta: ArrayLike) -> Array:
    """psi-tilde(theta) = H^-((1 + theta) / 2) - H((1 + theta) / 2), by search; theta in [0, 1]."""
    eta = (1 + np.atleast_1d(np.asarray(theta, dtype=float))) / 2
    return wrong_sign_risk(loss, eta) - minimal_risk(loss, eta)


def psi_numeric(loss: Loss, *, grid: int) -> tuple[Array, Array]:
    """psi on `grid` equally spaced points of [0, 1]: lower hull of the searched psi-tilde."""
    if grid < 2:
        raise ValueError(f"grid must be at least 2, got {grid}.")
    theta = np.linspace(0, 1, grid)
    tilde = psi_tilde(loss, theta)
    keep = lower_hull(theta.tolist(), tilde.tolist())
    return theta, np.interp(theta, theta[keep], tilde[keep])


def psi_inverse(loss: Loss, gap: ArrayLike) -> Array:
    """psi^{-1}(gap), with gap cut to [0, psi(1)]: above psi(1) it is 1 and the bound is trivial."""
    gap, top = np.asarray(gap, dtype=float), float(loss.transform(1.0))
    inside = np.asarray(loss.inverse(np.clip(gap, 0.0, top)), dtype=float)
    return np.where(gap >= top, 1.0, inside)


def calibrated(loss: Loss | StepLoss, *, grid: int = 201, tol: float = 1e-9) -> bool:
    """Assumption 1, H^-(eta) > H(eta) for eta != 1/2: exact for a StepLoss, else on a grid."""
    if isinstance(loss, StepLoss):
        return loss.calibrated()
    eta = np.linspace(0, 1, grid)
    eta = eta[np.abs(eta - 0.5) > 1e-3]
    return bool((wrong_sign_risk(loss, eta) - minimal_risk(loss, eta) > tol).all())
