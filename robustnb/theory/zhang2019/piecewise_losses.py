"""Piecewise linear transforms and losses with finitely many values, exactly in Fractions."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import combinations, pairwise
from typing import Any


def lower_hull(x: Sequence[Any], y: Sequence[Any]) -> list[int]:
    """Indices of the lower convex hull of points with increasing x (monotone chain).

    On the graph of a function this is its convex biconjugate. Works for Fractions and floats;
    points on a hull edge are left out.
    """
    hull: list[int] = []
    for k in range(len(x)):
        while len(hull) >= 2:
            i, j = hull[-2], hull[-1]
            if (y[j] - y[i]) * (x[k] - x[i]) < (y[k] - y[i]) * (x[j] - x[i]):
                break
            hull.pop()
        hull.append(k)
    return hull


@dataclass(frozen=True)
class PiecewiseLinear:
    """A continuous piecewise linear function on [knots[0], knots[-1]], exact for Fractions."""

    knots: tuple[Fraction, ...]
    values: tuple[Fraction, ...]

    def __call__(self, at: Fraction) -> Fraction:
        """The value at a point of the domain; ValueError outside it."""
        i = self.segment(at)
        (x0, x1), (y0, y1) = self.knots[i : i + 2], self.values[i : i + 2]
        return y0 + (y1 - y0) * (at - x0) / (x1 - x0)

    def segment(self, at: Fraction) -> int:
        """Index i of a segment with knots[i] <= at <= knots[i + 1]."""
        if not self.knots[0] <= at <= self.knots[-1]:
            raise ValueError(f"{at} is outside [{self.knots[0]}, {self.knots[-1]}]; clip it first.")
        return min(bisect_right(self.knots, at) - 1, len(self.knots) - 2)

    def hull(self) -> PiecewiseLinear:
        """The largest convex function below (the biconjugate): the lower hull of the knots."""
        keep = lower_hull(self.knots, self.values)
        return PiecewiseLinear(
            tuple(self.knots[i] for i in keep), tuple(self.values[i] for i in keep)
        )

    def inverse(self, value: Fraction) -> Fraction:
        """The inverse of an increasing function; a value above the last one gives the last knot."""
        if value < self.values[0]:
            raise ValueError(f"{value} is below the smallest value {self.values[0]}.")
        if value >= self.values[-1]:
            return self.knots[-1]
        return PiecewiseLinear(self.values, self.knots)(value)


def lower_envelope(lines: Iterable[tuple[Fraction, Fraction]]) -> PiecewiseLinear:
    """The minimum of lines `intercept + slope * t` on [0, 1], with its exact knots."""
    distinct = sorted(set(lines))
    crossings = {
        (c2 - c1) / (m1 - m2) for (c1, m1), (c2, m2) in combinations(distinct, 2) if m1 != m2
    }
    ends = {Fraction(0), Fraction(1)}
    knots = sorted({t for t in crossings if 0 < t < 1} | ends)
    return _joined(knots, lambda t: min(c + m * t for c, m in distinct))


def _joined(knots: Sequence[Fraction], value: Callable[[Fraction], Fraction]) -> PiecewiseLinear:
    """The piecewise linear function through `value` at `knots`, without knots on straight runs."""
    pairs = [(t, value(t)) for t in knots]
    kept = pairs[:1]
    for here, after in pairwise(pairs[1:]):
        (x0, y0), (x1, y1) = kept[-1], here
        if (y1 - y0) * (after[0] - x1) != (after[1] - y1) * (x1 - x0):
            kept.append(here)
    kept.append(pairs[-1])
    return PiecewiseLinear(tuple(x for x, _ in kept), tuple(y for _, y in kept))


@dataclass(frozen=True)
class StepLoss:
    """A loss with finitely many values, so that H, H^- and psi are exact (Zhang 2019, Section 2.4).

    `actions` must hold one score for every pair (phi(a), phi(-a)) that occurs with a > 0, a = 0
    or a < 0; an infimum over scores is then a minimum over `actions`.
    """

    name: str
    phi: Callable[[Any], Fraction]
    actions: tuple[Fraction, ...]

    def __str__(self) -> str:
        """The name, as it is printed in a check."""
        return self.name

    def risk(self, eta: Fraction, action: Fraction) -> Fraction:
        """C_eta(action) = eta phi(action) + (1 - eta) phi(-action)."""
        return eta * self.phi(action) + (1 - eta) * self.phi(-action)

    def minimal(self, eta: Fraction) -> Fraction:
        """H(eta), the smallest conditional risk."""
        return min(self.risk(eta, a) for a in self.actions)

    def wrong_sign(self, eta: Fraction) -> Fraction:
        """H^-(eta), the smallest conditional risk over scores with a (2 eta - 1) <= 0."""
        return min(self.risk(eta, a) for a in self.actions if a * (2 * eta - 1) <= 0)

    def _lines(self, actions: Iterable[Fraction]) -> list[tuple[Fraction, Fraction]]:
        # C at eta = (1 + theta) / 2 is a line in theta
        pairs = [(self.phi(a), self.phi(-a)) for a in actions]
        return [((p + q) / 2, (p - q) / 2) for p, q in pairs]

    @cached_property
    def tilde(self) -> PiecewiseLinear:
        """psi-tilde(theta) = H^-((1 + theta) / 2) - H((1 + theta) / 2) on [0, 1]."""
        best = lower_envelope(self._lines(self.actions))
        wrong = lower_envelope(self._lines(a for a in self.actions if a <= 0))
        return _joined(sorted({*best.knots, *wrong.knots}), lambda t: wrong(t) - best(t))

    @cached_property
    def transform(self) -> PiecewiseLinear:
        """psi, the largest convex function below psi-tilde."""
        return self.tilde.hull()

    def inverse(self, gap: Fraction) -> Fraction:
        """psi^{-1}, read as 1 above psi(1)."""
        return self.transform.inverse(gap)

    def calibrated(self) -> bool:
        """Assumption 1, exactly: psi-tilde > 0 at every knot except 0 means > 0 on (0, 1]."""
        return all(value > 0 for value in self.tilde.values[1:])

    def split(self, theta: Fraction) -> tuple[Fraction, Fraction, Fraction]:
        """(gamma, a1, a2) with gamma a1 + (1 - gamma) a2 = theta and psi(theta) attained there."""
        hull = self.transform
        i = hull.segment(theta)
        low, high = hull.knots[i : i + 2]
        if self.tilde(theta) == hull(theta):
            return Fraction(1), theta, theta
        return (high - theta) / (high - low), low, high

    def wrong_score(self, eta: Fraction, tol: Fraction) -> Fraction:
        """A strictly negative score within tol of H^-(eta), for eta >= 1/2; ValueError if none."""
        best = min((a for a in self.actions if a < 0), key=lambda a: self.risk(eta, a))
        if self.risk(eta, best) > self.wrong_sign(eta) + tol:
            raise ValueError(
                f"{self.name}: only a = 0 comes near H^-({eta}); Theorem 3.2 needs a < 0."
            )
        return best


def _symmetric(*positive: Fraction | int) -> tuple[Fraction, ...]:
    """The given scores, their negatives and zero."""
    scores = [Fraction(a) for a in positive]
    return (*(-a for a in reversed(scores)), Fraction(0), *scores)


def _nonconvex(a: Any) -> Fraction:
    special = {1: Fraction(0), -1: Fraction(2), 2: Fraction(2, 5), -2: Fraction(6, 5)}
    if abs(a) < Fraction(1, 2):
        return Fraction(1)
    return special.get(a, Fraction(0) if a > 3 else Fraction(10))


def _dipping(a: Any) -> Fraction:
    return Fraction(0) if a >= 1 else Fraction(1) if a > -1 else Fraction(4, 5)


NONCONVEX = StepLoss("non-convex", _nonconvex, _symmetric(Fraction(1, 4), 1, 2, 3, 4))
"""A calibrated loss, at least 1 on (-inf, 0], whose psi-tilde is not convex (ours)."""

DIPPING = StepLoss("dipping", _dipping, _symmetric(Fraction(1, 2), 1))
"""Calibrated with phi(0) = 1 but phi = 4/5 below -1: it breaks Theorem 3.1 as stated (ours)."""
