"""Koh & Liang 2017: logistic regression whose minimiser is known to rounding, for the proofs."""

from __future__ import annotations

from robustnb._lazy import lazy

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "LogisticProblem": "robustnb.theory.koh2017.logistic",
        "lissa_mean": "robustnb.theory.koh2017.recursion",
    },
)
