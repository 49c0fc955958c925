"""The Bernoulli model of Schmidt et al. 2018: exact sums, posteriors, thresholding, lower bound.

y is uniform on {-1, 1}, theta in {-1, 1}^d, and x_i = y theta_i with probability 1/2 + tau, else
-y theta_i, independently given y. A score of zero counts as an error.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats as st

from robustnb.generators import check_rng
from robustnb.scalars import finite, real, whole

Array = NDArray[np.float64]


def single_sample_error(agree: int, *, d: int, tau: float, eps: float = 0.0) -> float:
    """Exact robust error of w = y x from one sample that agrees with theta in `agree` coordinates.

    <w, y'x'> = 2 M - d with M ~ Bin(agree, 1/2 + tau) + Bin(d - agree, 1/2 - tau), and |w|_1 = d,
    so the error is Pr[2 M - d <= eps d]; eps = 0 is the standard error. A sum of d + 1 terms.
    """
    agree, d = whole("agree", agree, least=0), whole("d", d)
    tau, eps = _check_tau(tau), finite("eps", eps, least=0)
    if not agree <= d:
        raise ValueError(f"agree must lie in 0..{d}, got {agree}")
    most = math.floor(d * (1 + eps) / 2 + 1e-9)
    first = np.arange(agree + 1)
    rest = st.binom.cdf(most - first, d - agree, 0.5 - tau)
    return min(1.0, math.fsum(st.binom.pmf(first, agree, 0.5 + tau) * rest))


def agreement_tail(threshold: float, *, d: int, tau: float) -> float:
    """Pr[<y x, theta> <= threshold], exactly: the inner product is 2 Bin(d, 1/2 + tau) - d."""
    return float(st.binom.cdf(math.floor((threshold + d) / 2 + 1e-9), d, 0.5 + tau))


def single_sample_bounds(*, d: ArrayLike, tau: ArrayLike) -> tuple[Array, Array]:
    """Theorem 27: (e^{-tau^2 d / 2}, e^{-2 tau^4 d}).

    With a probability of at least one minus the first the error is at most the second.
    """
    size, square = np.asarray(d, dtype=float), np.asarray(tau, dtype=float) ** 2
    return np.exp(-square * size / 2), np.exp(-2 * square**2 * size)


def sufficient_tau(*, d: ArrayLike, beta: float) -> Array:
    """Corollary 28: the smallest tau for which Theorem 27 promises an error of at most beta."""
    return np.asarray((math.log(1 / beta) / (2 * np.asarray(d, dtype=float))) ** 0.25)


def draw_model(
    rng: np.random.Generator, theta: ArrayLike, *, tau: float, count: int
) -> tuple[Array, Array]:
    """`count` samples (x, y): x (count, d) and y (count,), entries -1 and 1."""
    tau, count = _check_tau(tau), whole("count", count)
    check_rng(rng)
    signs = np.asarray(theta, dtype=float)
    y = rng.choice([-1.0, 1.0], size=count)
    keep = np.where(rng.random((count, len(signs))) < 0.5 + tau, 1.0, -1.0)
    return keep * y[:, None] * signs, y


def threshold(x: ArrayLike) -> Array:
    """T(x): +1 where x >= 0, else -1."""
    return np.where(np.asarray(x, dtype=float) >= 0, 1.0, -1.0)


@dataclass(frozen=True)
class Moments:
    """Per-coordinate means over theta-aligned weights u = mean(y_i x_i) theta: u, |u| and u^2."""

    mean: float
    absolute: float
    square: float

    def robust_error(self, *, d: float, tau: float, eps: float) -> float:
        """Error of averaging for d coordinates, up to concentration and the normal law of <w, x>.

        Given w, y<w, x> has mean 2 tau <w, theta> and variance (1 - 4 tau^2) |w|_2^2.
        """
        gap = 2 * tau * self.mean - eps * self.absolute
        spread = math.sqrt((1 - 4 * tau**2) * self.square)
        return float(st.norm.sf(math.sqrt(d) * gap / spread))


def averaging_moments(*, n: int, tau: float) -> Moments:
    """Moments of the average of n signs that agree with probability 1/2 + tau; exact sums."""
    tau, n = _check_tau(tau), whole("n", n)
    k = np.arange(n + 1)
    pmf, u = st.binom.pmf(k, n, 0.5 + tau), (2 * k - n) / n
    return Moments(*(float((pmf * value).sum()) for value in (u, np.abs(u), u * u)))


def linear_samples(*, d: float, tau: float, eps: float, level: float, most: int = 2**22) -> int:
    """The fewest samples with which averaging has a robust error of at most `level`; odd n only.

    (An even n can tie.) Raises ValueError if `most` samples are not enough.
    """

    def fails(n: int) -> bool:
        moments = averaging_moments(n=n, tau=tau)
        return moments.robust_error(d=d, tau=tau, eps=eps) > level

    high = 1
    while fails(high):
        high = 2 * high + 1
        if high > most:
            raise ValueError(f"{most} samples are not enough; lower eps or raise tau")
    low = high // 2
    while high - low > 2:
        middle = (low + high) // 4 * 2 + 1
        low, high = (middle, high) if fails(middle) else (low, middle)
    return high


def averaging_draws(
    rng: np.random.Generator, *, d: int, n: int, tau: float, eps: float, draws: int
) -> NDArray[np.bool_]:
    """Robust failures (draws,) of averaging, one fresh example for each of `draws` training sets.

    Coordinates with the same number of agreements are alike, so only their counts are drawn:
    memory is O(n), whatever d, and the law is exact.
    """
    d, n, draws = whole("d", d), whole("n", n), whole("draws", draws)
    tau, eps = _check_tau(tau), finite("eps", eps, least=0)
    check_rng(rng)
    weights = (2 * np.arange(n + 1) - n).astype(np.int64)
    pmf = st.binom.pmf(np.arange(n + 1), n, 0.5 + tau)
    counts = rng.multinomial(d, pmf / pmf.sum(), size=draws)
    score = ((2 * rng.binomial(counts, 0.5 + tau) - counts) * weights).sum(axis=1)
    return np.asarray(score <= eps * (counts * np.abs(weights)).sum(axis=1) + 1e-9)


def log_odds(agreements: ArrayLike, *, n: int, tau: float) -> Array:
    """log Pr[theta_i = 1 | S] / Pr[theta_i = -1 | S] when y_k x_ki = 1 in `agreements` of n."""
    tau, n = _check_tau(tau), whole("n", n)
    return np.asarray((2 * np.asarray(agreements) - n) * math.log((0.5 + tau) / (0.5 - tau)))


def log_odds_bound(*, n: ArrayLike, tau: ArrayLike, delta: ArrayLike) -> Array:
    """Lemma 29: 15 tau sqrt(2 n log(2 / delta)), for n <= 1 / tau^2 and tau <= 1/4."""
    inside = 2 * np.asarray(n, dtype=float) * np.log(2 / np.asarray(delta, dtype=float))
    return np.asarray(15 * np.asarray(tau, dtype=float) * np.sqrt(inside))


def log_odds_miss(*, n: int, tau: float, delta: float, scale: float = 1.0) -> float:
    """Pr[|log odds| > scale * Lemma 29's bound], exactly."""
    tau, n, scale = _check_tau(tau), whole("n", n), finite("scale", scale, least=0)
    k = np.arange(n + 1)
    size = np.abs(log_odds(k, n=n, tau=tau))
    far = size > scale * log_odds_bound(n=n, tau=tau, delta=delta)
    return float(st.binom.pmf(k, n, 0.5 + tau)[far].sum())


def linear_bound_samples(*, d: float, tau: float, eps: float, gamma: float) -> float:
    """Theorem 31: up to this n linear learners have expected robust error >= 1/2 - gamma."""
    return eps**2 * gamma**2 / (5000 * tau**4 * math.log(4 * d / gamma))


def mixture_tail(weights: ArrayLike, means: ArrayLike, at: float) -> float:
    """Pr[sum_i w_i u_i <= at] for independent signs u_i with the given means, by enumeration."""
    w, mean = np.asarray(weights, dtype=float), np.asarray(means, dtype=float)
    signs = np.array(list(itertools.product((-1.0, 1.0), repeat=len(w))))
    probability = ((1 + signs * mean) / 2).prod(axis=1)
    return float(probability[signs @ w <= at + 1e-12].sum())


def enumerated_errors(
    weights: Sequence[int], theta: Sequence[int], *, tau: Fraction, eps: Fraction
) -> dict[str, Fraction]:
    """Exact errors of f = sign<w, .> and of f o T by summing over all x in {-1, 1}^d and y.

    "standard" and "robust" are f's, "thresholded" and "thresholded robust" those of f o T. T is
    monotone, so over [x_i - eps, x_i + eps] it takes the values at the two ends, no other.
    """
    total = dict.fromkeys(("standard", "robust", "thresholded", "thresholded robust"), Fraction(0))
    half = Fraction(1, 2)
    for x in itertools.product((-1, 1), repeat=len(weights)):
        for y in (-1, 1):
            mass = half * math.prod(
                (half + tau if v == y * t else half - tau) for v, t in zip(x, theta, strict=True)
            )
            for name, wrong in _wrong(x, y, weights, eps).items():
                total[name] += mass * wrong
    return total


def _wrong(x: Sequence[int], y: int, weights: Sequence[int], eps: Fraction) -> dict[str, bool]:
    """Whether each of the four errors happens at (x, y), by its definition."""

    def sign(value: Any) -> int:
        return 1 if value >= 0 else -1

    reach = [(sign(v - eps), sign(v + eps)) for v in x]
    score = sum(y * w * v for w, v in zip(weights, x, strict=True))
    coded = sum(y * w * sign(v) for w, v in zip(weights, x, strict=True))
    worst = sum(min(y * w * t for t in ends) for w, ends in zip(weights, reach, strict=True))
    return {
        "standard": score <= 0,
        "robust": score - eps * sum(map(abs, weights)) <= 0,
        "thresholded": coded <= 0,
        "thresholded robust": worst <= 0,
    }


def _check_tau(tau: float) -> float:
    tau = real("tau", tau)
    if not 0 < tau < 0.5:
        raise ValueError(f"tau must lie in (0, 1/2), got {tau}")
    return tau
