"""Counts of examples with their exact binomial intervals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from robustnb.stats import Interval, clopper_pearson


@dataclass(frozen=True)
class Rate:
    """`count` of `n` examples, with the Clopper-Pearson interval of the share."""

    count: int
    n: int
    interval: Interval

    @property
    def share(self) -> float:
        """count / n; NaN when there is no example."""
        return self.count / self.n if self.n else float("nan")

    def to_json(self) -> dict[str, Any]:
        """Count, n and the interval."""
        return {"count": self.count, "n": self.n, "interval": self.interval.to_json()}


def rate(hits: Tensor, among: Tensor | None = None, *, level: float = 0.95) -> Rate:
    """The share of true entries of a bool tensor (N,), `among` those marked if given.

    >>> import torch
    >>> rate(torch.tensor([True, False, True])).count
    2
    """
    count = int((hits if among is None else hits & among).sum())
    n = len(hits) if among is None else int(among.sum())
    if n == 0:
        return Rate(0, 0, Interval(0.0, 1.0, level, "no examples"))
    return Rate(count, n, clopper_pearson(count, n, level=level))
