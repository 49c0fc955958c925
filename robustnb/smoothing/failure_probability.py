"""Exact failure probabilities of the smoothing procedures, by sums over binomial counts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats as st

from robustnb.smoothing.certificate import lower_bound

Floats = NDArray[np.float64]


def miss_probability(p: ArrayLike, *, n: int, alpha: float) -> Floats:
    """Pr[lower_bound(Bin(n, p), n, alpha) > p], exactly: how often CERTIFY's bound is wrong.

    Guarantee to be checked: <= alpha for every p. Same shape as p.

    >>> float(miss_probability(0.99, n=1000, alpha=0.01).round(5))
    0.00268
    """
    rates = np.asarray(p, dtype=np.float64)
    first_wrong = np.searchsorted(lower_bound(np.arange(n + 1), n, alpha), rates, side="right")
    return np.asarray(st.binom.sf(first_wrong - 1, n, rates), dtype=np.float64)


def sequential_miss_probability(p: float, *, looks: Sequence[int], alpha: float) -> float:
    """The probability that at least one look's bound, at alpha / len(looks), exceeds p.

    Nothing stops early here, which can only add misses: so this bounds every rule of stopping.
    The count's law over the looks is followed step by step, without simulation.
    """
    alive, before = np.ones(1), 0
    for look in looks:
        step = st.binom.pmf(np.arange(look - before + 1), look - before, p)
        alive = np.convolve(alive, step)
        low = lower_bound(np.arange(look + 1), look, alpha / len(looks))
        alive = np.where(low > p, 0.0, alive)
        before = look
    return float(max(0.0, 1.0 - alive.sum()))


def wrong_vote_probability(p: Sequence[float], *, n: int, alpha: float) -> float:
    """Pr[PREDICT returns a class other than the likeliest], for three classes, exactly.

    Guarantee to be checked: <= alpha for every p (Proposition 2 of Cohen et al. 2019).
    """
    if len(p) != 3 or not np.isclose(sum(p), 1):
        raise ValueError(f"p must hold the probabilities of three classes, got {list(p)}")
    first, second = np.divmod(np.arange((n + 1) ** 2), n + 1)
    kept = first + second <= n
    votes = np.stack([first, second, n - first - second], axis=1)[kept]
    mass = st.multinomial.pmf(votes, n, np.asarray(p))
    ordered = np.sort(votes, axis=1)
    sure = vote_p_value(ordered[:, 2], ordered[:, 1]) <= alpha
    wrong = votes.argmax(axis=1) != int(np.argmax(p))
    return float(mass[sure & wrong].sum())


def vote_p_value(most: ArrayLike, second: ArrayLike) -> Floats:
    """Two-sided binomial p-value of `most` in most + second votes against 1/2; most >= second."""
    a, b = np.asarray(most), np.asarray(second)
    return np.asarray(np.minimum(1.0, 2 * st.binom.sf(a - 1, a + b, 0.5)), dtype=np.float64)
