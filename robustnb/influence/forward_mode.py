"""torch.func's `jvp` without the warning of its first use in a process, and what it needs.

Forward mode loads decompositions that torch still writes with torch.jit.script, which warns. The
fused kernels of attention have no forward mode; the plain formula has.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn.attention import SDPBackend, sdpa_kernel


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


@contextmanager
def plain_attention() -> Iterator[None]:
    """Attention by its formula in the block, which can be differentiated in every mode."""
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
