"""The strip example, in which accuracy and robustness conflict (Zhang et al. 2019, Section 2.3).

X is uniform on [0, 1], the strip [j eps, (j + 1) eps) has label -1 for even j and +1 for odd j, and
balls are closed. Everything is exact: Fractions, or integer counts of cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from robustnb.theory.zhang2019.theorem_3_1_exact import ExactInstance, line_balls

Rules = NDArray[np.int8]


@dataclass(frozen=True)
class StripRisks:
    """R_nat, R_bdy and R_rob of one rule, exactly."""

    nat: Fraction
    bdy: Fraction
    rob: Fraction


def strips(eps: Fraction, *, cells: int = 1) -> list[tuple[Fraction, Fraction, int]]:
    """(left, right, label) of the cells of [0, 1], `cells` a strip; the last may be cut short."""
    if not 0 < eps <= 1 or cells < 1:
        raise ValueError(f"need 0 < eps <= 1 and cells >= 1, got {eps} and {cells}.")
    width, last = Fraction(eps) / cells, Fraction(1)
    count = -(-last // width)
    edges = [min(i * width, last) for i in range(int(count) + 1)]
    return [(a, b, 1 if (i // cells) % 2 else -1) for i, (a, b) in enumerate(pairwise(edges))]


def strip_risks(eps: Fraction, rule: Sequence[int], *, cells: int = 1) -> StripRisks:
    """The risks of a rule that is constant on cells; rule[i] in {-1, 0, 1} is its sign on cell i.

    The closed ball of a point of cell i meets exactly the cells i - cells, ..., i + cells.
    """
    parts = strips(eps, cells=cells)
    if len(rule) != len(parts):
        raise ValueError(f"rule has {len(rule)} values for {len(parts)} cells; give one a cell.")
    total = {"nat": Fraction(0), "bdy": Fraction(0), "rob": Fraction(0)}
    for i, (left, right, label) in enumerate(parts):
        ball = rule[max(i - cells, 0) : i + cells + 1]
        wrong = rule[i] * label <= 0
        total["nat"] += (right - left) * wrong
        total["bdy"] += (right - left) * (not wrong and any(rule[i] * v <= 0 for v in ball))
        total["rob"] += (right - left) * any(v * label <= 0 for v in ball)
    return StripRisks(**total)


def bayes_cells(eps: Fraction, *, cells: int = 1) -> list[int]:
    """The Bayes rule sign(2 eta - 1) on the cells."""
    return [label for _, _, label in strips(eps, cells=cells)]


def strip_table(eps: Fraction) -> dict[str, StripRisks]:
    """Table 1 of the paper, for any eps: the Bayes rule, all +1, and all -1."""
    bayes = bayes_cells(eps)
    rules = {"Bayes rule": bayes, "all +1": [1] * len(bayes), "all -1": [-1] * len(bayes)}
    return {name: strip_risks(eps, rule) for name, rule in rules.items()}


def positive_mass(eps: Fraction) -> Fraction:
    """The probability of the strips with label +1: the smallest robust risk of any rule."""
    return sum((b - a for a, b, label in strips(eps) if label == 1), Fraction(0))


def all_rules(cells: int, *, values: Sequence[int] = (-1, 1)) -> Rules:
    """Every sign pattern on `cells` cells, one a row: (len(values) ** cells, cells)."""
    if len(values) ** cells > 2**20:
        raise ValueError(f"{len(values)}^{cells} rules are too many; take fewer cells.")
    grid = np.indices((len(values),) * cells).reshape(cells, -1).T
    return np.asarray(values, dtype=np.int8)[grid]


def _robustly_right(rules: Rules, *, cells: int) -> NDArray[np.bool_]:
    """(R, C): the whole ball of the cell has the cell's label; C is a multiple of `cells`."""
    count = rules.shape[1]
    labels = np.where((np.arange(count) // cells) % 2, 1, -1)
    right = np.ones(rules.shape, dtype=bool)
    for i in range(count):
        ball = rules[:, max(i - cells, 0) : i + cells + 1]
        right[:, i] = (ball * labels[i] > 0).all(axis=1)
    return right


def robust_error_counts(rules: Rules, *, cells: int) -> NDArray[np.int64]:
    """For each rule the number of cells, of equal probability, that are not robustly right."""
    wrong = ~_robustly_right(rules, cells=cells)
    return np.asarray(wrong.sum(axis=1), dtype=np.int64)


def pairing_holds(rules: Rules, *, cells: int) -> NDArray[np.bool_]:
    """For each rule: no cell of a -1 strip and its shift by eps are both robustly right."""
    right = _robustly_right(rules, cells=cells)
    strip = np.arange(rules.shape[1] - cells) // cells
    lower = np.flatnonzero(strip % 2 == 0)
    return np.asarray(~(right[:, lower] & right[:, lower + cells]).any(axis=1))


def grid_instance(points: int, *, closed: bool = True) -> ExactInstance:
    """The Bayes rule on the grid {0, eps, 2 eps, ...}: here closed and open balls differ."""
    places = [Fraction(j, points) for j in range(points)]
    return ExactInstance(
        mass=(Fraction(1, points),) * points,
        eta=tuple(Fraction(j % 2) for j in range(points)),
        scores=tuple(Fraction(1 if j % 2 else -1) for j in range(points)),
        ball=line_balls(places, eps=Fraction(1, points), closed=closed),
    )
