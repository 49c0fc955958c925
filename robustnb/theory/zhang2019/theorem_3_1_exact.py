"""The exact twin of `theorem_3_1`: one instance, plain loops, Fractions only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Protocol


class Rational(Protocol):
    """What the exact functions need of a loss; `ExactLoss` and `StepLoss` both have it."""

    @property
    def phi(self) -> Callable[[Any], Fraction]:
        """The loss itself."""

    @property
    def transform(self) -> Callable[[Fraction], Fraction]:
        """The function psi."""

    def minimal(self, eta: Fraction) -> Fraction:
        """The smallest conditional risk H(eta)."""


@dataclass(frozen=True)
class ExactLoss:
    """A loss whose phi, H and psi map Fractions to Fractions, and for which H^- = phi(0) = 1."""

    name: str
    phi: Callable[[Any], Fraction]
    least: Callable[[Fraction], Fraction]
    transform: Callable[[Fraction], Fraction]

    def __str__(self) -> str:
        """The name, as it is printed in a check."""
        return self.name

    def minimal(self, eta: Fraction) -> Fraction:
        """H(eta)."""
        return self.least(eta)

    def split(self, theta: Fraction) -> tuple[Fraction, Fraction, Fraction]:
        """psi-tilde is convex, so one value of |2 eta - 1| is enough."""
        return Fraction(1), theta, theta

    def wrong_score(self, eta: Fraction, tol: Fraction) -> Fraction:
        """A score -nu, nu = 1, 1/2, 1/4, ..., whose conditional risk is within tol of H^- = 1."""
        nu = Fraction(1)
        while eta * self.phi(-nu) + (1 - eta) * self.phi(nu) > 1 + tol:
            nu /= 2
        return -nu


def _square(value: Fraction) -> Fraction:
    return value * value


EXACT_LOSSES: dict[str, ExactLoss] = {
    "hinge": ExactLoss(
        "hinge",
        lambda a: max(1 - Fraction(a), Fraction(0)),
        lambda eta: 2 * min(eta, 1 - eta),
        lambda theta: theta,
    ),
    "squared": ExactLoss(
        "squared", lambda a: _square(1 - Fraction(a)), lambda eta: 4 * eta * (1 - eta), _square
    ),
    "truncated squared": ExactLoss(
        "truncated squared",
        lambda a: _square(max(1 - Fraction(a), Fraction(0))),
        lambda eta: 4 * eta * (1 - eta),
        _square,
    ),
}
"""The rational losses; `NONCONVEX` and `DIPPING` of `piecewise_losses` also qualify."""


@dataclass(frozen=True)
class ExactInstance:
    """A finite distribution and a score: point i has mass, eta = Pr[Y = 1 | i], score f(i), a ball.

    `ball[i]` lists the points within eps of point i, itself included.
    """

    mass: tuple[Fraction, ...]
    eta: tuple[Fraction, ...]
    scores: tuple[Fraction, ...]
    ball: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        """Refuse masses that do not sum to one and balls that miss their centre."""
        if sum(self.mass) != 1:
            raise ValueError(f"mass must sum to 1, got {sum(self.mass)}; divide by the sum.")
        for i, near in enumerate(self.ball):
            if i not in near:
                raise ValueError(f"ball {i} must contain its centre; balls are closed.")

    def expect(self, value: Callable[[int], Any]) -> Fraction:
        """The expectation of a function of the point."""
        return sum((m * value(i) for i, m in enumerate(self.mass)), Fraction(0))


def exact_risks(instance: ExactInstance) -> dict[str, Fraction]:
    """R_nat, R_nat*, R_bdy, R_rob from their definitions, and Pr[X in B(DB(f), eps)] (`near`)."""
    eta, f, ball = instance.eta, instance.scores, instance.ball

    def near(i: int) -> bool:
        return any(f[i] * f[j] <= 0 for j in ball[i])

    def given(i: int, event: Callable[[int], bool]) -> Fraction:
        """Pr[event(Y) | X = i]."""
        return eta[i] * event(1) + (1 - eta[i]) * event(-1)

    return {
        "nat": instance.expect(lambda i: given(i, lambda y: f[i] * y <= 0)),
        "best": instance.expect(lambda i: min(eta[i], 1 - eta[i])),
        "bdy": instance.expect(lambda i: given(i, lambda y: near(i) and f[i] * y > 0)),
        "rob": instance.expect(lambda i: given(i, lambda y: any(f[j] * y <= 0 for j in ball[i]))),
        "near": instance.expect(near),
    }


def exact_bound(instance: ExactInstance, loss: Rational, *, lam: Fraction) -> dict[str, Fraction]:
    """The parts of Theorem 3.1: `left`, `gap` = R_phi - R_phi*, `bdy`, `near`, `regulariser`."""
    if lam <= 0:
        raise ValueError(f"lam must be positive, got {lam}.")
    eta, f, parts = instance.eta, instance.scores, exact_risks(instance)

    def excess(i: int) -> Fraction:
        risk = eta[i] * loss.phi(f[i]) + (1 - eta[i]) * loss.phi(-f[i])
        return risk - loss.minimal(eta[i])

    def worst(i: int) -> Fraction:
        return max(loss.phi(f[i] * f[j] / lam) for j in instance.ball[i])

    return {
        "left": parts["rob"] - parts["best"],
        "gap": instance.expect(excess),
        "bdy": parts["bdy"],
        "near": parts["near"],
        "regulariser": instance.expect(worst),
    }


def complete_balls(points: int) -> tuple[tuple[int, ...], ...]:
    """Every point within eps of every other."""
    return tuple(tuple(range(points)) for _ in range(points))


def line_balls(positions: Sequence[Fraction], *, eps: Fraction, closed: bool = True) -> Any:
    """Closed (or, to show the difference, open) balls of points on the line."""
    return tuple(
        tuple(
            j
            for j, b in enumerate(positions)
            if abs(a - b) < eps or a == b or (closed and abs(a - b) == eps)
        )
        for a in positions
    )
