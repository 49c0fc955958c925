"""Learning-rate schedules: the factor of the base rate at a time measured in epochs.

A schedule is called before every step with the time t = finished epochs, fractions included.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

from robustnb.scalars import finite, real, whole

Schedule = Callable[[float], float]


def constant(time: float) -> float:
    """The base rate throughout."""
    return 1.0


def milestones(*at: int, gamma: float = 0.1) -> Schedule:
    """Multiply the rate by `gamma` from each epoch in `at` on, counting epochs from 1.

    >>> drop = milestones(3)
    >>> [drop(time) for time in (0.0, 1.9, 2.0)]
    [1.0, 1.0, 0.1]
    """
    at, gamma = tuple(whole("milestones", epoch) for epoch in at), finite("gamma", gamma, above=0.0)
    if not at:
        raise ValueError("milestones wants at least one epoch; use constant for none")
    return partial(_milestones, at=at, gamma=gamma)


def _milestones(time: float, *, at: tuple[int, ...], gamma: float) -> float:
    # the tolerance keeps a step that opens an epoch in that epoch despite rounding
    return gamma ** sum(time >= epoch - 1 - 1e-9 for epoch in at)


def cosine(*, epochs: int) -> Schedule:
    """Half a cosine from the base rate to 0 at the end of the last epoch."""
    epochs = whole("epochs", epochs)
    return partial(_cosine, epochs=epochs)


def _cosine(time: float, *, epochs: int) -> float:
    return (1 + math.cos(math.pi * min(time / epochs, 1.0))) / 2


def triangular(*, epochs: int, peak: float = 0.3) -> Schedule:
    """Linear from 0 to the base rate at the fraction `peak` of the training, then linear to 0."""
    epochs, peak = whole("epochs", epochs), real("peak", peak)
    if not 0 < peak < 1:
        raise ValueError(f"peak must be a fraction of the training in (0, 1), got {peak}")
    return partial(_triangle, epochs=epochs, peak=peak)


def _triangle(time: float, *, epochs: int, peak: float) -> float:
    done = min(time / epochs, 1.0)
    # the first step would otherwise be lost to a rate of exactly 0
    return max(done / peak, 0.01) if done < peak else (1 - done) / (1 - peak)
