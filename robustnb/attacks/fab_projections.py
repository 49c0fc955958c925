"""The smallest step, in each norm, that carries an image onto a plane without leaving the box.

The optimum moves every coordinate towards the plane as far as the norm makes it worth: in linf all
at one speed, in l2 each at the speed of its weight, in l1 one after the other by weight; each
until the box stops it. The gain is piecewise linear in time, so the answer is exact.

`quick_step` gives the same to rounding, in linf and l2, in the images' own precision: FAB takes two
such steps an iteration and asks the model about every image, so rounding costs it nothing, and
float64 twice the time.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from robustnb.attacks.projections import Clip, Norm

_ROUNDS = 64  # a bound; on images the search ends after two to five
_FAR = 1e30  # a time at which everything has moved, and that times 0 is 0


def project_onto_hyperplane(
    x: Tensor, weights: Tensor, gain: Tensor, *, norm: Norm, clip: Clip
) -> Tensor:
    """The smallest delta with <weights, delta> = gain and x + delta in `clip`, shape of x.

    x, weights: (N, ...); gain: (N,). Computed in float64. Where the box holds no such point, the
    corner that comes nearest to the plane.

    >>> x, weights = torch.tensor([[0.5, 0.9]]), torch.tensor([[1.0, 1.0]])
    >>> project_onto_hyperplane(x, weights, torch.tensor([0.4]), norm="linf", clip=(0.0, 1.0))
    tensor([[0.3000, 0.1000]])
    """
    flat, slope = x.flatten(1).double(), weights.flatten(1).double()
    slope = torch.where(gain[:, None] < 0, -slope, slope)
    size, wanted = slope.abs(), gain.double().abs()[:, None]
    if clip is None:
        room = torch.full_like(size, torch.finfo(torch.float64).max ** 0.25)
    else:
        room = torch.where(slope > 0, clip[1] - flat, flat - clip[0]).clamp_min(0)
    room = torch.where(size > 0, room, 0)
    if norm == "l1":
        moved = _one_by_one(size, room, wanted)
    else:
        moved = _together(size, room, wanted, torch.ones_like(size) if norm == "linf" else size)
    return (slope.sign() * moved).to(x.dtype).reshape(x.shape)


def _together(size: Tensor, room: Tensor, wanted: Tensor, speed: Tensor) -> Tensor:
    """min(t speed, room) with the t at which sum(size * that) = wanted.

    Newton's method on a concave function from below: t only rises and coordinates only stop, so
    it ends, and exactly; mostly after a few rounds, where sorting would cost more.
    """
    power = size * speed  # gain per time of a coordinate that still moves
    stops = torch.where(speed > 0, room / torch.where(speed > 0, speed, 1), 0)
    spent, moving = power * stops, power > 0
    while True:
        gained = spent.masked_fill(moving, 0).sum(1, keepdim=True)
        rate = power.masked_fill(~moving, 0).sum(1, keepdim=True)
        time = torch.where(rate > 0, (wanted - gained).clamp_min(0) / rate, torch.inf)
        still = moving & (stops > time)
        if torch.equal(still, moving):
            return torch.where(moving, time * speed, room).minimum(room)
        moving = still


def _one_by_one(size: Tensor, room: Tensor, wanted: Tensor) -> Tensor:
    """Coordinates in the order of their weight, each to its room, until the gain is reached."""
    ordered, order = size.sort(dim=1, descending=True, stable=True)
    limit = room.gather(1, order)
    full = ordered * limit
    before = torch.cat([torch.zeros_like(wanted), full.cumsum(1)[:, :-1]], 1)
    need = (wanted - before).clamp_min(0) / torch.where(ordered > 0, ordered, 1)
    moved = torch.minimum(need, limit)
    return torch.zeros_like(size).scatter(1, order, moved)


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

    Newton's method on a concave function of t from below, as above. Products with a mask of zeros
    and ones, in buffers made once: masked operations and new memory cost several times as much.
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
