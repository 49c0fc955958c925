"""What a norm gives an attack: a steepest direction, a projection on the ball and box, a sample.

Every function takes a batch (N, ...) and one radius for all examples or one each (N,). Radii are
rounded towards zero into x's dtype, so that a ball never grows by rounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from robustnb.generators import check_generator
from robustnb.scalars import finite, is_scalar, shown

Norm = Literal["linf", "l2", "l1"]
Clip = tuple[float, float] | None
NORMS: tuple[Norm, ...] = get_args(Norm)
_L1_SHARE = 0.01  # of the coordinates that an l1 step changes (Tramer & Boneh 2019, SLIDE)


def check_box(clip: Any, what: str = "clip") -> Clip:
    """The lowest and the highest value of a pixel as floats, or None for images without a box.

    Two numbers of any kind, as a tuple, list, array or tensor; else TypeError or ValueError.

    >>> check_box([0, 1])
    (0.0, 1.0)
    """
    if clip is None:
        return None
    ends = clip.tolist() if hasattr(clip, "tolist") else clip
    pair = isinstance(ends, Sequence) and not isinstance(ends, str) and len(ends) == 2
    if not pair or not all(map(is_scalar, ends)):
        raise TypeError(
            f"{what} must be two numbers (low, high), or None for images without a box, got "
            f"{shown(clip)}"
        )
    hint = "; use None for images without a box"
    low, high = (finite(f"an end of {what}", end, hint=hint) for end in ends)
    if not low < high:
        raise ValueError(f"{what} must be (low, high) with low < high, got ({low:g}, {high:g})")
    return low, high


def check_norm(norm: str) -> None:
    """Refuse a norm we have no geometry for."""
    if norm not in NORMS:
        raise ValueError(f"norm must be one of {', '.join(NORMS)}, got {norm!r}")


def radius(eps: float | Tensor, x: Tensor) -> Tensor:
    """`eps` as a column (N, 1, ..., 1) in x's dtype, rounded towards zero.

    >>> float(radius(0.1, torch.zeros(1, 1))) <= 0.1 < float(torch.tensor(0.1))
    True
    """
    exact = torch.as_tensor(eps, dtype=torch.float64, device=x.device)
    value = exact.to(x.dtype)
    value = torch.where(value.double() > exact, value.nextafter(torch.zeros_like(value)), value)
    return value.expand(len(x)).reshape(-1, *[1] * (x.ndim - 1))


def lp_distance(x_adv: Tensor, x: Tensor, norm: Norm) -> Tensor:
    """The norm of `x_adv - x` of each example, (N,).

    >>> lp_distance(torch.tensor([[3.0, 4.0]]), torch.zeros(1, 2), "l2")
    tensor([5.])
    """
    check_norm(norm)
    if x_adv.shape != x.shape:
        raise ValueError(
            f"x_adv and x must have one shape, got {tuple(x_adv.shape)} and {tuple(x.shape)}"
        )
    delta = (x_adv - x).flatten(1)
    if norm == "linf":  # vector_norm(inf) is many times slower
        return delta.abs().amax(1) if delta.numel() else delta.new_zeros(len(delta))
    length: Tensor = torch.linalg.vector_norm(delta, 2 if norm == "l2" else 1, dim=1)
    return length


def direction(grad: Tensor, norm: Norm) -> Tensor:
    """The step of norm 1 along which a linear function of gradient `grad` rises most, (N, ...).

    linf: the sign. l2: the gradient over its length, whatever its size. l1: the steepest step
    moves one coordinate only, so the signs of the largest 1 % are used (Tramer & Boneh 2019).
    A zero gradient gives a zero step.
    """
    if norm == "linf":
        return grad.sign()
    flat = grad.flatten(1)
    if norm == "l2":
        # By the largest entry first: the square of 1e-30 is 0 in float32.
        flat = flat / flat.abs().amax(1, keepdim=True).clamp_min(torch.finfo(flat.dtype).tiny)
        length = torch.linalg.vector_norm(flat, dim=1, keepdim=True)
        return (flat / torch.where(length > 0, length, 1)).reshape(grad.shape)
    top = flat.abs().topk(max(1, round(_L1_SHARE * flat.shape[1])), dim=1).indices
    signs = torch.zeros_like(flat).scatter(1, top, flat.gather(1, top).sign())
    return (signs / signs.abs().sum(1, keepdim=True).clamp_min(1)).reshape(grad.shape)


def sample(
    x: Tensor, *, eps: float | Tensor, norm: Norm, generator: torch.Generator | None = None
) -> Tensor:
    """A perturbation drawn uniformly from the ball of radius `eps` around 0, shape of x."""
    check_norm(norm)
    device = check_generator(generator, place=x.device)

    def uniform(*shape: int) -> Tensor:
        noise = torch.rand(shape, generator=generator, dtype=x.dtype, device=device)
        return noise.to(x.device)

    if norm == "linf":
        return (2 * uniform(*x.shape) - 1) * radius(eps, x)
    count, size = len(x), math.prod(x.shape[1:])
    if norm == "l2":
        normal = torch.randn((count, size), generator=generator, dtype=x.dtype, device=device)
        unit = direction(normal.to(x.device), "l2") * uniform(count, 1) ** (1 / size)
    else:
        # The first d of d+1 exponentials over their sum are uniform under the simplex.
        gaps = -(1 - uniform(count, size + 1)).log()
        signs = 2 * (uniform(count, size) < 0.5).to(x.dtype) - 1
        unit = signs * gaps[:, :size] / gaps.sum(1, keepdim=True)
    return unit.reshape(x.shape) * radius(eps, x)


def project(
    x_adv: Tensor, x: Tensor, *, eps: float | Tensor, norm: Norm, clip: Clip = (0.0, 1.0)
) -> Tensor:
    """The nearest point (in l2) to `x_adv` within `eps` of x and inside `clip`; see `projector`."""
    size = torch.as_tensor(eps)
    if not bool((torch.isfinite(size) & (size >= 0)).all()):
        raise ValueError(f"eps must be finite and >= 0 in pixel units (8/255, not 8), got {eps}")
    return projector(x, eps=eps, norm=norm, clip=check_box(clip))(x_adv)


def projector(
    x: Tensor, *, eps: float | Tensor, norm: Norm, clip: Clip = (0.0, 1.0)
) -> Callable[[Tensor], Tensor]:
    """The exact projection on ball and box together, with what depends on x alone done once.

    Guarantee: the result r has norm(r - x) <= eps and lies in the box, both computed in x's
    dtype. In l2 and l1 the radius is smaller than eps by the rounding of d additions. x must lie
    in the box.
    """
    check_norm(norm)
    eps = radius(eps, x)
    if norm == "linf":
        low, high = _linf_limits(x, eps, clip)
        return lambda x_adv: torch.clamp(x_adv, low, high)
    flat, ball = x.flatten(1), _inner_radius(x, eps, norm, clip)

    def onto_ball_and_box(x_adv: Tensor) -> Tensor:
        delta = x_adv.flatten(1) - flat
        if clip is None:
            room = torch.full_like(delta, torch.finfo(delta.dtype).max)
        else:
            room = torch.where(delta > 0, clip[1] - flat, flat - clip[0])
        shrink = _shrink_l2 if norm == "l2" else _shrink_l1
        size = shrink(delta.abs(), room, ball)
        length = lp_distance(size, torch.zeros_like(size), norm)[:, None]
        size = size * torch.where(length > ball, ball / length, 1)  # rounding inside `shrink`
        result = flat + delta.sign() * size
        return (result if clip is None else result.clamp(*clip)).reshape(x.shape)

    return onto_ball_and_box


def _linf_limits(x: Tensor, eps: Tensor, clip: Clip) -> tuple[Tensor, Tensor]:
    """The lowest and highest image, moved one float inwards where x + eps was rounded outwards.

    Clipping to the rounded x + eps breaks the ball: in float32, (0.5 + 0.03) - 0.5 > 0.03.
    """
    low, high = x - eps, x + eps
    low = torch.where(x - low > eps, low.nextafter(x), low)
    high = torch.where(high - x > eps, high.nextafter(x), high)
    return (low, high) if clip is None else (low.clamp_min(clip[0]), high.clamp_max(clip[1]))


def _inner_radius(x: Tensor, eps: Tensor, norm: Norm, clip: Clip) -> Tensor:
    """`eps` less what rounding x + delta to x's dtype can add to the norm, (N, 1)."""
    unit, size = torch.finfo(x.dtype).eps, math.prod(x.shape[1:])
    eps = eps.reshape(-1, 1)
    largest = x.flatten(1).abs().amax(1, keepdim=True) + eps
    if clip is not None:
        largest = largest.clamp_max(max(abs(clip[0]), abs(clip[1])))
    count = math.sqrt(size) if norm == "l2" else float(size)
    return (eps * (1 - 8 * unit) - unit * count * largest).clamp_min(0)


def _shrink_l2(size: Tensor, room: Tensor, eps: Tensor) -> Tensor:
    """min(t size, room) with the largest t <= 1 of l2 norm <= eps.

    The KKT form of the nearest point in ball and box. t rises monotonically from the ball's own
    factor: with the clipped coordinates fixed, t has a closed form that is never too large, and
    the set of clipped coordinates only grows, so the loop ends. Products with a mask of zeros and
    ones, as masked operations cost several times as much.
    """
    length = torch.linalg.vector_norm(size, dim=1, keepdim=True)
    t = torch.where(length > eps, eps / length, 1)
    full = size * t >= room
    while bool(full.any()):
        mask = full.to(size.dtype)
        spent = (mask * room).square().sum(1, keepdim=True)
        free = ((1 - mask) * size).square().sum(1, keepdim=True)
        grown = ((eps.square() - spent).clamp_min(0) / free).sqrt()
        t = torch.where(free > 0, torch.maximum(t, grown), 1).clamp_max(1)
        now = (size * t >= room) | full
        if torch.equal(now, full):
            break
        full = now
    return torch.minimum(size * t, room)


def _shrink_l1(size: Tensor, room: Tensor, eps: Tensor) -> Tensor:
    """clip(size - mu, 0, room) with the smallest mu >= 0 of l1 norm <= eps.

    The norm is piecewise linear in mu with corners at `size` and `size - room`: sort the corners,
    add up, and interpolate inside the right piece (in float64).
    """
    dtype, size, room, eps = size.dtype, size.double(), room.double(), eps.double()
    corners, order = torch.cat([size, size - room], 1).clamp_min(0).sort(1, descending=True)
    slopes = torch.ones_like(corners).where(order < size.shape[1], -1).cumsum(1)
    gaps = corners[:, :-1] - corners[:, 1:]
    norms = torch.cat([torch.zeros_like(eps), (slopes[:, :-1] * gaps).cumsum(1)], 1)
    last = (norms <= eps).sum(1, keepdim=True) - 1  # norms rise along the row
    slope = slopes.gather(1, last)
    step = (eps - norms.gather(1, last)) / torch.where(slope > 0, slope, math.inf)
    mu = (corners.gather(1, last) - step).clamp_min(0)
    return torch.minimum((size - mu).clamp_min(0), room).to(dtype)
