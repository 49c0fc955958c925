"""The mean of the stochastic recursion of section 3, in the convention of the published code."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from robustnb.scalars import finite, whole

Floats = NDArray[np.float64]


def lissa_mean(
    hessian: Floats, v: Floats, *, scale: float, damping: float = 0.0, steps: int
) -> Floats:
    """x / scale after `steps` of x <- v + (1 - damping) x - H x / scale from x = v, (p,).

    The published code draws single examples for H; this is the expectation of its estimate.
    """
    scale, damping = finite("scale", scale, above=0), finite("damping", damping, least=0)
    x, steps = v, whole("steps", steps)
    for _ in range(steps):
        x = v + (1 - damping) * x - hessian @ x / scale
    return x / scale
