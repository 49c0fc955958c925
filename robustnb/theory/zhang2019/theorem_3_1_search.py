"""A search for violations of Theorem 3.1: random instances, then descent on the slack."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from robustnb.theory.zhang2019.calibration import Array, Loss
from robustnb.theory.zhang2019.theorem_3_1 import Instances, random_instance, upper_bound

Line = Literal["first", "second"]
SIZES = (2, 3, 4, 5, 6, 8, 10, 12)


def mixed_sizes(
    rng: np.random.Generator, *, instances: int, zeros: float = 0.0, sizes: Sequence[int] = SIZES
) -> list[Instances]:
    """Batches of random instances, as many of each size in `sizes`, dimension one to three."""
    if instances < 1:
        raise ValueError(f"instances must be positive, got {instances}.")
    counts = [len(part) for part in np.array_split(np.arange(instances), len(sizes))]
    return [
        random_instance(rng, points=points, count=count, dimension=1 + k % 3, zeros=zeros)
        for k, (points, count) in enumerate(zip(sizes, counts, strict=True))
        if count
    ]


def theorem_slacks(batches: Sequence[Instances], loss: Loss, *, line: Line) -> Array:
    """Right side minus left side of one line of Theorem 3.1, one value per instance."""
    return np.concatenate([_slack(batch, loss, line) for batch in batches])


def theorem_cases(batches: Sequence[Instances], losses: Iterable[Loss]) -> list[dict[str, Any]]:
    """One row per loss and instance: loss, points, left, inverse, first and second."""
    rows = []
    for loss in losses:
        for batch in batches:
            bound, points = upper_bound(batch, loss), batch.eta.shape[1]
            sides = (bound.left, bound.inverse, bound.first, bound.second)
            for left, inverse, first, second in zip(*(a.tolist() for a in sides), strict=True):
                row = {"loss": loss.name, "points": points, "left": left}
                rows.append({**row, "inverse": inverse, "first": first, "second": second})
    return rows


def _slack(instance: Instances, loss: Loss, line: Line) -> Array:
    bound = upper_bound(instance, loss)
    return np.asarray((bound.first if line == "first" else bound.second) - bound.left)


def _propose(rng: np.random.Generator, now: Instances, scale: float) -> Instances:
    """A neighbour of every instance: eta, mass, scores and lambda all move by about `scale`."""
    shape = now.eta.shape
    mass = (now.mass + 1e-6) * np.exp(scale * rng.normal(size=shape))
    moved = now.eta + scale * rng.normal(size=shape) * (rng.random(shape) < 0.5)
    scores = now.scores * np.exp(3 * scale * rng.normal(size=shape))
    flip = np.where(rng.random(shape) < scale / 10, -1.0, 1.0)
    return replace(
        now,
        mass=mass / mass.sum(axis=1, keepdims=True),
        eta=np.clip(moved, 0, 1),
        scores=flip * np.sign(scores) * np.clip(np.abs(scores), 1e-6, 1e3),
        lam=np.clip(now.lam * np.exp(6 * scale * rng.normal(size=len(now.lam))), 1e-14, 1e6),
    )


def minimise_slack(
    rng: np.random.Generator, start: Instances, loss: Loss, *, line: Line, rounds: int
) -> tuple[Instances, Array]:
    """Descend on the slack of one line from every instance at once; balls stay as they are.

    Returns the instances reached and their slacks (B,), never above those of `start`. A negative
    slack would refute the theorem.
    """
    best, slack = start, _slack(start, loss, line)
    for scale in np.geomspace(1.0, 0.01, rounds):
        trial = _propose(rng, best, float(scale))
        reached = _slack(trial, loss, line)
        better = reached < slack
        slack = np.where(better, reached, slack)
        best = _select(better, trial, best)
    return best, slack


def _select(take: np.ndarray, new: Instances, old: Instances) -> Instances:
    """New where `take`, old elsewhere."""
    wide = take[:, None]
    return replace(
        old,
        mass=np.where(wide, new.mass, old.mass),
        eta=np.where(wide, new.eta, old.eta),
        scores=np.where(wide, new.scores, old.scores),
        lam=np.where(take, new.lam, old.lam),
    )
