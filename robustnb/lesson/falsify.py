"""Adversarial search for a counterexample: random points, then descent from the best of them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

_COARSE, _FINE = 1e-3, 1e-10  # the step at which a descent stops, in unit coordinates
_NOISE = 1e-12  # a gain smaller than this is rounding, and another processor may not see it
_TIE = 1e-9  # two minima nearer than this are one; the first found is printed

Objective = Callable[[np.ndarray], float | None]


@dataclass
class Search:
    """The state of one search on [0, 1]^size: budget spent, least value, and where it was seen.

    `objective` returns None at a point outside the constraint; such points cost no budget. The
    search ends early once the least value is below `stop_below`.
    """

    objective: Objective
    size: int
    budget: int
    rng: np.random.Generator
    stop_below: float = -math.inf
    spent: int = 0
    least: float = math.inf
    where: np.ndarray | None = None
    _shown: float = field(default=math.inf, repr=False)

    @property
    def over(self) -> bool:
        """Whether the budget is spent, or the value wanted has been found."""
        return self.spent >= self.budget or self.least < self.stop_below

    def value(self, unit: np.ndarray) -> float | None:
        """Evaluate one point and remember it if it is the least so far."""
        result = self.objective(unit)
        if result is None:
            return None
        self.spent += 1
        self.least = min(self.least, result)
        if self.where is None or result < self._shown - _TIE * max(1.0, min(abs(result), 1e9)):
            self._shown, self.where = result, unit.copy()
        return result


def minimise(
    objective: Objective,
    size: int,
    *,
    n: int,
    rng: np.random.Generator,
    stop_below: float = -math.inf,
) -> Search:
    """Search [0, 1]^size for a small value with n evaluations: half at random, half in descents.

    Deterministic for a given generator. Raises ValueError if no point satisfies the constraint.
    """
    search = Search(objective, size, n, rng, stop_below)
    seen = _scatter(search, max(1, n // 2))
    if not seen:
        raise ValueError("no point of the domain satisfies `where`; widen the domain")
    ends: list[tuple[float, np.ndarray]] = []
    coarse = search.spent + (n - search.spent) // 2
    starts = _spread(seen)
    for value, unit in starts:
        if search.over or search.spent >= coarse:
            break
        ends.append(_descend(search, unit, value, first=0.1, last=_COARSE))
    for value, unit in sorted(ends, key=lambda end: end[0]):
        if search.over:
            break
        _descend(search, unit, value, first=_COARSE, last=_FINE)
    for value, unit in starts[len(ends) :]:  # what is left of the budget
        if search.over:
            break
        _descend(search, unit, value, first=0.05, last=_FINE)
    return search


def _scatter(search: Search, count: int) -> list[tuple[float, np.ndarray]]:
    """Corners first, then uniform points, every fourth of them pushed on to a face."""
    seen: list[tuple[float, np.ndarray]] = []
    corners = itertools.product((0.0, 1.0), repeat=search.size)
    for corner in itertools.islice(corners, max(2, count // 8)):
        unit = np.array(corner)
        value = search.value(unit)
        if value is not None:
            seen.append((value, unit))
    for attempt in range(100 * count):
        if search.over or len(seen) >= count:
            break
        unit = search.rng.random(search.size)
        if attempt % 4 == 3:
            face = search.rng.random(search.size) < 0.3
            unit[face] = np.round(unit[face])
        value = search.value(unit)
        if value is not None:
            seen.append((value, unit))
    return seen


def _spread(seen: list[tuple[float, np.ndarray]]) -> list[tuple[float, np.ndarray]]:
    """Starts in order of value, those far from every better one first."""
    ordered = sorted(seen, key=lambda pair: pair[0])
    far: list[tuple[float, np.ndarray]] = []
    near: list[tuple[float, np.ndarray]] = []
    for value, unit in ordered:
        apart = len(far) < 32 and all(np.abs(unit - other).max() > 0.1 for _, other in far)
        (far if apart else near).append((value, unit))
    return far + near


def _descend(
    search: Search, unit: np.ndarray, value: float, *, first: float, last: float
) -> tuple[float, np.ndarray]:
    """Compass search along the axes and as many random directions, the step shrinking to `last`."""
    step = first
    while step >= last and not search.over:
        axes = np.eye(search.size)
        other = search.rng.standard_normal((search.size if search.size > 1 else 0, search.size))
        other /= np.maximum(np.linalg.norm(other, axis=1, keepdims=True), 1e-300)
        moved = False
        for direction in np.concatenate((axes, -axes, other, -other)):
            if search.over:
                break
            trial = np.clip(unit + step * direction, 0.0, 1.0)
            found = search.value(trial)
            while found is not None and found < value - _NOISE * max(1.0, min(abs(value), 1e9)):
                unit, value, moved = trial, found, True
                if search.over:
                    break
                trial = np.clip(unit + step * direction, 0.0, 1.0)
                found = search.value(trial)
        step = step if moved else step / 3
    return value, unit
