"""From per-example outcomes to one number per seed, and its bootstrap over seeds and examples.

Every estimand is a function of arm means, so that one resampling of examples serves all arms of
all seeds at once. `robustnb.reproduce.estimand_forms` lists them.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustnb.reproduce.estimand_forms import arms_of
from robustnb.stats import DRAWS, mean_over_seeds, resampled_means

Floats = NDArray[np.float64]
REACH = 0.01  # natural accuracy a point may lie off the curve's ends and still be comparable


@dataclass(frozen=True)
class Arm:
    """Outcomes of one arm in one run: values (N,) per example, or only a count of successes."""

    n: int
    mean: float
    values: Floats | None = None

    @property
    def binary(self) -> bool:
        """Whether every outcome is 0 or 1."""
        return self.values is None or bool(np.isin(self.values, (0.0, 1.0)).all())


def statistic(estimand: Mapping[str, Any]) -> Callable[[Floats], Floats]:
    """The estimand as a function of arm means (..., arms), arms ordered as in `arms_of`."""
    names = arms_of(estimand)
    name, body = next(iter(estimand.items()))

    def column(means: Floats, arms: Sequence[str]) -> Floats:
        picked: Floats = means[..., [names.index(arm) for arm in arms]]
        return picked

    if name == "mean":
        return lambda means: column(means, [body])[..., 0]
    if name == "difference":
        return lambda means: -np.diff(column(means, body), axis=-1)[..., 0]
    if name == "max_step":
        return lambda means: np.diff(column(means, body), axis=-1).max(axis=-1)
    if name == "spearman":
        return lambda means: spearman(column(means, body["arms"]), body["against"])
    nat, rob = zip(*body["curve"], strict=True)
    return lambda means: (
        interpolate(
            column(means, nat), column(means, rob), column(means, body["point"][:1])[..., 0]
        )
        - column(means, body["point"][1:])[..., 0]
    )


def spearman(values: Floats, against: Sequence[float]) -> Floats:
    """Rank correlation along the last axis, ties at their average rank; 0 if all values tie."""
    x = _ranks(np.asarray(values, dtype=np.float64))
    y = _ranks(np.asarray(against, dtype=np.float64))
    x, y = x - x.mean(axis=-1, keepdims=True), y - y.mean()
    scale = np.sqrt((x * x).sum(axis=-1) * (y * y).sum())
    found: Floats = np.divide(
        (x * y).sum(axis=-1), scale, out=np.zeros_like(scale), where=scale > 0
    )
    return found


def _ranks(x: Floats) -> Floats:
    below = (x[..., None, :] < x[..., :, None]).sum(axis=-1)
    equal = (x[..., None, :] == x[..., :, None]).sum(axis=-1)
    ranks: Floats = below + (equal + 1) / 2
    return ranks


def interpolate(x: Floats, y: Floats, at: Floats) -> Floats:
    """The piecewise-linear curve through (x, y), sorted by x, at `at`; constant beyond its ends."""
    order = np.argsort(x, axis=-1, kind="stable")
    x, y = np.take_along_axis(x, order, -1), np.take_along_axis(y, order, -1)
    right = np.clip((x < at[..., None]).sum(axis=-1), 1, x.shape[-1] - 1)[..., None]

    def pick(values: Floats, index: NDArray[np.int64]) -> Floats:
        taken: Floats = np.take_along_axis(values, index, -1)[..., 0]
        return taken

    x0, x1 = pick(x, right - 1), pick(x, right)
    gap = x1 - x0
    weight = np.divide(at - x0, gap, out=np.full_like(gap, 0.5), where=gap > 0).clip(0, 1)
    line: Floats = (1 - weight) * pick(y, right - 1) + weight * pick(y, right)
    return line


def beyond(estimand: Mapping[str, Any], means: Floats) -> float:
    """How far a frontier's point lies off the curve's range of natural accuracies (else <= 0).

    There the clamped curve answers for another natural accuracy than the point's.
    """
    if "frontier" not in estimand:
        return -np.inf
    names, body = arms_of(estimand), estimand["frontier"]
    mean = dict(zip(names, means.mean(axis=0), strict=True))
    curve = [mean[natural] for natural, _ in body["curve"]]
    point = mean[body["point"][0]]
    return float(max(point - max(curve), min(curve) - point))


def per_seed(estimand: Mapping[str, Any], runs: Sequence[Mapping[str, Arm]]) -> Floats:
    """The estimand of each run: (seeds,)."""
    return statistic(estimand)(arm_means(estimand, runs))


def arm_means(estimand: Mapping[str, Any], runs: Sequence[Mapping[str, Arm]]) -> Floats:
    """Means of the estimand's arms: (seeds, arms)."""
    return np.array([[run[name].mean for name in arms_of(estimand)] for run in runs])


def bootstrap(
    estimand: Mapping[str, Any],
    runs: Sequence[Mapping[str, Arm]],
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> Floats:
    """Bootstrap draws of the estimand averaged over seeds: (draws,).

    Examples are resampled as in `bootstrap_means`, then seeds with replacement.
    """
    names = arms_of(estimand)
    means = bootstrap_means(names, runs, draws=draws, seed=seed)
    generator = np.random.default_rng([seed, len(runs)])
    return mean_over_seeds(statistic(estimand)(means), generator=generator)


def bootstrap_means(
    names: Sequence[str],
    runs: Sequence[Mapping[str, Arm]],
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> Floats:
    """Arm means on resampled examples: (draws, seeds, arms).

    Arms with the same n are taken to be the same examples in the same order, in every arm and
    seed, and are resampled together; a count has no examples and is redrawn as a binomial. The
    stream is fixed by the arms' names and `seed`.
    """
    generator = np.random.default_rng([seed, zlib.crc32(repr(sorted(names)).encode())])
    means = np.empty((draws, len(runs), len(names)))
    groups: dict[int, list[tuple[int, int]]] = {}
    for s, run in enumerate(runs):
        for a, name in enumerate(names):
            arm = run[name]
            if arm.values is None:
                means[:, s, a] = generator.binomial(arm.n, arm.mean, size=draws) / arm.n
            else:
                groups.setdefault(arm.n, []).append((s, a))
    for cells in groups.values():
        columns = [runs[s][names[a]].values for s, a in cells]
        rows = np.stack([c for c in columns if c is not None], axis=1)
        drawn = resampled_means(rows, draws=draws, generator=generator)
        for k, (s, a) in enumerate(cells):
            means[:, s, a] = drawn[:, k]
    return means
