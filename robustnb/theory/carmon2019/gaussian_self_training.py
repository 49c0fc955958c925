"""The Gaussian model of Carmon et al. 2019: labelled averaging, self-training, and their laws.

y is uniform on {-1, 1} and x | y ~ N(y mu, sigma^2 I) in R^d with |mu|_2^2 = d and
sigma^2 = sqrt(d n0). theta_n = mean(y_i x_i); self-training labels fresh x by sign<theta_n, x>
and averages those. A direction enters the errors by its cosine <theta, mu> / (|theta|_2 sqrt d)
and its share |theta|_1 / (|theta|_2 sqrt d) <= 1 alone
(see `robustnb.theory.schmidt2018.gaussian`).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats as st

from robustnb.generators import check_rng
from robustnb.scalars import finite, real, whole
from robustnb.theory.schmidt2018.gaussian import (
    corollary_samples,
    fixed_law,
    normal_tail,
    robust_error,
)

Array = NDArray[np.float64]
_CHUNK = 2**16  # numbers held at once, whatever d and the number of samples
PROMISED_ERROR = 1e-3  # of Proposition 1 and Theorems 2 and 3


def dual_norm(theta: Array, p: float) -> Array:
    """max <theta, delta> over |delta|_p <= 1: the l_q norm, 1/p + 1/q = 1. theta: (..., d).

    >>> [float(dual_norm(np.array([3.0, -4.0]), p)) for p in (1, 2, np.inf)]
    [4.0, 5.0, 7.0]
    """
    if not p >= 1:
        raise ValueError(f"p must be >= 1 for an l_p norm, got {p}; use math.inf for l_inf")
    q = 1.0 if math.isinf(p) else math.inf if p == 1 else p / (p - 1)
    return np.asarray(np.linalg.norm(theta, ord=q, axis=-1))


def linear_error(
    theta: Array, mu: Array, *, sigma: float, eps: float = 0.0, p: float = math.inf
) -> Array:
    """l_p-robust error of x -> sign<theta, x>, exactly; eps = 0 is the standard error.

    Q((<mu, theta> - eps |theta|_q) / (sigma |theta|_2)) with the dual norm q; theta and mu:
    (..., d), theta not 0.
    """
    sigma, eps = finite("sigma", sigma, above=0), finite("eps", eps, least=0)
    if not bool(np.any(theta, axis=-1).all()):
        raise ValueError("theta must not be 0, which is no direction")
    inner = (np.asarray(theta) * mu).sum(axis=-1) - eps * dual_norm(theta, p)
    return normal_tail(inner / (sigma * np.linalg.norm(theta, axis=-1)))


@dataclass(frozen=True)
class Regime:
    """The sizes of eq. (3): dimension d, the labels n0 that standard accuracy takes, radius eps.

    The theorems ask for eps in (0, 1/2) and a large `strength`.
    """

    d: int
    n0: float
    eps: float

    def __post_init__(self) -> None:
        """Refuse sizes outside the model."""
        if not isinstance(self.d, int | float):  # the formulas take any real dimension
            object.__setattr__(self, "d", whole("d", self.d))
        for name in ("n0", "eps"):
            value = getattr(self, name)
            plain = finite(name, value)
            if not isinstance(value, int | float):
                object.__setattr__(self, name, plain)
        if self.d < 2 or self.n0 <= 0 or self.eps <= 0:
            raise ValueError(f"need d >= 2, n0 > 0 and eps > 0, got {self}")

    @property
    def sigma(self) -> float:
        """(d n0)^(1/4)."""
        return math.sqrt(math.sqrt(self.d * self.n0))

    @property
    def strength(self) -> float:
        """k = eps^2 sqrt(d / n0) = (eps sqrt(d) / sigma)^2."""
        return self.eps**2 * math.sqrt(self.d / self.n0)

    @property
    def too_few(self) -> float:
        """Theorem 1's n0 k / (8 log d): with no more labels, robust error >= (1 - 1/d) / 2.

        For every learner, on average over mu ~ N(0, I); it is Schmidt's Corollary 23.
        """
        return corollary_samples(d=self.d, sigma=self.sigma, eps=self.eps)

    @property
    def enough_labels(self) -> float:
        """Proposition 1's 4 n0 k labels for a robust error <= 1e-3."""
        return 4 * self.n0 * self.strength

    def enough_unlabelled(self, *, relevant: float = 1.0) -> float:
        """Theorem 2's 288 n0 k points beside n0 labels; over relevant^2 if few are relevant."""
        return float(theorem2_factor()) * self.n0 * self.strength / relevant**2

    def margin(self, cosine: ArrayLike) -> Array:
        """m = <mu, theta> / (sigma |theta|_2), whose tail Q(m) is the standard error."""
        return np.asarray(math.sqrt(self.d) / self.sigma * np.asarray(cosine, dtype=float))

    def error(self, cosine: ArrayLike, share: ArrayLike = 1.0) -> Array:
        """linf-robust error; with share 1 it is the bound Q(m - sqrt k) from above."""
        return robust_error(cosine, share, d=self.d, sigma=self.sigma, eps=self.eps)

    def standard_error(self, cosine: ArrayLike) -> Array:
        """Q(m)."""
        return normal_tail(self.margin(cosine))

    def limit_margin(self, n: ArrayLike) -> Array:
        """(sqrt(n0 / d) + n0 / n)^(-1/2): the margin of theta_n up to concentration."""
        share = self.n0 / np.asarray(n, dtype=float)
        return np.asarray((math.sqrt(self.n0 / self.d) + share) ** -0.5)

    def margin_bound(self, n: float, *, t: float, s: float) -> float:
        """Lemma 1 with its constants: m is at least this but with probability `margin_miss`.

        m^-2 <= sqrt(n0/d) + (n0/n) (1 + 2 sqrt(s/d) + 2s/d) / (1 - t (n0/d)^(1/4) / sqrt n)^2,
        from a Gaussian tail along mu and Laurent and Massart's chi-square tail across it.
        """
        along = 1 - t * (self.n0 / self.d) ** 0.25 / math.sqrt(n)
        if along <= 0:
            raise ValueError(f"t = {t} is too large for n = {n}; the bound needs a positive mean")
        across = 1 + 2 * math.sqrt(s / self.d) + 2 * s / self.d
        return float((math.sqrt(self.n0 / self.d) + self.n0 / n * across / along**2) ** -0.5)


def margin_miss(*, t: float, s: float) -> float:
    """exp(-t^2 / 2) + exp(-s): the most often that Lemma 1's bound fails."""
    return math.exp(-t * t / 2) + math.exp(-s)


def needed_strength(eps: float, *, level: float = PROMISED_ERROR) -> float:
    """The strength k from which Proposition 1's bound at 4 n0 k labels is at most `level`.

    Q((2 / sqrt(1 + 4 eps^2) - 1) sqrt k) <= level; concentration is left out, so that this is
    the size of the proposition's constant r, not r itself.

    >>> [round(needed_strength(eps), 2) for eps in (0.5, 0.25, 0.1)]
    [55.66, 15.35, 10.34]
    """
    gain = 2 / math.sqrt(1 + 4 * eps**2) - 1
    if gain <= 0:
        raise ValueError(f"eps must be below sqrt(3) / 2 for the bound to fall, got {eps}")
    return float((st.norm.isf(level) / gain) ** 2)


def theorem2_factor(*, agreement: Fraction = Fraction(1, 6), cross: int = 2) -> Fraction:
    """4 cross / agreement^2: Proposition 1's factor 4, once for cross terms, once for labels.

    `agreement` is what the proof is left with of mean(label * true label).

    >>> theorem2_factor()
    Fraction(288, 1)
    """
    return 4 * cross / Fraction(agreement) ** 2


def agreement_miss(unlabelled: float, *, mean: float = 1 / 3, floor: float = 1 / 6) -> float:
    """Hoeffding: Pr[mean of `unlabelled` signs of expectation >= `mean` falls below `floor`]."""
    if not floor <= mean:
        raise ValueError(f"floor must not exceed mean, got {floor} and {mean}")
    return math.exp(-unlabelled * (mean - floor) ** 2 / 2)


def pseudo_label_moments(margin: ArrayLike, *, relevant: float = 1.0) -> tuple[Array, Array]:
    """E[label * true label] and E[label * g_u] for pseudo-labels of a direction u with `margin`.

    So E[label * x] = first * mu + sigma * second * u. Relevant points give 1 - 2 Q(m) and
    2 phi(m), points N(0, sigma^2 I) without a class give 0 and sqrt(2 / pi).
    """
    m = np.asarray(margin, dtype=float)
    pull = relevant * 2 * st.norm.pdf(m) + (1 - relevant) * math.sqrt(2 / math.pi)
    return relevant * (1 - 2 * normal_tail(m)), np.asarray(pull)


@dataclass(frozen=True)
class SelfTrained:
    """Draws of self-training: each array has one number a training set.

    first: cosine of the labelled average. agreement: mean of label * true label (0 for irrelevant
    points). pull: mean of label * g_u. cosine, share: of the final average.
    """

    first: Array
    agreement: Array
    pull: Array
    cosine: Array
    share: Array


def self_trained_law(
    rng: np.random.Generator,
    regime: Regime,
    *,
    n: float,
    unlabelled: int,
    draws: int,
    relevant: float = 1.0,
) -> SelfTrained:
    """Exact law of self-training from a few scalars a draw; memory and time do not grow with d.

    final = agreement mu + sigma pull u + sigma / sqrt(unlabelled) z with z normal across u.
    share is not drawn but set to 1, its largest value: `Regime.error` is then an upper bound.
    """
    n, unlabelled, draws, relevant = _check(n, unlabelled, draws, relevant, rng)
    d, sigma = regime.d, regime.sigma
    first = fixed_law(rng, d=d, draws=draws).cosine(n=n, sigma=sigma)
    agreement, pull = _votes(rng, regime.margin(first), unlabelled, relevant)
    noise = sigma / math.sqrt(unlabelled)
    along, across = first * math.sqrt(d), np.sqrt(d * np.maximum(1 - first**2, 0))
    toward = rng.standard_normal(draws)  # z along the part of mu across u
    rest = rng.chisquare(d - 2, draws) if d > 2 else np.zeros(draws)
    inner = agreement * d + sigma * pull * along + noise * across * toward
    # |final|^2: its part along u, along mu across u, and the rest.
    square = (agreement * along + sigma * pull) ** 2
    square = square + (agreement * across + noise * toward) ** 2 + noise**2 * rest
    cosine = inner / np.sqrt(d * square)
    return SelfTrained(first, agreement, pull, cosine, np.ones(draws))


def _votes(
    rng: np.random.Generator, margin: Array, unlabelled: int, relevant: float
) -> tuple[Array, Array]:
    """(agreement, pull) for each margin, from every point's noise g_u along u."""
    useful = round(relevant * unlabelled)
    agreement, pull = np.zeros(len(margin)), np.zeros(len(margin))
    for i, m in enumerate(margin):
        for size in _chunks(useful):
            g = rng.standard_normal(size)
            label = np.where(m + g >= 0, 1.0, -1.0)  # times the true label
            agreement[i] += label.sum()
            pull[i] += label @ g
        for size in _chunks(unlabelled - useful):
            pull[i] += np.abs(rng.standard_normal(size)).sum()  # the label is g_u's own sign
    return agreement / unlabelled, pull / unlabelled


def streamed_averaging(
    rng: np.random.Generator, regime: Regime, *, n: float, draws: int
) -> tuple[Array, Array]:
    """(cosine, share) of theta_n for mu = (1, ..., 1), exactly, in blocks of coordinates."""
    n, _, draws, _ = _check(n, 1, draws, 1.0, rng)
    noise = regime.sigma / math.sqrt(n)
    sums = np.zeros((draws, 3))
    for row in sums:
        for size in _chunks(regime.d):
            row += _sums(1 + noise * rng.standard_normal(size))
    return _shape(sums, regime.d)


def streamed_self_training(
    rng: np.random.Generator,
    regime: Regime,
    *,
    n: float,
    unlabelled: int,
    draws: int,
    relevant: float = 1.0,
) -> SelfTrained:
    """Self-training for mu = (1, ..., 1) with the exact share, in blocks of coordinates.

    Time grows with d, memory does not: the same noise is drawn twice, first for the labelled
    average and its overlap with the later noise, then for the final one.
    """
    n, unlabelled, draws, relevant = _check(n, unlabelled, draws, relevant, rng)
    sigma, votes_rng = regime.sigma, rng.spawn(1)[0]
    scale, noise = sigma / math.sqrt(n), sigma / math.sqrt(unlabelled)
    begin, overlap, sums = np.zeros((draws, 3)), np.zeros(draws), np.zeros((draws, 3))
    agreement, pull = np.zeros(draws), np.zeros(draws)
    for i in range(draws):
        for g, z in _pairs(copy.deepcopy(rng), regime.d):
            begin[i] += _sums(1 + scale * g)
            overlap[i] += (1 + scale * g) @ z
        length = math.sqrt(begin[i, 1])
        margin = np.array([begin[i, 0] / (sigma * length)])
        (agreement[i],), (pull[i],) = _votes(votes_rng, margin, unlabelled, relevant)
        # noise * z has a part along u, which sigma * pull replaces.
        weight = sigma * pull[i] - noise * overlap[i] / length
        for g, z in _pairs(rng, regime.d):
            sums[i] += _sums(agreement[i] + weight / length * (1 + scale * g) + noise * z)
    first, _ = _shape(begin, regime.d)
    return SelfTrained(first, agreement, pull, *_shape(sums, regime.d))


def simulate_self_training(
    rng: np.random.Generator,
    mu: Array,
    *,
    sigma: float,
    n: int,
    unlabelled: int,
    draws: int,
    relevant: float = 1.0,
) -> SelfTrained:
    """Self-training with every point drawn in full dimension: the oracle of the laws. mu: (d,)."""
    n, sigma = whole("n", n), finite("sigma", sigma, above=0)
    _, unlabelled, draws, relevant = _check(n, unlabelled, draws, relevant, rng)
    useful, root = np.arange(unlabelled) < round(relevant * unlabelled), math.sqrt(mu.size)
    rows = []
    for _ in range(draws):
        y, y_later = (rng.choice([-1.0, 1.0], size=(m, 1)) for m in (n, unlabelled))
        x = y * mu + sigma * rng.standard_normal((n, mu.size))
        theta = (y * x).mean(axis=0)
        noise = rng.standard_normal((unlabelled, mu.size))
        later = useful[:, None] * y_later * mu + sigma * noise
        label = np.where(later @ theta >= 0, 1.0, -1.0)
        final, u = label @ later / unlabelled, theta / np.linalg.norm(theta)
        length = np.linalg.norm(final)
        agreement, pull = (label * y_later[:, 0] * useful).mean(), (label * (noise @ u)).mean()
        cosine, share = final @ mu / (root * length), np.abs(final).sum() / (root * length)
        rows.append((u @ mu / root, agreement, pull, cosine, share))
    return SelfTrained(*np.array(rows).T)


def _chunks(count: int) -> Iterator[int]:
    for start in range(0, count, _CHUNK):
        yield min(_CHUNK, count - start)


def _pairs(rng: np.random.Generator, d: int) -> Iterator[tuple[Array, Array]]:
    """Two independent standard normal vectors of R^d, block by block."""
    for size in _chunks(d):
        yield rng.standard_normal(size), rng.standard_normal(size)


def _sums(theta: Array) -> Array:
    """Sum, sum of squares and sum of sizes of some coordinates."""
    return np.array([theta.sum(), theta @ theta, np.abs(theta).sum()])


def _shape(sums: Array, d: int) -> tuple[Array, Array]:
    """(cosine, share) from the sums over all coordinates."""
    total, square, size = sums.T
    length = np.sqrt(d * square)
    return total / length, size / length


def _check(
    n: float, unlabelled: int, draws: int, relevant: float, rng: np.random.Generator
) -> tuple[float, int, int, float]:
    """All four as plain numbers; ValueError for what is no size or share."""
    check_rng(rng)
    n, relevant = finite("n", n, above=0), real("relevant", relevant)
    if not 0 <= relevant <= 1:
        raise ValueError(f"need relevant in [0, 1], a share, got {relevant}")
    return n, whole("unlabelled", unlabelled), whole("draws", draws), relevant
