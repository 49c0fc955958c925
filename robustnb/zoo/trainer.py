"""Train a network of the zoo by its recipe."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from robustnb import data
from robustnb.models.layers import Normalize
from robustnb.models.resnets import wide_resnet
from robustnb.training.augment import crop_and_flip
from robustnb.training.model_store import SOURCES, train_or_load
from robustnb.training.objectives import Objective, pgd_training, standard
from robustnb.training.schedules import triangular
from robustnb.training.training_loop import fit
from robustnb.training.validation import (
    Validate,
    natural_accuracy,
    robust_accuracy,
    train_val_split,
)
from robustnb.zoo.recipes import Recipe, find

_BLOCK = 2  # pixels a side: the network then works on a quarter of the places
_MEAN, _STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)  # of CIFAR-10's training images
_AUDIT_STEP = 2.5  # times eps / steps, as in Madry 2018


def build(recipe: Recipe) -> nn.Module:
    """The untrained network: images (N, 3, 32, 32) in [0, 1] to logits (N, classes)."""
    channels, _, _ = data.catalogue()[recipe.dataset].shape
    body = wide_resnet(
        depth=recipe.depth, widen=recipe.widen, in_channels=channels * _BLOCK**2,
        classes=len(data.catalogue()[recipe.dataset].classes), channels_last=False,
        generator=torch.Generator().manual_seed(recipe.seed),
    )  # fmt: skip
    return nn.Sequential(Normalize(_MEAN, _STD), nn.PixelUnshuffle(_BLOCK), body)


def train(
    name: str,
    *,
    max_batches: int | None = None,
    origin: Callable[[], Mapping[str, str]] = dict,
) -> tuple[nn.Module, dict[str, Any]]:
    """The network called `name`, trained by its recipe or found in the store, and its record.

    An interrupted training goes on after its last epoch. `max_batches` cuts each epoch short, to
    try the recipe. What `origin()` says, such as the commit, enters the record, which is that of
    `robustnb.training.train_or_load` with the epochs, the kept one and the data under "history".
    Its code is part of the store's key, so what `robustnb zoo train` made is found by that command
    alone.
    Raises UsageError for another name, DataError if the data set cannot be had.
    """
    recipe = find(name).recipe
    known = data.catalogue()[recipe.dataset]
    facts = {"zoo": name, **recipe.to_json(), "data": known.digest, "max_batches": max_batches}

    def trained(model: nn.Module, checkpoint: Path) -> dict[str, Any]:
        history = _trained(recipe, model, checkpoint, max_batches, title=name)
        return {**history, "data": known.digest, **origin()}

    with threads(recipe.threads):
        return train_or_load(
            facts, lambda: build(recipe), trained, sources=(*SOURCES, "robustnb.zoo.trainer")
        )


def _trained(
    recipe: Recipe, model: nn.Module, checkpoint: Path, max_batches: int | None, *, title: str
) -> dict[str, Any]:
    images, labels = data.load(recipe.dataset, "train")
    generator = torch.Generator().manual_seed(recipe.seed)
    images, labels, held_images, held_labels = train_val_split(
        images, labels, size=recipe.held_out, generator=generator
    )
    history = fit(
        model, images, labels, objective=_objective(recipe), epochs=recipe.epochs,
        batch_size=recipe.batch_size, lr=recipe.lr, momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        schedule=triangular(epochs=recipe.epochs, peak=recipe.peak), augment=crop_and_flip(),
        validate=_score(recipe, held_images, held_labels), checkpoint=checkpoint, amp=recipe.amp,
        drop_last=True, max_batches=max_batches, title=title,
        generator=torch.Generator().manual_seed(recipe.seed),
    )  # fmt: skip
    found: dict[str, Any] = history.to_json()
    return found


def _objective(recipe: Recipe) -> Objective:
    own = recipe.adversary
    if own is None:
        return standard()
    return pgd_training(eps=own.eps, step=own.step, steps=own.steps, norm=own.norm)


def _score(recipe: Recipe, images: torch.Tensor, labels: torch.Tensor) -> Validate:
    """Accuracy on held-out images, under PGD for a robust network: it shows if training fails."""
    own, steps = recipe.adversary, recipe.held_out_steps
    if own is None:
        return natural_accuracy(images, labels)
    return robust_accuracy(
        images, labels, eps=own.eps, step=_AUDIT_STEP * own.eps / steps, steps=steps,
        norm=own.norm, seed=recipe.seed,
    )  # fmt: skip


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Within the block, torch works with that many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
