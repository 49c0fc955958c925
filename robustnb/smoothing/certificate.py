"""From counts to certificates: the Clopper-Pearson bound and the radius of Cohen et al. 2019."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy import special
from torch import Tensor

from robustnb.scalars import finite, real, whole

ABSTAIN = -1
Floats = NDArray[np.float64]


def lower_bound(hits: ArrayLike, n: ArrayLike, alpha: float) -> Floats:
    """One-sided Clopper-Pearson lower bound for a probability, from `hits` in n trials.

    BetaInv(alpha; hits, n - hits + 1), 0 for no hits and alpha^(1/n) for n hits; element by
    element. Guarantee: Pr[bound > p] <= alpha for every p. ValueError for what is no count.

    >>> round(float(lower_bound(9900, 10_000, 0.001)), 10)
    0.9865311593
    """
    alpha = check_alpha(alpha)
    k, trials = _counts(hits, n)
    with np.errstate(invalid="ignore", divide="ignore"):
        inside = special.betaincinv(np.maximum(k, 1), trials - k + 1, alpha)
        value = np.where(k == trials, alpha ** (1 / trials), inside)
    return np.asarray(np.where(k == 0, 0.0, value), dtype=np.float64)


def upper_bound(hits: ArrayLike, n: ArrayLike, alpha: float) -> Floats:
    """One-sided Clopper-Pearson upper bound: Pr[bound < p] <= alpha for every p."""
    k, trials = _counts(hits, n)
    return np.asarray(1 - lower_bound(trials - k, trials, alpha), dtype=np.float64)


def certified_radius(low: ArrayLike, high: ArrayLike | None = None, *, sigma: float) -> Floats:
    """The l2 radius sigma / 2 (Phi^-1(low) - Phi^-1(high)) of Theorem 1 of Cohen et al. 2019.

    low bounds the top class's probability from below, high every other class's from above;
    without `high` it is 1 - low, and the radius sigma Phi^-1(low). Never negative.

    >>> float(certified_radius(0.5, sigma=1.0))
    0.0
    """
    sigma = check_sigma(sigma)
    p_a = probability("low", low)
    p_b = 1 - p_a if high is None else probability("high", high)
    wide = special.ndtri(p_a) if high is None else (special.ndtri(p_a) - special.ndtri(p_b)) / 2
    return np.asarray(np.where(p_a > p_b, sigma * wide, 0.0), dtype=np.float64)


def largest_radius(*, n: int, alpha: float, sigma: float) -> float:
    """The radius if all n copies agree, sigma Phi^-1(alpha^(1/n)): no certificate goes beyond.

    >>> round(largest_radius(n=10_000, alpha=0.001, sigma=0.25), 4)
    0.7996
    """
    n = whole("n", n)
    return float(certified_radius(lower_bound(n, n, alpha), sigma=sigma))


def min_count(radius: float, *, n: int, alpha: float, sigma: float) -> int | None:
    """The fewest hits in n copies that certify `radius`; None if even n hits do not.

    >>> min_count(0.4347, n=10_000, alpha=0.001, sigma=0.25)
    9651
    """
    n, radius = whole("n", n), finite("radius", radius, least=0, hint=" in pixel units")
    radii = certified_radius(lower_bound(np.arange(n + 1), n, alpha), sigma=sigma)
    enough = np.flatnonzero((radii >= radius) & (radii > 0))  # a bound <= 1/2 is no certificate
    return int(enough[0]) if enough.size else None


@dataclass(frozen=True)
class Certificate:
    """What CERTIFY found for N images, on the CPU: counts, bounds, and what follows from them.

    top (N,): the class chosen by the first n0 copies. hits (N,) of samples (N,): how often the
    other copies gave it. lower (N,): a bound on its probability that holds with probability
    >= 1 - alpha, for each image by itself: among N images about alpha N may be wrong.
    """

    top: Tensor
    hits: Tensor
    samples: Tensor
    lower: Tensor
    sigma: float
    n0: int
    alpha: float

    def __len__(self) -> int:
        """The number of images."""
        return len(self.top)

    @property
    def abstained(self) -> Tensor:
        """Where the bound does not exceed 1/2, (N,) bool."""
        return self.lower <= 0.5

    @property
    def prediction(self) -> Tensor:
        """The class of each image, ABSTAIN (-1) where there is none: (N,) int64."""
        return torch.where(self.abstained, ABSTAIN, self.top)

    @property
    def radius(self) -> Tensor:
        """The l2 radius of each image in its own units, 0 where it abstains: (N,) float64."""
        return torch.from_numpy(certified_radius(self.lower.numpy(), sigma=self.sigma))


def _counts(hits: ArrayLike, n: ArrayLike) -> tuple[Floats, Floats]:
    k, trials = np.asarray(hits, dtype=np.float64), np.asarray(n, dtype=np.float64)
    if not bool(((k >= 0) & (k <= trials) & (trials >= 1)).all()):  # nor NaN
        raise ValueError(
            "need 0 <= hits <= n and n >= 1; pass the hits first, then the number of trials"
        )
    if not bool(((k == np.floor(k)) & (trials == np.floor(trials))).all()):
        raise ValueError("hits and n are counts, whole numbers; pass hits and not their share")
    return k, trials


def probability(what: str, value: ArrayLike) -> Floats:
    """Probabilities as float64; ValueError outside [0, 1]."""
    found = np.asarray(value, dtype=np.float64)
    if not bool(((found >= 0) & (found <= 1)).all()):
        raise ValueError(f"{what} must hold probabilities in [0, 1], got {found}")
    return found


def check_sigma(sigma: float) -> float:
    """The noise's standard deviation as a float; ValueError unless it is finite and above 0."""
    return finite("sigma", sigma, above=0.0, hint=" in pixel units; try 0.25")


def check_alpha(alpha: float) -> float:
    """A failure probability as a float; ValueError outside (0, 1)."""
    alpha = real("alpha", alpha)
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must lie in (0, 1), got {alpha}; 99.9 % sure is alpha=0.001")
    return alpha
