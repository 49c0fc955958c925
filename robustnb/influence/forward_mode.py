"""torch.func's `jvp`, without the warning that its first use in a process prints.

Forward mode loads decompositions that torch still writes with torch.jit.script, which warns.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor
from torch.autograd import forward_ad


@cache
def _load() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        with forward_ad.dual_level():
            forward_ad.make_dual(torch.zeros(1), torch.zeros(1))  # type: ignore[no-untyped-call]


def jvp(function: Callable[[Tensor], Tensor], at: Tensor, along: Tensor) -> tuple[Tensor, Tensor]:
    """The value of a function of one tensor, and its derivative along a direction."""
    _load()
    value, slope = torch.func.jvp(function, (at,), (along,))[:2]
    return value, slope
