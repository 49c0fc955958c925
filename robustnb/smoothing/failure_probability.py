"""Exact failure probabilities of the smoothing procedures, by sums over binomial counts."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats as st

from robustnb.scalars import whole
from robustnb.smoothing.certificate import check_alpha, lower_bound, probability

Floats = NDArray[np.float64]


def miss_probability(p: ArrayLike, *, n: int, alpha: float) -> Floats:
    """Pr[lower_bound(Bin(n, p), n, alpha) > p], exactly: how often CERTIFY's bound is wrong.

    Guarantee to be checked: <= alpha for every p. Same shape as p.

    >>> float(miss_probability(0.99, n=1000, alpha=0.01).round(5))
    0.00268
    """
    n, rates = whole("n", n), probability("p", p)
    first_wrong = np.searchsorted(lower_bound(np.arange(n + 1), n, alpha), rates, side="right")
    return np.asarray(st.binom.sf(first_wrong - 1, n, rates), dtype=np.float64)


def sequential_miss_probability(p: float, *, looks: Sequence[int], alpha: float) -> float:
    """The probability that at least one look's bound, at alpha / len(looks), exceeds p.

    Nothing stops early here, which can only add misses: so this bounds every rule of stopping.
    The count's law over the looks is followed step by step, without simulation.
    """
    p, alpha = float(probability("p", p)), check_alpha(alpha)
    plan = [whole("a look", look) for look in looks]
    if not plan or any(a >= b for a, b in pairwise(plan)):
        raise ValueError(f"looks must be growing numbers of copies, got {looks}; try [100, 1000]")
    alive, before = np.ones(1), 0
    for look in plan:
        step = st.binom.pmf(np.arange(look - before + 1), look - before, p)
        alive = np.convolve(alive, step)
        low = lower_bound(np.arange(look + 1), look, alpha / len(plan))
        alive = np.where(low > p, 0.0, alive)
        before = look
    return float(max(0.0, 1.0 - alive.sum()))


def wrong_vote_probability(p: Sequence[float], *, n: int, alpha: float) -> float:
    """Pr[PREDICT returns a class other than the likeliest], for three classes, exactly.

    Guarantee to be checked: <= alpha for every p (Proposition 2 of Cohen et al. 2019).
    """
    n, alpha, law = whole("n", n), float(probability("alpha", alpha)), probability("p", p)
    if law.shape != (3,) or not np.isclose(law.sum(), 1):
        raise ValueError(
            f"p must hold the probabilities of three classes, which sum to 1, got {list(p)}"
        )
    first, second = np.divmod(np.arange((n + 1) ** 2), n + 1)
    kept = first + second <= n
    votes = np.stack([first, second, n - first - second], axis=1)[kept]
    mass = st.multinomial.pmf(votes, n, law)
    ordered = np.sort(votes, axis=1)
    sure = vote_p_value(ordered[:, 2], ordered[:, 1]) <= alpha
    wrong = votes.argmax(axis=1) != int(law.argmax())
    return float(mass[sure & wrong].sum())


def vote_p_value(most: ArrayLike, second: ArrayLike) -> Floats:
    """Two-sided binomial p-value of `most` in most + second votes against 1/2; most >= second."""
    a, b = np.asarray(most), np.asarray(second)
    return np.asarray(np.minimum(1.0, 2 * st.binom.sf(a - 1, a + b, 0.5)), dtype=np.float64)
