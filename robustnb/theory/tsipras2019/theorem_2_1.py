"""Theorem 2.1 of Tsipras et al. 2019: what four probabilities allow, as an exact linear program.

A table holds p_ij = Pr[f = +1 | x_1 = i, weak features as for the label j] in the order ++, +-,
-+, --. All functions take fractions, floats or symbols and compute with what they get.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

Table = Sequence[Any]


def standard_accuracy(p: Any, table: Table) -> Any:
    """Pr[f(x) = y] from the four probabilities (step 4 of the proof)."""
    pp, pm, mp, mm = table
    return (p * (1 + pp - mm) + (1 - p) * (1 + mp - pm)) / 2


def shifted_accuracy(p: Any, table: Table) -> Any:
    """Pr[f = y] after the weak features moved to the law of the other label (step 5)."""
    pp, pm, mp, mm = table
    return (p * (1 + pm - mp) + (1 - p) * (1 + mm - pp)) / 2


def accuracy_bound(p: Any, delta: Any) -> Any:
    """p / (1 - p) delta: what standard accuracy 1 - delta leaves of robust accuracy."""
    return p / (1 - p) * delta


def largest_shifted_accuracy(p: Fraction, delta: Fraction) -> Fraction:
    """The largest `shifted_accuracy` of a table with standard accuracy at least 1 - delta, exact.

    A linear function on a polytope is largest at a vertex; all vertices are tried. 1/2 <= p < 1
    and 0 <= delta <= 1 as fractions; ValueError otherwise.
    """
    if not (Fraction(1, 2) <= p < 1 and 0 <= delta <= 1):
        raise ValueError(f"p must lie in [1/2, 1) and delta in [0, 1], got {p} and {delta}")
    found: Fraction = max(shifted_accuracy(p, table) for table in _vertices(p, 1 - delta))
    return found


def _vertices(p: Fraction, least: Fraction) -> Iterator[tuple[Fraction, ...]]:
    """The vertices of the cube cut by standard accuracy >= least, which (1, 1, 0, 0) attains."""
    for corner in itertools.product((Fraction(0), Fraction(1)), repeat=4):
        here = standard_accuracy(p, corner)
        if here >= least:
            yield corner
        for axis in range(4):
            other = tuple(1 - value if k == axis else value for k, value in enumerate(corner))
            there = standard_accuracy(p, other)
            if (here - least) * (there - least) < 0:
                share = (least - here) / (there - here)
                yield tuple(a + share * (b - a) for a, b in zip(corner, other, strict=True))
