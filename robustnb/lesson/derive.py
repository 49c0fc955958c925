"""Machine-checked derivation steps: each function checks one displayed step and returns a `Check`.

Every check is run a second time on `wrong`, a deliberately wrong form of the same step that its
author gives (a dropped term, a constant off by 5 %, a flipped sign). The same machinery must
refuse it, else the check is not `ok`. `wrong` is one form, or a mapping from words to forms:
`wrong={"constant off by 5 %": lambda x: 1.05 * x}`.

The variables of a step live in a domain, a mapping from names to `real`, `integer`, `simplex`,
`vector` or `choice`; both sides are called with them as keyword arguments. Exact steps (symbols,
fractions, counterexamples) are written in `robustnb.lesson.exact` and probabilities in
`robustnb.lesson.monte_carlo`; all of them can be had from here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from robustnb.lesson.check import (
    Check,
    error_bound,
    make_check,
    rounded,
    slack_shown,
    slack_words,
)
from robustnb.lesson.comparison import error_between, slack_between, slack_value
from robustnb.lesson.domains import (
    Domain,
    Point,
    choice,
    domain_words,
    integer,
    point_at,
    point_words,
    real,
    simplex,
    total_size,
    vector,
)
from robustnb.lesson.exact import exact, fails, identity
from robustnb.lesson.falsify import Search, minimise
from robustnb.lesson.monte_carlo import coverage, probability

__all__ = [
    "Check",
    "Domain",
    "choice",
    "coverage",
    "equality",
    "exact",
    "fails",
    "holds",
    "identity",
    "inequality",
    "integer",
    "probability",
    "real",
    "simplex",
    "vector",
]

Side = Callable[..., Any]
Wrong = Side | Mapping[str, Side]


def equality(
    id: str,
    lhs: Side,
    rhs: Side,
    *,
    domain: Mapping[str, Domain],
    wrong: Wrong,
    says: str = "",
    n: int = 1000,
    seed: int = 0,
    tol: float = 1e-9,
    where: Callable[..., bool] | None = None,
    digits: int | None = None,
) -> Check:
    """Check lhs = rhs at n points of the domain, half random, half searched for the largest error.

    The error is |lhs - rhs| / max(1, |lhs|, |rhs|), the largest entry of it for arrays. `where`
    restricts the domain; `digits` computes with that many decimal digits (mpmath numbers).

    >>> print(equality("square", lambda x: (x + 1) ** 2, lambda x: x * x + 2 * x + 1,
    ...                domain={"x": real(-1, 1)}, wrong=lambda x: x * x + 1))
    ✓ square: no counterexample in N = 1,000 points (x in [-1, 1]); largest error below 1e-12; \
the wrong form is caught
    """
    space = _Space(domain, where, digits, n, seed)

    def search(right: Side, stop_below: float) -> Search:
        return space.minimise(lambda point: -error_between(lhs, right, point), stop_below)

    found = search(rhs, -np.inf)
    worst = -found.least
    true = worst <= tol
    bound = error_bound(worst, tol=tol)
    return make_check(
        id,
        kind="check",
        method="equality",
        holds=true,
        wrong=wrong,
        caught=lambda form: search(form, -tol).least < -tol,
        detail=f"largest error below {bound:.0e}"
        if true
        else f"error {worst:.3g} near {space.words_at(found)}",
        n=found.spent,
        space=domain_words(domain),
        says=says,
        worst=bound if true else rounded(worst),
        tolerance=tol,
    )


def inequality(
    id: str,
    smaller: Side,
    larger: Side,
    *,
    domain: Mapping[str, Domain],
    wrong: Wrong,
    says: str = "",
    n: int = 2000,
    seed: int = 0,
    tol: float = 1e-9,
    where: Callable[..., bool] | None = None,
    digits: int | None = None,
) -> Check:
    """Search the domain for a point with smaller > larger, with n evaluations.

    Half of them are random points (corners and faces included), half descend on the slack
    larger - smaller from the best ones. A violation within tol * max(1, |smaller|, |larger|) is
    rounding. `wrong` replaces `larger`; `where` restricts the domain; `digits` uses mpmath.

    >>> print(inequality("am-gm", lambda a, b: a * b, lambda a, b: (a * a + b * b) / 2,
    ...     domain={"a": real(0, 1), "b": real(0, 1)},
    ...     wrong={"off by 5 %": lambda a, b: (a * a + b * b) / 2.1}))
    ✓ am-gm: no counterexample in N = 2,000 points (a in [0, 1], b in [0, 1]); \
smallest slack 0 to six decimals, near a = 0, b = 0; the wrong form “off by 5 %” is caught
    """
    space = _Space(domain, where, digits, n, seed)

    def search(right: Side, stop_below: float) -> Search:
        return space.minimise(lambda point: slack_between(smaller, right, point, tol), stop_below)

    found = search(larger, -np.inf)
    return make_check(
        id,
        kind="check",
        method="inequality",
        holds=found.least >= 0,
        wrong=wrong,
        caught=lambda form: search(form, 0.0).least < 0,
        detail=f"smallest slack {slack_words(found.least)}, near {space.words_at(found)}",
        n=found.spent,
        space=domain_words(domain),
        says=says,
        worst=slack_shown(found.least),
        tolerance=tol,
    )


def holds(
    id: str,
    cases: Iterable[Any],
    slack: Callable[[Any], Any],
    *,
    space: str,
    wrong: Callable[[Any], Any] | Mapping[str, Callable[[Any], Any]],
    says: str = "",
    tol: float = 1e-9,
) -> Check:
    """Check slack(case) >= -tol for every case; `wrong` is the slack of the wrong form.

    The smallest slack and its case are kept. `space` says in words what the cases are.
    """
    listed = list(cases)
    if not listed:
        raise ValueError(f"{id}: there are no cases; pass a non-empty iterable")

    def least(side: Callable[[Any], Any]) -> tuple[float, Any]:
        best, at = np.inf, listed[0]
        for case in listed:
            value = slack_value(side(case), tol, point_words(case))
            if value < best - 1e-9 * max(1.0, abs(value)) or (value < 0 <= best):
                best, at = value, case
        return best, at

    found, at = least(slack)
    return make_check(
        id,
        kind="check",
        method="holds",
        holds=found >= 0,
        wrong=wrong,
        caught=lambda form: least(form)[0] < 0,
        detail=f"smallest slack {slack_words(found)}, at {point_words(at)}",
        n=len(listed),
        space=space,
        says=says,
        worst=slack_shown(found),
        tolerance=tol,
    )


class _Space:
    """A domain with its constraint, precision, budget and seed: what true and wrong form share."""

    def __init__(
        self,
        domain: Mapping[str, Domain],
        where: Callable[..., bool] | None,
        digits: int | None,
        n: int,
        seed: int,
    ) -> None:
        if n < 50:
            raise ValueError(f"n must be at least 50 points, got {n}")
        self.domain, self.where, self.digits, self.n, self.seed = domain, where, digits, n, seed
        self.size = total_size(domain)

    def point(self, unit: np.ndarray) -> Point | None:
        """The point at unit coordinates, or None outside the constraint."""
        point = point_at(self.domain, unit.tolist())
        if self.where is not None and not self.where(**point):
            return None
        return _in_mpmath(point) if self.digits else point

    def minimise(self, value: Callable[[Point], float], stop_below: float) -> Search:
        """Search the domain for the least value; the same seed, so the same random points."""

        def objective(unit: np.ndarray) -> float | None:
            point = self.point(unit)
            return None if point is None else value(point)

        rng = np.random.default_rng(self.seed)
        with _precision(self.digits), np.errstate(all="ignore"):
            return minimise(objective, self.size, n=self.n, rng=rng, stop_below=stop_below)

    def words_at(self, found: Search) -> str:
        """Where the search found its least value."""
        assert found.where is not None
        return point_words(point_at(self.domain, found.where.tolist()))


@contextlib.contextmanager
def _precision(digits: int | None) -> Iterator[None]:
    """Compute with that many decimal digits in mpmath."""
    if digits is None:
        yield
        return
    import mpmath

    with mpmath.workdps(digits):
        yield


def _in_mpmath(point: Point) -> Point:
    """The point with its real numbers as mpmath numbers."""
    import mpmath

    def convert(value: Any) -> Any:
        if isinstance(value, float):
            return mpmath.mpf(value)
        if isinstance(value, np.ndarray):
            return np.array([mpmath.mpf(float(item)) for item in value], dtype=object)
        return value

    return {name: convert(value) for name, value in point.items()}
