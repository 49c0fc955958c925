"""The smallest step, in each norm, that carries an image onto a plane without leaving the box.

The optimum moves every coordinate towards the plane as far as the norm makes it worth: in linf all
at one speed, in l2 each at the speed of its weight, in l1 one after the other by weight; each
until the box stops it. The gain is piecewise linear in time, so the answer is exact.
"""

from __future__ import annotations

import torch
from torch import Tensor

from robustnb.attacks.geometry import Clip, Norm


def onto_plane(x: Tensor, weights: Tensor, gain: Tensor, *, norm: Norm, clip: Clip) -> Tensor:
    """The smallest delta with <weights, delta> = gain and x + delta in `clip`, shape of x.

    x, weights: (N, ...); gain: (N,). Computed in float64. Where the box holds no such point, the
    corner that comes nearest to the plane.

    >>> x, weights = torch.tensor([[0.5, 0.9]]), torch.tensor([[1.0, 1.0]])
    >>> onto_plane(x, weights, torch.tensor([0.4]), norm="linf", clip=(0.0, 1.0))
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
