"""Checks of what a training is given; every message says how to mend it."""

from __future__ import annotations

import copy
import math
from typing import Literal

import torch
from torch import Tensor, nn

from robustnb.attacks.validation import (
    check_classes,
    check_gradients_allowed,
    check_tensor,
)
from robustnb.generators import check_cpu_generator
from robustnb.models.ask import check_form, check_model, place_of
from robustnb.models.modes import eval_mode, training
from robustnb.training.objectives import Objective
from robustnb.training.validation import check_inputs, unit

_ALONE = "more than 1 value per channel"  # what batch norm says of a batch of one


def check_training(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    generator: torch.Generator,
    *,
    inputs: Literal["images", "features"] = "images",
) -> None:
    """Refuse models, images and labels that cannot be trained on, before anything is spent."""
    check_model(model)
    check_cpu_generator(generator, needed="fit draws the order of the images")
    if not isinstance(model, nn.Module) or not any(p.requires_grad for p in model.parameters()):
        raise ValueError(
            "the model has no parameter that wants a gradient, so there is nothing to train; pass "
            "an nn.Module whose parameters have requires_grad=True (not one frozen by torch.jit)"
        )
    check_gradients_allowed(model)
    for what, value in {"images": images, "labels": labels}.items():
        check_tensor(what, value)
    check_inputs(images, inputs)
    if labels.ndim != 1 or len(labels) == 0 or len(images) != len(labels):
        raise ValueError(
            f"fit wants one label for each image and at least one of them, got {len(images)} "
            f"images and labels of shape {tuple(labels.shape)}"
        )
    _check_labels(model, images, labels)


def check_last_batch(
    model: nn.Module, objective: Objective, images: Tensor, labels: Tensor, size: int
) -> None:
    """Try the short last batch of an epoch on a copy: batch norm may refuse a batch of one."""
    if size != 1:
        return
    trial, (device, dtype) = copy.deepcopy(model), place_of(model, images)
    x, y = unit(images[:1].to(device, copy=True), dtype), labels[:1].to(device)
    devices = [device] if device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices=devices), training(trial):
            objective(trial, x, y, torch.Generator(device).manual_seed(0))
    except ValueError as error:
        if _ALONE not in str(error):
            raise
        raise ValueError(
            f"the last batch of an epoch holds one image ({len(labels)} images), and batch norm "
            "needs two; use drop_last=True, or another batch_size (at least 2)"
        ) from error


def check_epoch(model: nn.Module, epoch: int, loss: float, rate: float) -> None:
    """FloatingPointError if the loss of an epoch, or a weight after it, is not finite."""
    if not math.isfinite(loss):
        raise FloatingPointError(
            f"the loss of epoch {epoch} is {loss}; lower lr (now {rate:g}), or warm it up, or look "
            "for a gradient that is not finite where the loss is (a root or a norm at 0)"
        )
    if not all(bool(weight.isfinite().all()) for weight in model.parameters()):
        raise FloatingPointError(
            f"weights are NaN or infinite after epoch {epoch}, though its loss is {loss:g}: the "
            "gradient was not finite where the loss was (a root or a norm at 0), or lr (now "
            f"{rate:g}) is too large"
        )


@torch.no_grad()
def _check_labels(model: nn.Module, images: Tensor, labels: Tensor) -> None:
    """Compare all labels with the classes of the answer to two images.

    An answer that is no tensor of logits or scores is the objective's own affair, and so is one
    column, or one score beside labels that are no whole numbers.
    """
    device, dtype = place_of(model, images)
    devices = [device] if device.type == "cuda" else []
    with eval_mode(model), torch.random.fork_rng(devices=devices):
        logits = model(unit(images[:2].to(device, copy=True), dtype))
    if not isinstance(logits, Tensor) or logits.ndim not in (1, 2):
        return
    if not logits.dtype.is_floating_point or len(logits) != len(images[:2]):
        check_form(logits, len(images[:2]))
    if bool((logits.isnan() | (logits == torch.inf)).any()):
        raise ValueError(
            "the model returns NaN or infinite logits before it is trained; check its weights"
        )
    if logits.ndim == 2 and logits.shape[1] == 1:
        return
    if logits.ndim == 2 or not labels.dtype.is_floating_point:
        check_classes(labels, logits)
