"""Straight paths from an image to one of another class (Tsipras 2019, section 3.3)."""

from __future__ import annotations

import torch
from torch import Tensor

from robustnb.attacks.queries import ModelQueries
from robustnb.attacks.validation import check_batch_size, check_images, check_tensor
from robustnb.features.checks import check_examples
from robustnb.models.modes import Model, eval_mode
from robustnb.scalars import finite, whole


def interpolate(x: Tensor, x_adv: Tensor, *, points: int) -> Tensor:
    """(1 - a) x + a x_adv for `points` >= 2 values of a from 0 to 1, (points, N, ...).

    The ends are x and x_adv to the bit.
    """
    points = whole("points", points, least=2, hint="; the two ends are points, too")
    check_images(x, None)
    check_tensor("x_adv", x_adv)
    if x.shape != x_adv.shape or x.dtype != x_adv.dtype:
        raise ValueError(
            f"x and x_adv must be alike, got {tuple(x.shape)} {x.dtype} and "
            f"{tuple(x_adv.shape)} {x_adv.dtype}"
        )
    share = torch.linspace(0, 1, points, dtype=x.dtype, device=x.device)
    share = share.reshape(-1, *[1] * x.ndim)
    return torch.lerp(x.detach()[None], x_adv.detach()[None], share)


def class_probability_path(
    model: Model,
    x: Tensor,
    x_adv: Tensor,
    classes: Tensor,
    *,
    points: int,
    batch_size: int = 256,
) -> Tensor:
    """The probability that the model gives to a class along `interpolate`, (points, N).

    x, x_adv: (N, ...) in [0, 1]; classes: (N,), one for each path. Of a model with scores (N,) the
    classes are -1 and +1.
    """
    batch_size = check_batch_size(batch_size)
    for images in (x, x_adv):
        check_examples(model, images, classes)
    path = interpolate(x, x_adv, points=points)
    queries = ModelQueries(model)
    queries.check_labels(classes)
    with eval_mode(model):
        rows = [torch.cat([queries.logits(part) for part in images.split(batch_size)])
                for images in path] if len(x) else []  # fmt: skip
    shares = [_probability(logits, classes) for logits in rows]
    return torch.stack(shares) if shares else x.new_empty(len(path), 0)


def _probability(logits: Tensor, classes: Tensor) -> Tensor:
    if logits.ndim == 1:
        return torch.sigmoid(logits * classes.to(logits))
    return logits.softmax(1).gather(1, classes[:, None])[:, 0]


def is_monotone(path: Tensor, *, tolerance: float = 0.0) -> Tensor:
    """Whether each path (points, N) never falls by more than `tolerance` in a step, (N,) bool."""
    tolerance = finite("tolerance", tolerance, least=0)
    return (_steps(path) >= -tolerance).all(0)


def largest_jump(path: Tensor) -> Tensor:
    """The largest absolute change of each path (points, N) in one step, (N,)."""
    return _steps(path).abs().amax(0)


def _steps(path: Tensor) -> Tensor:
    if path.ndim != 2 or len(path) < 2:
        raise ValueError(f"a path is (points, N) with at least 2 points, got {tuple(path.shape)}")
    return path.diff(dim=0)
