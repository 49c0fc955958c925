"""Checks of probabilities: a claimed probability by simulation, and the coverage of a bound."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np

from robustnb.lesson.check import Check, make_check, rounded

_LEAST_DRAWS = 2000
_QUANTILE = 0.999


def probability(
    id: str,
    simulate: Callable[[np.random.Generator, int], Any],
    claimed: float,
    *,
    wrong: float | Mapping[str, float],
    relation: Literal["==", "<=", ">="] = "==",
    n: int = 20_000,
    seed: int = 0,
    level: float = 0.999,
    space: str = "",
    says: str = "",
) -> Check:
    """Check Pr[event] = claimed (or <=, >=) by n draws and a Clopper-Pearson interval.

    `simulate(rng, n)` returns n booleans, one per independent draw. It holds unless the whole
    interval lies on the wrong side; `wrong` is a claimed probability that must be refused.

    >>> flips = lambda rng, n: rng.random(n) < 0.25
    >>> probability("heads", flips, 0.25, wrong=0.2625 + 0.02).ok
    True
    """
    if relation not in ("==", "<=", ">="):
        raise ValueError(f"{id}: relation must be '==', '<=' or '>=', got {relation!r}")
    from robustnb.stats import clopper_pearson

    hits = _hits(id, simulate, n, seed)
    interval = clopper_pearson(hits, n, level=level)

    def agrees(value: float) -> bool:
        if not 0 <= value <= 1:
            raise ValueError(f"{id}: {value} is not a probability")
        above = relation == ">=" or interval.low <= value
        return above and (relation == "<=" or value <= interval.high)

    range_words = f"{100 * level:g} % interval [{interval.low:.3g}, {interval.high:.3g}]"
    return make_check(
        id,
        kind="check",
        method="probability",
        holds=agrees(claimed),
        wrong=wrong,
        caught=lambda value: not agrees(value),
        n=n,
        space=space,
        says=says,
        worst=rounded(abs(hits / n - claimed)),
        detail=(
            f"claimed {'' if relation == '==' else relation + ' '}{claimed:.3g}, observed "
            f"{hits / n:.3g} with {range_words}"
        ),
    )


def coverage(
    id: str,
    misses: Any,
    n: int,
    alpha: float,
    *,
    wrong: Any,
    space: str = "",
    says: str = "",
) -> Check:
    """Check that a bound at level 1 - alpha misses no more than chance allows in n >= 2,000 draws.

    It holds iff the misses are at most the 99.9 % quantile of Bin(n, alpha). `misses` is their
    number, or n booleans; `wrong` is the same for a wrong form of the bound, which must miss more.
    """
    if n < _LEAST_DRAWS:
        raise ValueError(f"{id}: coverage needs n >= {_LEAST_DRAWS:,} draws, got {n}")
    if not 0 < alpha < 1:
        raise ValueError(f"{id}: alpha must lie in (0, 1), got {alpha}")
    from robustnb.stats import binomial_upper_quantile

    allowed = binomial_upper_quantile(n, alpha, q=_QUANTILE)
    count = _count(id, misses, n)
    return make_check(
        id,
        kind="coverage",
        method="coverage",
        holds=count <= allowed,
        wrong=wrong,
        caught=lambda value: _count(id, value, n) > allowed,
        n=n,
        space=space,
        says=says,
        worst=rounded(count / n),
        detail=(
            f"{count:,} misses, at most {allowed:,} allowed (99.9 % quantile at alpha = {alpha:g})"
        ),
        alpha=alpha,
        misses=count,
    )


def _hits(id: str, simulate: Callable[..., Any], n: int, seed: int) -> int:
    """How many of n simulated draws are events."""
    if n < _LEAST_DRAWS:
        raise ValueError(f"{id}: n must be at least {_LEAST_DRAWS:,} draws, got {n}")
    events = np.asarray(simulate(np.random.default_rng(seed), n))
    if events.dtype != bool or events.shape != (n,):
        raise TypeError(
            f"{id}: simulate(rng, n) must return {n} booleans, got {events.dtype} of shape "
            f"{events.shape}; return one True or False per draw"
        )
    return int(events.sum())


def _count(id: str, misses: Any, n: int) -> int:
    """The number of misses, from a number or from n booleans."""
    values = np.asarray(misses)
    if values.dtype == bool and values.shape == (n,):
        return int(values.sum())
    if values.ndim or values.dtype.kind not in "iu" or not 0 <= int(values) <= n:
        raise TypeError(f"{id}: misses must be a whole number in 0..{n}, or {n} booleans")
    return int(values)
