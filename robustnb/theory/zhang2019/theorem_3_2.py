"""The construction behind Theorem 3.2: Theorem 3.1 cannot be improved (Zhang et al. 2019)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from robustnb.theory.zhang2019.calibration import Loss
from robustnb.theory.zhang2019.piecewise_losses import StepLoss
from robustnb.theory.zhang2019.theorem_3_1_exact import ExactLoss, Rational

Number = Any
"""A Fraction for an `ExactLoss` or a `StepLoss`, a float for a `Loss`."""


@dataclass(frozen=True)
class TwoPoint:
    """Two points within eps of each other, with mass (gamma, 1 - gamma), and what they give.

    excess = R_rob - R_nat*, gap = R_phi - R_phi*, regulariser = E max phi(f f' / lambda), and
    lower = psi(excess - regulariser), where psi is read as 0 below 0.
    """

    gamma: Number
    etas: tuple[Number, Number]
    scores: tuple[Number, Number]
    lam: Number
    excess: Number
    gap: Number
    regulariser: Number
    lower: Number

    @property
    def looseness(self) -> Number:
        """gap - psi(excess - regulariser); Theorem 3.2 puts it in [0, xi]."""
        return self.gap - self.lower


def _mean(gamma: Number, first: Number, second: Number) -> Number:
    return gamma * first + (1 - gamma) * second


def _robust_error(eta: Number, scores: Sequence[Number]) -> Number:
    """Pr[some score in the ball has the wrong sign], given eta."""
    return eta * (min(scores) <= 0) + (1 - eta) * (max(scores) >= 0)


def evaluate_two_point(
    loss: Rational | Loss,
    *,
    gamma: Number,
    etas: tuple[Number, Number],
    scores: tuple[Number, Number],
    lam: Number,
) -> TwoPoint:
    """Both sides of Theorem 3.2 for given numbers, by the definitions; exact for exact losses."""
    phi = loss.phi
    if lam <= 0 or 0 in scores:
        raise ValueError("lam must be positive and scores must not be zero.")

    def excess_loss(eta: Number, score: Number) -> Number:
        return eta * phi(score) + (1 - eta) * phi(-score) - loss.minimal(eta)

    robust = [_robust_error(eta, scores) - min(eta, 1 - eta) for eta in etas]
    gaps = [excess_loss(eta, score) for eta, score in zip(etas, scores, strict=True)]
    worst = [max(phi(here * there / lam) for there in scores) for here in scores]
    excess, regulariser = _mean(gamma, *robust), _mean(gamma, *worst)
    lower = loss.transform(max(excess - regulariser, excess * 0))
    return TwoPoint(gamma, etas, scores, lam, excess, _mean(gamma, *gaps), regulariser, lower)


def _split(loss: Any, theta: Number) -> tuple[Number, Number, Number]:
    return (1.0, theta, theta) if isinstance(loss, Loss) else loss.split(theta)


def _wrong_score(loss: Any, eta: Number, tol: Number) -> Number:
    """A strictly negative score whose conditional risk is within tol of H^-(eta), eta >= 1/2."""
    if not isinstance(loss, Loss):
        return loss.wrong_score(eta, tol)
    nu = 1.0
    while eta * loss.phi(-nu) + (1 - eta) * loss.phi(nu) > loss.phi(0.0) + tol:
        nu /= 2
    return -nu


def two_point(
    loss: ExactLoss | StepLoss | Loss, *, theta: Number, xi: Number, halvings: int = 200
) -> TwoPoint:
    """The distribution, score and lambda of Theorem 3.2 for excess robust risk theta.

    Needs phi(a) -> 0 as a -> infinity; ValueError where halving lambda does not help.
    """
    if not 0 <= theta <= 1 or xi <= 0:
        raise ValueError(f"need 0 <= theta <= 1 and xi > 0, got {theta} and {xi}.")
    if isinstance(loss, Loss) and not loss.vanishes:
        raise ValueError(f"{loss.name} does not vanish at infinity; Theorem 3.2 does not apply.")
    theta, xi = (float(theta), float(xi)) if isinstance(loss, Loss) else map(Fraction, (theta, xi))
    gamma, low, high = _split(loss, theta)
    etas = ((1 + low) / 2, (1 + high) / 2)
    scores = (_wrong_score(loss, etas[0], xi / 3), _wrong_score(loss, etas[1], xi / 3))
    lam = min(a * b for a in scores for b in scores)
    for _ in range(halvings):
        found = evaluate_two_point(loss, gamma=gamma, etas=etas, scores=scores, lam=lam)
        if loss.transform(theta) - found.lower <= xi / 3:
            return found
        lam /= 2
    raise ValueError(f"{loss.name}: the regulariser does not vanish as lambda -> 0.")
