"""Images whose representation matches that of others (Ilyas 2019, eq. 6)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from robustnb.attacks.queries import gradient, usable
from robustnb.attacks.validation import (
    check_batch_size,
    check_gradients_allowed,
    check_images,
    check_place,
)
from robustnb.models.ask import ask_features, check_layers
from robustnb.models.layout import fastest_layout
from robustnb.models.modes import eval_mode
from robustnb.progress import progress
from robustnb.scalars import finite, whole

Representation = Callable[[Tensor], Tensor]


def penultimate(model: nn.Module) -> Representation:
    """The function from images (N, ...) to what the model's last linear layer is given, (N, k)."""
    check_layers(model, "finding its last linear layer")
    layers = [part for part in model.modules() if isinstance(part, nn.Linear)]
    if not layers:
        raise ValueError("the model has no linear layer; pass your own function of the images")
    last = layers[-1]

    def representation(x: Tensor) -> Tensor:
        given: list[Tensor] = []
        handle = last.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
        try:
            model(x)
        finally:
            handle.remove()
        if len(given) != 1 or len(given[0]) != len(x):
            raise ValueError("the last linear layer must be asked once, with a row for each image")
        return given[0]

    return representation


def match_representation(
    model: nn.Module,
    x: Tensor,
    start: Tensor,
    *,
    steps: int = 1000,
    step: float = 0.1,
    representation: Representation | None = None,
    batch_size: int = 256,
) -> tuple[Tensor, Tensor]:
    """Images near `start` that look to the model like x (Ilyas 2019, eq. 6 and table 5).

    x, start: (N, ...) in [0, 1]. Minimises |g(x_r) - g(x)|_2 by steps of fixed l2 length along the
    gradient, clipped to [0, 1], from `start`; g is `penultimate(model)` unless given. Returns the
    last images (N, ...) and the distances |g(x_r) - g(x)| / |g(x)| (N,); where g(x) is 0, they are
    not divided.
    """
    steps, step = whole("steps", steps), finite("step", step, above=0)
    batch_size = check_batch_size(batch_size)
    for images in (x, start):
        check_images(images)
    check_place(model, x)
    check_gradients_allowed(model)
    if x.shape != start.shape or x.dtype != start.dtype:
        raise ValueError(
            f"x and start must be alike, got {tuple(x.shape)} {x.dtype} and "
            f"{tuple(start.shape)} {start.dtype}"
        )
    g = penultimate(model) if representation is None else representation
    found, apart = [], []
    with (
        progress("match representations", total=len(x)) as bar,
        eval_mode(model),
        fastest_layout(model),
    ):
        for first in range(0, len(x), batch_size):
            rows = slice(first, first + batch_size)
            images, distance = _matched(g, x[rows], start[rows], steps, step)
            found.append(images)
            apart.append(distance)
            bar.advance(len(images))
    if not found:
        return start.clone(), x.new_empty(0)
    return torch.cat(found), torch.cat(apart)


def _matched(
    g: Representation, x: Tensor, start: Tensor, steps: int, step: float
) -> tuple[Tensor, Tensor]:
    def flat(images: Tensor) -> Tensor:
        found = g(images)
        return found.flatten(1) if isinstance(found, Tensor) and found.ndim > 2 else found

    with torch.no_grad():
        target = ask_features(flat, x)
        size = target.norm(dim=1)
        scale = torch.where(size > 0, size, 1)

    def distance(images: Tensor) -> Tensor:
        found: Tensor = (ask_features(flat, images) - target).norm(dim=1) / scale
        return found

    at = start.detach().clone()
    for _ in range(steps):
        leaf = at.requires_grad_()
        with torch.enable_grad():
            value = distance(leaf)
        slope, _ = usable(gradient(value, leaf))
        length = slope.flatten(1).norm(dim=1).clamp_min(1e-10)
        move = slope / length.reshape(-1, *[1] * (slope.ndim - 1))
        at = (leaf.detach() - step * move).clamp(0, 1)
    with torch.no_grad():
        return at, distance(at)
