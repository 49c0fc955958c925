"""A validation split, and scores on it that choose the epoch to keep."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from robustnb.attacks.losses import misclassified
from robustnb.attacks.projected_gradient import pgd
from robustnb.attacks.projections import Norm
from robustnb.attacks.validation import (
    check_choice,
    check_classes,
    check_images,
    check_radius,
    check_steps,
    check_tensor,
)
from robustnb.generators import check_cpu_generator
from robustnb.models.ask import ask, check_finite, place_of
from robustnb.models.modes import eval_mode
from robustnb.scalars import whole

Validate = Callable[[nn.Module], float]


def train_val_split(
    images: Tensor, labels: Tensor, *, size: int, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Split at random: (training images, labels, validation images, labels), `size` in the latter.

    The order of the data is kept within each part.
    """
    size = whole("size", size)
    check_cpu_generator(generator, needed="a split is drawn")
    _check_labels(images, labels)
    if not 0 < size < len(labels):
        raise ValueError(f"size must lie in [1, {len(labels) - 1}] to leave both parts, got {size}")
    held = torch.zeros(len(labels), dtype=torch.bool)
    held[torch.randperm(len(labels), generator=generator)[:size]] = True
    held = held.to(labels.device)
    return images[~held], labels[~held], images[held], labels[held]


def natural_accuracy(
    images: Tensor,
    labels: Tensor,
    *,
    batch_size: int = 512,
    inputs: Literal["images", "features"] = "images",
) -> Validate:
    """A score for `fit`: the share of `images` (uint8 or in [0, 1]) classified as labelled.

    With inputs="features" they are floats of any finite size, as in `fit`.
    """
    _check(images, labels)
    check_inputs(images, inputs)
    batch_size = whole("batch_size", batch_size)
    return partial(_accuracy, images=images, labels=labels, batch_size=batch_size, attack=None)


def robust_accuracy(
    images: Tensor,
    labels: Tensor,
    *,
    eps: float,
    step: float,
    steps: int,
    norm: Norm = "linf",
    seed: int = 0,
    batch_size: int = 512,
) -> Validate:
    """A score for `fit`: the share of `images` classified as labelled under PGD.

    Every epoch meets the same random starts, so that epochs differ by their weights alone.
    """
    _check(images, labels)
    batch_size, seed = whole("batch_size", batch_size), whole("seed", seed, least=0)
    eps = check_radius(eps)
    sizes, steps = check_steps(step, steps)
    attack = partial(pgd, eps=eps, step=sizes, steps=steps, norm=norm)
    return partial(
        _accuracy, images=images, labels=labels, batch_size=batch_size, attack=attack, seed=seed
    )


def _accuracy(
    model: nn.Module,
    *,
    images: Tensor,
    labels: Tensor,
    batch_size: int,
    attack: Callable[..., Tensor] | None,
    seed: int = 0,
) -> float:
    device, dtype = place_of(model, images)
    generator = torch.Generator(device).manual_seed(seed)
    right = 0
    with eval_mode(model):
        for x, y in zip(
            torch.split(images, batch_size), torch.split(labels, batch_size), strict=True
        ):
            x, y = unit(x.to(device), dtype), y.to(device)
            if attack is not None:
                x = attack(model, x, y, generator=generator)
            with torch.no_grad():
                logits = ask(model, x)
                check_finite(logits)
                check_classes(y, logits)
                right += int((~misclassified(logits, y)).sum())
    return right / len(labels)


def unit(x: Tensor, dtype: torch.dtype) -> Tensor:
    """uint8 images as floats in [0, 1]; float images in `dtype`."""
    return x.to(dtype).div_(255) if x.dtype == torch.uint8 else x.to(dtype)


def check_inputs(images: Tensor, inputs: str) -> None:
    """Refuse float images outside [0, 1], and what is not finite; uint8 images are as they are."""
    check_choice("inputs", inputs, ("images", "features"))
    if images.dtype != torch.uint8 or inputs == "features":
        check_images(images, (0.0, 1.0) if inputs == "images" else None)


def _check(images: Tensor, labels: Tensor) -> None:
    check_tensor("images", images)
    check_tensor("labels", labels)
    if labels.numel() == 0:
        raise ValueError("there are no validation images; hold some out with train_val_split(...)")
    _check_labels(images, labels)


def _check_labels(images: Tensor, labels: Tensor) -> None:
    if labels.ndim != 1 or len(images) != len(labels):
        raise ValueError(
            f"labels must have shape ({len(images)},), one for each image, got "
            f"{tuple(labels.shape)}"
        )
