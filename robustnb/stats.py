"""Intervals and tests for the verdicts: binomial bounds, t and bootstrap intervals, TOST, power.

Everything is a function of arrays; randomness comes only from a `numpy.random.Generator`.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize
from scipy import stats as st

from robustnb.generators import check_rng
from robustnb.scalars import finite, real, whole

Floats = NDArray[np.float64]
DRAWS = 4000
_CHUNK = 4_000_000  # weights held at once: 32 MB


@dataclass(frozen=True)
class Interval:
    """A confidence interval [low, high] at `level`; `covers` says in words what varies in it."""

    low: float
    high: float
    level: float = 0.95
    covers: str = ""

    def __post_init__(self) -> None:
        """Refuse ends in the wrong order."""
        if not self.low <= self.high:
            raise ValueError(f"low must not exceed high, got [{self.low}, {self.high}]; swap them")

    def __contains__(self, value: float) -> bool:
        """Whether value lies in the closed interval."""
        return self.low <= value <= self.high

    @property
    def width(self) -> float:
        """High minus low."""
        return self.high - self.low

    def hull(self, other: Interval) -> Interval:
        """The smallest interval that holds both, at the level they share."""
        if not math.isclose(self.level, other.level):
            raise ValueError(f"levels differ ({self.level}, {other.level}); take the same level")
        covers = " and ".join(dict.fromkeys(c for c in (self.covers, other.covers) if c))
        return Interval(min(self.low, other.low), max(self.high, other.high), self.level, covers)

    def to_json(self) -> dict[str, float | str]:
        """A dictionary of the four fields."""
        return asdict(self)


def clopper_pearson(k: int, n: int, *, level: float = 0.95) -> Interval:
    """Exact binomial interval for k successes in n draws (Clopper and Pearson 1934).

    Guarantee: covers the true rate with probability >= level for every rate.

    >>> interval = clopper_pearson(0, 10)
    >>> interval.low, round(interval.high, 4)
    (0.0, 0.3085)
    """
    k, n = _check_count(k, n)
    level = _check_level(level)
    tail = (1 - level) / 2
    low = 0.0 if k == 0 else float(st.beta.ppf(tail, k, n - k + 1))
    high = 1.0 if k == n else float(st.beta.ppf(1 - tail, k + 1, n - k))
    return Interval(low, high, level, "examples (exact binomial)")


def wilson(k: int, n: int, *, level: float = 0.95) -> Interval:
    """Score interval for k successes in n draws (Wilson 1927): close to `level`, not a guarantee.

    >>> interval = wilson(5, 10)
    >>> round(interval.low, 4), round(interval.high, 4)
    (0.2366, 0.7634)
    """
    k, n = _check_count(k, n)
    level = _check_level(level)
    z = float(st.norm.ppf((1 + level) / 2))
    rate, shrink = k / n, 1 + z * z / n
    centre = (rate + z * z / (2 * n)) / shrink
    half = z / shrink * math.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    low = 0.0 if k == 0 else centre - half
    high = 1.0 if k == n else centre + half
    return Interval(low, high, level, "examples (Wilson score)")


def binomial_upper_quantile(n: int, alpha: float, *, q: float = 0.999) -> int:
    """The smallest m with Pr[Bin(n, alpha) <= m] >= q: more misses than m refute a rate of alpha.

    >>> binomial_upper_quantile(2000, 0.05)
    131
    """
    _, n = _check_count(0, n)
    alpha = real("alpha", alpha)
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must be in [0, 1], got {alpha}; give the claimed miss rate")
    _check_level(q)
    return int(st.binom.ppf(q, n, alpha))


def t_interval(values: ArrayLike, *, level: float = 0.95) -> Interval:
    """Student's interval for the mean of i.i.d. values, mean +- t_{n-1} s / sqrt(n); n >= 2."""
    x = _vector(values)
    level = _check_level(level)
    half = float(st.t.ppf((1 + level) / 2, x.size - 1)) * _standard_error(x)
    return Interval(float(x.mean()) - half, float(x.mean()) + half, level, "seeds (Student t)")


def prediction_interval(values: ArrayLike, *, level: float = 0.95) -> Interval:
    """Where one more value of the same law falls: mean +- t_{n-1} s sqrt(1 + 1/n); n >= 2."""
    x = _vector(values)
    level = _check_level(level)
    half = float(st.t.ppf((1 + level) / 2, x.size - 1)) * float(x.std(ddof=1))
    half *= math.sqrt(1 + 1 / x.size)
    return Interval(float(x.mean()) - half, float(x.mean()) + half, level, "one further seed")


def t_test(values: ArrayLike, *, null: float = 0.0) -> float:
    """Two-sided p-value of Student's test that the mean is `null`; equal values give 0 or 1."""
    x, null = _vector(values), finite("null", null)
    gap, error = float(x.mean()) - null, _standard_error(x)
    if error <= 1e-15 * max(1.0, abs(null)):
        return 1.0 if abs(gap) <= 1e-12 else 0.0
    return float(2 * st.t.sf(abs(gap) / error, x.size - 1))


def sign_test(wins: int, losses: int) -> float:
    """Exact two-sided p-value that wins and losses are equally likely (McNemar, ties left out)."""
    hint = "; count changed examples"
    wins = whole("wins", wins, least=0, hint=hint)
    losses = whole("losses", losses, least=0, hint=hint)
    if wins + losses == 0:
        return 1.0
    return float(st.binomtest(wins, wins + losses, 0.5).pvalue)


def resampled_means(
    rows: ArrayLike, *, draws: int = DRAWS, generator: np.random.Generator
) -> Floats:
    """Bootstrap of the column means: rows (N, K) are resampled whole, so columns stay paired.

    Returns (draws, K). Rows that are equal are drawn together as one multinomial cell, which is
    the same law and far cheaper for binary outcomes.
    """
    table = np.asarray(rows, dtype=np.float64)
    if table.ndim != 2 or not table.size:
        raise ValueError(f"rows must be a filled (N, K) table, got shape {table.shape}")
    if not bool(np.isfinite(table).all()):
        raise ValueError("rows hold NaN or infinite values; leave such examples out")
    draws, n = whole("draws", draws), len(table)
    check_rng(generator, "generator")
    cells, counts = np.unique(table, axis=0, return_counts=True)
    out = np.empty((draws, table.shape[1]))
    step = max(1, _CHUNK // n)
    for start in range(0, draws, step):
        size = min(step, draws - start)
        if len(cells) <= n // 4:
            weights = generator.multinomial(n, counts / n, size=size)
            out[start : start + size] = weights @ cells / n
        else:
            out[start : start + size] = _row_weights(n, size, generator) @ table / n
    return out


def _row_weights(n: int, size: int, generator: np.random.Generator) -> Floats:
    """How often each of n rows is drawn, for `size` resamples: (size, n)."""
    picks = generator.integers(0, n, size=(size, n)) + n * np.arange(size)[:, None]
    return np.bincount(picks.ravel(), minlength=size * n).reshape(size, n).astype(np.float64)


def crossed_bootstrap(
    samples: ArrayLike,
    statistic: Callable[[Floats], Floats],
    *,
    draws: int = DRAWS,
    generator: np.random.Generator,
) -> Floats:
    """Bootstrap over seeds crossed with examples (Owen's pigeonhole bootstrap); returns (draws,).

    samples: (seeds, arms, examples); `statistic` maps arm means (..., arms) to a number (...). The
    examples drawn are the same for every seed and arm; seeds are then drawn with replacement, and
    the draw is the mean of their statistics. One seed: the plain bootstrap over examples.
    """
    x, draws = np.asarray(samples, dtype=np.float64), whole("draws", draws)
    if x.ndim != 3 or not x.size:
        raise ValueError(f"samples must be filled (seeds, arms, examples), got shape {x.shape}")
    seeds, arms, n = x.shape
    means = resampled_means(x.reshape(seeds * arms, n).T, draws=draws, generator=generator)
    return mean_over_seeds(statistic(means.reshape(draws, seeds, arms)), generator=generator)


def mean_over_seeds(values: Floats, *, generator: np.random.Generator) -> Floats:
    """Mean over seeds drawn with replacement, one fresh draw per row of values (draws, seeds)."""
    if np.ndim(values) != 2 or not np.size(values):
        raise ValueError(f"values must be filled (draws, seeds), got shape {np.shape(values)}")
    check_rng(generator, "generator")
    seeds = values.shape[1]
    weights = generator.multinomial(seeds, np.full(seeds, 1 / seeds), size=len(values))
    mean: Floats = (weights * values).sum(axis=1) / seeds
    return mean


def percentile_interval(draws: ArrayLike, *, level: float = 0.95, covers: str = "") -> Interval:
    """The central `level` of the bootstrap draws."""
    level = _check_level(level)
    low, high = np.quantile(_draws(draws), [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high), level, covers or "bootstrap")


def percentile_test(draws: ArrayLike, *, null: float = 0.0) -> float:
    """Two-sided p-value read off bootstrap draws: twice the smaller tail beyond null, plus one."""
    x, null = _draws(draws), finite("null", null)
    slack = 1e-12
    tail = min(int((x <= null + slack).sum()), int((x >= null - slack).sum()))
    return min(1.0, 2 * (tail + 1) / (x.size + 1))


def paired_bootstrap(
    a: ArrayLike,
    b: ArrayLike,
    *,
    draws: int = DRAWS,
    level: float = 0.95,
    generator: np.random.Generator,
) -> Interval:
    """Interval of mean(a) - mean(b) for outcomes of the same N examples, resampled in pairs."""
    left, right = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if left.shape != right.shape or left.ndim != 1:
        raise ValueError(
            f"a and b must be (N,) outcomes of the same examples, got {left.shape} and "
            f"{right.shape}; pass both arms on one subset in one order"
        )
    boot = resampled_means((left - right)[:, None], draws=draws, generator=generator)
    return percentile_interval(boot, level=level, covers="examples (paired bootstrap)")


def benjamini_hochberg(p: ArrayLike) -> Floats:
    """Adjusted p-values (Benjamini and Hochberg 1995): reject where <= q for a false rate q.

    >>> benjamini_hochberg([0.01, 0.04, 0.03]).round(3).tolist()
    [0.03, 0.04, 0.04]
    """
    raw = np.asarray(p, dtype=np.float64)
    if raw.ndim != 1 or not bool(((raw >= 0) & (raw <= 1)).all()):
        raise ValueError("p must be a flat list of numbers in [0, 1]; leave out what has no test")
    adjusted: Floats = st.false_discovery_control(raw)
    return adjusted


def tost(estimate: float, error: float, margin: float, *, df: float = math.inf) -> float:
    """P-value of two one-sided tests (Schuirmann 1987) of |difference| >= margin.

    `error` is the standard error of `estimate`. Below 0.05 exactly when the 90 % interval lies
    inside (-margin, margin).
    """
    estimate, df = finite("estimate", estimate), _check_df(df)
    error, margin = finite("error", error, least=0), finite("margin", margin, above=0)
    if error == 0:
        return 0.0 if abs(estimate) < margin else 1.0
    return float(st.t.sf((margin - abs(estimate)) / error, df))


def minimal_detectable(
    error: float, *, df: float = math.inf, alpha: float = 0.05, power: float = 0.8
) -> float:
    """The true difference that a two-sided level-alpha test sees with probability `power`.

    `error` is the standard error of the estimate with `df` degrees of freedom (noncentral t).

    >>> round(minimal_detectable(1.0), 3)
    2.802
    """
    power, alpha = _check_level(power), _check_level(alpha)
    error, df = finite("error", error, least=0), _check_df(df)
    critical = float(st.t.ppf(1 - alpha / 2, df))
    if math.isinf(df):
        return error * (critical + float(st.norm.ppf(power)))
    shift = optimize.brentq(
        lambda c: float(st.nct.sf(critical, df, c)) - power, 0.0, 8 * critical + 8
    )
    return error * float(shift)


def power_against(
    effect: float, error: float, *, df: float = math.inf, alpha: float = 0.05
) -> float:
    """The probability that a two-sided level-alpha test finds a true difference of `effect`.

    On the right side, that is. `error` is the standard error of the estimate with `df` degrees of
    freedom (noncentral t); the inverse of `minimal_detectable`.

    >>> round(power_against(2.802, 1.0), 3)
    0.8
    """
    effect, error = finite("effect", effect, above=0), finite("error", error, above=0)
    alpha, df = _check_level(alpha), _check_df(df)
    critical, shift = float(st.t.ppf(1 - alpha / 2, df)), effect / error
    if math.isinf(df):
        return float(st.norm.sf(critical - shift))
    return float(st.nct.sf(critical, df, shift))


def power_of_equivalence(
    margin: float, error: float, *, df: float = math.inf, alpha: float = 0.05
) -> float:
    """At least the probability that two one-sided tests find no difference beyond `margin`.

    Where there is truly none: each test has the power of a one-sided one against `margin`, and both
    must succeed, so by Bonferroni the power is at least twice that less 1.

    >>> round(power_of_equivalence(2.926, 1.0), 3)
    0.8
    """
    one = power_against(margin, error, df=df, alpha=2 * alpha)
    return max(0.0, 2 * one - 1)


def _standard_error(x: Floats) -> float:
    return float(x.std(ddof=1)) / math.sqrt(x.size)


def _vector(values: ArrayLike) -> Floats:
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 1 or x.size < 2 or not bool(np.isfinite(x).all()):
        raise ValueError(
            f"need two or more finite values in a flat list, got shape {x.shape}; one per seed"
        )
    return x


def _check_count(k: int, n: int) -> tuple[int, int]:
    if isinstance(k, bool) or isinstance(n, bool) or not (n >= 1 and 0 <= k <= n):
        raise ValueError(f"need 0 <= k <= n and n >= 1, got k={k}, n={n}; pass successes, draws")
    try:
        k, n = operator.index(k), operator.index(n)
    except TypeError:
        raise ValueError(f"k and n are counts, whole numbers; got k={k}, n={n}") from None
    return k, n


def _draws(values: ArrayLike) -> Floats:
    x = np.asarray(values, dtype=np.float64)
    if not x.size or not bool(np.isfinite(x).all()):
        raise ValueError("need at least one bootstrap draw, and all of them finite")
    return x


def _check_df(df: float) -> float:
    df = real("df", df)
    if not df >= 1:
        raise ValueError(f"df must be >= 1 degrees of freedom, got {df}; use two seeds")
    return df


def _check_level(level: float) -> float:
    level = real("a level", level)
    if not 0 < level < 1:
        raise ValueError(f"a level is between 0 and 1, got {level}; 95 % is 0.95")
    return level


__all__ = [
    "DRAWS",
    "Interval",
    "benjamini_hochberg",
    "binomial_upper_quantile",
    "clopper_pearson",
    "crossed_bootstrap",
    "mean_over_seeds",
    "minimal_detectable",
    "paired_bootstrap",
    "percentile_interval",
    "percentile_test",
    "prediction_interval",
    "resampled_means",
    "sign_test",
    "t_interval",
    "t_test",
    "tost",
    "wilson",
]
