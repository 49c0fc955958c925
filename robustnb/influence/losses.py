"""Per-example losses (N,) of logits (N, classes) with y in 0..classes-1, or scores (N,) with +-1.

The cross-entropy is that of `robustnb.attacks.losses`. Every loss here has a second derivative that
forward mode can take.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from robustnb.scalars import finite

Loss = Callable[[Tensor, Tensor], Tensor]
_FAR = 40.0  # widths from the hinge's kink at which the smooth one is a straight line


def hinge(scores: Tensor, y: Tensor) -> Tensor:
    """max(0, 1 - y score); its second derivative is taken as 0 everywhere.

    >>> hinge(torch.tensor([0.5]), torch.tensor([1]))
    tensor([0.5000])
    """
    return torch.relu(1 - y * scores)


def smooth_hinge(t: float) -> Loss:
    """t log(1 + exp((1 - y score) / t)), at most t log 2 above the hinge; t = 0 is the hinge.

    >>> smooth_hinge(0.5)(torch.tensor([1.0]), torch.tensor([1]))
    tensor([0.3466])
    """
    t = finite("t", t, least=0)
    if t == 0:
        return hinge

    return partial(_smoothed, t=t)


def is_hinge(loss: Loss) -> bool:
    """Whether a loss is the hinge or a smooth one, which want scores and labels -1 and +1."""
    return loss is hinge or (isinstance(loss, partial) and loss.func is _smoothed)


def _smoothed(scores: Tensor, y: Tensor, *, t: float) -> Tensor:
    # beyond the threshold, e^-40, the hinge itself: exp would overflow in the derivatives
    return torch.nn.functional.softplus(1 - y * scores, beta=1 / t, threshold=_FAR)
