"""Pearson's correlation as a mean of outcomes, one for each point."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def standardised_products(a: ArrayLike, b: ArrayLike) -> NDArray[np.float64]:
    """Products (k,) of the standardised values of a (k,) and b (k,): their mean is Pearson's R.

    >>> standardised_products([1, 2, 3], [2, 4, 6]).mean().round(12)
    np.float64(1.0)
    """
    left, right = (np.asarray(side, dtype=np.float64) for side in (a, b))
    if left.shape != right.shape or left.ndim != 1 or len(left) < 2:
        raise ValueError(f"two series of one length are needed, got {left.shape}, {right.shape}")
    if np.ptp(left) == 0 or np.ptp(right) == 0:
        raise ValueError("a constant series has no correlation; take other points")
    found: NDArray[np.float64] = (
        (left - left.mean()) * (right - right.mean()) / (left.std() * right.std())
    )
    return found
