"""The Gaussian model of Schmidt et al. 2018: bounds, exact errors and scalar laws of averaging.

y is uniform on {-1, 1} and x | y ~ N(y theta, sigma^2 I) in R^d. The averaging learner takes n
samples and w = mean(y_i x_i) / |mean(y_i x_i)|_2. What its errors need is two numbers, the cosine
<w, theta> / sqrt(d) and the share |w|_1 / sqrt(d), so that d = 1e12 costs no more than d = 10.
n may be any positive real number: only sigma^2 / n enters.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats as st

from robustnb.generators import check_rng
from robustnb.scalars import finite, whole

Array = NDArray[np.float64]
_LEAST = "; both must be at least 1"
_MEAN_ABS = math.sqrt(2 / math.pi)  # E|g| for a standard normal g


def normal_tail(t: ArrayLike) -> Array:
    """Q(t) = Pr[g >= t] for a standard normal g."""
    return np.asarray(st.norm.sf(np.asarray(t, dtype=float)))


def robust_error(
    cosine: ArrayLike, share: ArrayLike, *, d: float, sigma: float, eps: float
) -> Array:
    """Exact linf-robust error of x -> sign<w, x> for a unit w, |theta|_2 = sqrt(d).

    cosine = <w, theta> / sqrt(d), share = |w|_1 / sqrt(d) (at most 1). eps = 0 is the standard
    error. Robustly right iff y<w, x> > eps |w|_1, and y<w, x> ~ N(<w, theta>, sigma^2).
    """
    d, sigma = finite("d", d, least=1), finite("sigma", sigma, above=0)
    eps = finite("eps", eps, least=0)
    margin = np.asarray(cosine, dtype=float) - eps * np.asarray(share, dtype=float)
    return normal_tail(math.sqrt(d) * margin / sigma)


@dataclass(frozen=True)
class FixedLaw:
    """Draws of the averaging learner for a fixed theta with |theta|_2 = sqrt(d); exact.

    `normal` is the noise along theta, `chi2` the squared noise across it (d - 1 degrees of
    freedom). The same draws serve every n and sigma, so that curves over n are smooth.
    """

    d: float
    normal: Array
    chi2: Array

    def cosine(self, *, n: float, sigma: float) -> Array:
        """<w, theta> / sqrt(d)."""
        along, across = self._parts(n, sigma)
        return np.asarray(along / np.hypot(along, np.sqrt(across)))

    def length(self, *, n: float, sigma: float) -> Array:
        """|mean(y_i x_i)|_2 / sqrt(d)."""
        along, across = self._parts(n, sigma)
        return np.asarray(np.hypot(along, np.sqrt(across)))

    def inner(self, *, n: float, sigma: float) -> Array:
        """<mean(y_i x_i), theta> / d."""
        return self._parts(n, sigma)[0]

    def _parts(self, n: float, sigma: float) -> tuple[Array, Array]:
        n, sigma = _sample(n, sigma)
        noise = sigma / math.sqrt(n)
        return 1 + noise * self.normal / math.sqrt(self.d), noise**2 * self.chi2 / self.d

    def error(self, *, n: float, sigma: float, eps: float) -> Array:
        """Robust error with |w|_1 replaced by its largest value sqrt(d): an upper bound of it.

        For eps = 0 it is the standard error itself.
        """
        return robust_error(self.cosine(n=n, sigma=sigma), 1.0, d=self.d, sigma=sigma, eps=eps)


@dataclass(frozen=True)
class PriorLaw:
    """Draws of the averaging learner for theta ~ N(0, I), the prior of the lower bound.

    `normal` is theta's part along w that the sample leaves open, `chi2` the squared length of the
    standardised mean (d degrees of freedom), `share` its |.|_1 / (sqrt(d) |.|_2).
    """

    d: float
    normal: Array
    chi2: Array
    share: Array

    def cosine(self, *, n: float, sigma: float) -> Array:
        """<w, theta> / sqrt(d): posterior mean along w, plus posterior noise."""
        n, sigma = _sample(n, sigma)
        known = math.sqrt(n / (sigma**2 + n))
        unknown = math.sqrt(sigma**2 / (sigma**2 + n) / self.d)
        return np.asarray(known * np.sqrt(self.chi2 / self.d) + unknown * self.normal)

    def error(self, *, n: float, sigma: float, eps: float) -> Array:
        """Robust error of the learner given theta and the training set."""
        cosine = self.cosine(n=n, sigma=sigma)
        return robust_error(cosine, self.share, d=self.d, sigma=sigma, eps=eps)


def fixed_law(rng: np.random.Generator, *, d: float, draws: int) -> FixedLaw:
    """`draws` independent training sets for a fixed theta, two numbers each."""
    d, draws = finite("d", d, least=1, hint=_LEAST), whole("draws", draws, hint=_LEAST)
    check_rng(rng)
    normal = rng.standard_normal(draws)
    return FixedLaw(d, normal, rng.chisquare(d - 1, draws) if d > 1 else np.zeros(draws))


def prior_law(rng: np.random.Generator, *, d: float, draws: int) -> PriorLaw:
    """`draws` pairs of a theta ~ N(0, I) and a training set, three numbers each.

    |g|_1 and |g|_2^2 of a standard normal g in R^d are sums of d terms and are drawn from the
    bivariate normal law with their exact means and covariances; all else is exact.
    """
    d, draws = finite("d", d, least=1, hint=_LEAST), whole("draws", draws, hint=_LEAST)
    check_rng(rng)
    root = math.sqrt(d)
    # Var|g| = 1 - 2/pi, Var g^2 = 2, Cov(|g|, g^2) = E|g|^3 - E|g| = E|g|
    covariance = np.array([[1 - _MEAN_ABS**2, _MEAN_ABS], [_MEAN_ABS, 2.0]])
    first, second = (rng.standard_normal((draws, 2)) @ np.linalg.cholesky(covariance).T).T
    squares = np.maximum(d + root * second, 1e-12)
    share = np.clip((_MEAN_ABS + first / root) / np.sqrt(squares / d), 1 / root, 1.0)
    return PriorLaw(d, rng.standard_normal(draws), squares, share)


def simulate_averaging(
    rng: np.random.Generator, theta: Array, *, n: int, sigma: float, draws: int
) -> tuple[Array, Array]:
    """(cosine, share) of `draws` training sets in full dimension: the oracle of the scalar laws.

    theta: (d,) or (draws, d). All n samples are drawn, labels included.
    """
    n, draws, sigma = whole("n", n), whole("draws", draws), finite("sigma", sigma, above=0)
    check_rng(rng)
    theta = np.broadcast_to(theta, (draws, np.shape(theta)[-1]))
    total = np.zeros(theta.shape)
    for _ in range(n):
        y = rng.choice([-1.0, 1.0], size=(draws, 1))
        total += y * (y * theta + sigma * rng.standard_normal(theta.shape))
    w, root = total / np.linalg.norm(total, axis=1, keepdims=True), math.sqrt(theta.shape[1])
    return (w * theta).sum(axis=1) / root, np.abs(w).sum(axis=1) / root


def cosine_bound(n: ArrayLike, sigma: ArrayLike) -> Array:
    """(2 sqrt n - 1) / (2 sqrt n + 4 sigma): Lemma 16's lower bound of the cosine."""
    root = np.sqrt(np.asarray(n, dtype=float))
    return np.asarray((2 * root - 1) / (2 * root + 4 * np.asarray(sigma, dtype=float)))


def cosine_miss(d: ArrayLike, sigma: ArrayLike) -> Array:
    """2 exp(-d / (8 (sigma^2 + 1))): the chance that Lemma 16's bound fails, at most."""
    variance = np.asarray(sigma, dtype=float) ** 2
    return np.asarray(2 * np.exp(-np.asarray(d, dtype=float) / (8 * (variance + 1))))


def admissible_eps(*, d: ArrayLike, n: ArrayLike, sigma: ArrayLike, beta: float) -> Array:
    """The radii for which Theorem 21 promises a robust error of at most beta."""
    loss = np.asarray(sigma, dtype=float) * math.sqrt(2 * math.log(1 / beta))
    return np.asarray(cosine_bound(n, sigma) - loss / np.sqrt(np.asarray(d, dtype=float)))


def minimax_bound(*, d: float, n: ArrayLike, sigma: float, eps: float) -> Array:
    """Theorem 11: no learner has a smaller expected robust error, theta ~ N(0, I).

    (1/2) Pr[sqrt(n / (sigma^2 + n)) |v|_inf <= eps] = (1/2) (2 Phi(t) - 1)^d.
    """
    d, eps = finite("d", d, least=1), finite("eps", eps, least=0)
    sigma = finite("sigma", sigma, above=0)
    t = eps * np.sqrt(1 + sigma**2 / np.asarray(n, dtype=float))
    return np.asarray(0.5 * np.exp(d * np.log1p(-2 * normal_tail(t))))


def samples_lower_bound(*, d: float, sigma: float, eps: float, level: float) -> float:
    """The n at which Theorem 11's bound falls to `level`: fewer samples err more, in any learner.

    Infinite if the bound never falls so low.
    """
    d, sigma = finite("d", d, least=1), finite("sigma", sigma, above=0)
    eps, level = finite("eps", eps, least=0), finite("level", level)
    if not 0 < level < 0.5:
        raise ValueError(f"level must lie in (0, 1/2), the values of the bound; got {level}")
    tail = -math.expm1(math.log(2 * level) / d) / 2
    t = float(st.norm.isf(tail))
    return math.inf if t <= eps else eps**2 * sigma**2 / (t**2 - eps**2)


def corollary_samples(*, d: float, sigma: float, eps: float) -> float:
    """eps^2 sigma^2 / (8 log d): Corollary 23, up to which every learner errs half of the time."""
    d, sigma = finite("d", d, above=1), finite("sigma", sigma, above=0)
    return finite("eps", eps, least=0) ** 2 * sigma**2 / (8 * math.log(d))


def samples_needed(
    error: Callable[[float], float], level: float, *, low: float = 1e-3, high: float = 1e15
) -> float:
    """The n at which a decreasing error(n) falls to `level`, by bisection of log n.

    Infinite if error(high) is above it.
    """
    if error(high) > level:
        return math.inf
    for _ in range(60):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if error(middle) > level else (low, middle)
        if high / low < 1 + 1e-9:
            break
    return high


def limit_samples(*, d: ArrayLike, c: float, eps: float, beta: float) -> Array:
    """n at which averaging errs with probability beta, up to concentration; sigma = c d^(1/4).

    The cosine is taken as 1 / sqrt(1 + sigma^2 / n) and |w|_1 as sqrt(d); eps = 0 is the standard
    error. Infinite where eps + z c d^(-1/4) >= 1.
    """
    size, c = np.asarray(d, dtype=float), finite("c", c, above=0)
    eps = finite("eps", eps, least=0)
    need = eps + float(st.norm.isf(beta)) * c * size**-0.25
    with np.errstate(divide="ignore"):
        n = c**2 * np.sqrt(size) / (need**-2.0 - 1)
    return np.asarray(np.where(need < 1, n, np.inf))


def loglog_slope(x: ArrayLike, y: ArrayLike) -> Array:
    """Least-squares slope of log y on log x, along the last axis of y."""
    log_x, log_y = np.log(np.asarray(x, dtype=float)), np.log(np.asarray(y, dtype=float))
    centred = log_x - log_x.mean()
    return np.asarray((log_y * centred).sum(axis=-1) / (centred * centred).sum())


def _sample(n: float, sigma: float) -> tuple[float, float]:
    return finite("n", n, above=0), finite("sigma", sigma, above=0)
