"""The step of `plane.onto_plane` in linf and l2, in the images' own precision: for inner loops.

The answer is the same to rounding. FAB takes two such steps an iteration and asks the model about
every image, so rounding costs it nothing, and float64 twice the time.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from robustnb.attacks.geometry import Clip

_ROUNDS = 64  # a bound; on images the search ends after two to five
_FAR = 1e30  # a time at which everything has moved, and that times 0 is 0


def quick_step(
    x: Tensor, weights: Tensor, gain: Tensor, *, norm: Literal["linf", "l2"], clip: Clip
) -> tuple[Tensor, Tensor]:
    """The smallest delta with <weights, delta> = gain and x + delta in `clip`, and its norm.

    x, weights: (N, ...); gain: (N,). Returns (N, ...) and (N,). Where the box holds no such point,
    the corner that comes nearest to the plane. Up to rounding in x's dtype.

    >>> x, weights = torch.tensor([[0.5, 0.9]]), torch.tensor([[1.0, 1.0]])
    >>> quick_step(x, weights, torch.tensor([0.4]), norm="linf", clip=(0.0, 1.0))
    (tensor([[0.3000, 0.1000]]), tensor([0.3000]))
    """
    size = weights.flatten(1).abs()
    scale = size.amax(1, keepdim=True).clamp_min(torch.finfo(size.dtype).tiny)
    size.div_(scale)  # its square must not underflow
    wanted = (gain[:, None].abs() / scale).to(x.dtype).clamp_max(_FAR)
    sign = weights.flatten(1).sign().mul_(torch.where(gain < 0, -1.0, 1.0).to(x.dtype)[:, None])
    if clip is None:
        moved = _unbounded(size, wanted, norm)
    else:
        # From the middle half a side towards the step's sign is the wall that stops it.
        room = sign * ((clip[1] - clip[0]) / 2)
        room.add_((clip[1] + clip[0]) / 2).sub_(x.flatten(1)).abs_()
        moved = _bounded(size, room, wanted, norm)
    moved.mul_(sign)
    length = moved.abs().amax(1) if norm == "linf" else torch.linalg.vector_norm(moved, dim=1)
    return moved.reshape(x.shape), length


def _unbounded(size: Tensor, wanted: Tensor, norm: Literal["linf", "l2"]) -> Tensor:
    speed, power = (torch.ones_like(size), size) if norm == "linf" else (size, size * size)
    return speed * _finite(wanted / power.sum(1, keepdim=True))


def _bounded(size: Tensor, room: Tensor, wanted: Tensor, norm: Literal["linf", "l2"]) -> Tensor:
    """min(t speed, room) with sum(size * that) = wanted; the speed is 1 in linf, `size` in l2.

    Newton's method on a concave function of t from below, as in `plane`. Products with a mask of
    zeros and ones, in buffers made once: masked operations and new memory are several times dearer.
    """
    power = size if norm == "linf" else size * size
    time = wanted / power.sum(1, keepdim=True)
    moved, moving = torch.empty_like(size), torch.empty_like(size)
    near = wanted * (8 * torch.finfo(size.dtype).eps)
    for _ in range(_ROUNDS):
        time = _finite(time)
        at = time if norm == "linf" else torch.mul(size, time, out=moved)
        torch.gt(room, at, out=moving)
        torch.minimum(room, at, out=moved)
        short = wanted - (moved * size).sum(1, keepdim=True)
        rate = moving.mul_(power).sum(1, keepdim=True)
        if not bool(((short > near) & (rate > 0)).any()):
            break
        time = time + short.clamp_min(0) / rate
    return moved


def _finite(time: Tensor) -> Tensor:
    """0 / 0 and 1 / 0 are far: weights of zero lead nowhere, whatever the time."""
    return time.nan_to_num(_FAR).clamp_max(_FAR)
