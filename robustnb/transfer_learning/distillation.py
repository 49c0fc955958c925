"""End-to-end training without forgetting (Shafahi 2020, section 4): features stay near a source's.

The loss is cross-entropy plus weight * d(z(x), z_0(x)), with z the features of the network that
trains and z_0 those of the frozen robust source, both on the natural image.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robustnb.attacks.validation import check_choice
from robustnb.generators import check_generator
from robustnb.scalars import finite
from robustnb.training.objectives import Objective, check_targets, full_precision
from robustnb.transfer_learning.transfer_net import TransferNet

Distance = Literal["l1", "l2", "squared_l2"]

_DISTANCES: dict[str, Callable[[Tensor], Tensor]] = {
    "l1": lambda apart: apart.abs().sum(1),
    "l2": lambda apart: torch.linalg.vector_norm(apart, dim=1),
    "squared_l2": lambda apart: apart.square().sum(1),
}


def feature_distance(z: Tensor, z_0: Tensor, distance: Distance = "l1") -> Tensor:
    """The distance of two batches of features (N, k), a norm over features, a mean over images.

    >>> feature_distance(torch.tensor([[3.0, 4.0]]), torch.zeros(1, 2), "l2").item()
    5.0
    """
    check_choice("distance", distance, get_args(Distance))
    if z.shape != z_0.shape or z.ndim != 2:
        raise ValueError(
            f"features must be two batches (N, k), got {tuple(z.shape)} and {tuple(z_0.shape)}; "
            "the source must be of the network's own architecture"
        )
    return _DISTANCES[distance](z - z_0).mean()


def without_forgetting(source: nn.Module, *, weight: float, distance: Distance = "l1") -> Objective:
    """The objective for `fit` and a `TransferNet`; a copy of `source`, an extractor, is kept.

    `weight` is the paper's lambda_d. Its effect depends on the number and the size of the features,
    so compare weight times the mean norm of z_0. Weight 0 is naive fine-tuning. Train the head
    alone first: with a random head the first steps wreck the features.
    """
    weight = finite("weight", weight, least=0.0)
    check_choice("distance", distance, get_args(Distance))
    kept = copy.deepcopy(source).requires_grad_(False).eval()
    return partial(without_forgetting_loss, source=kept, weight=weight, distance=distance)


def without_forgetting_loss(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    generator: torch.Generator | None = None,
    *,
    source: nn.Module,
    weight: float,
    distance: Distance = "l1",
) -> Tensor:
    """The loss of `without_forgetting`; nothing is random but the head's own dropout."""
    check_generator(generator)
    if not isinstance(model, TransferNet):
        raise TypeError(
            f"the model must be a TransferNet, got {type(model).__name__}; make one: "
            "extractor, _ = split(model); TransferNet(extractor, head, frozen=False)"
        )
    z = model.features(x.clone())
    logits = full_precision(model.head(z))
    check_targets(logits, y)
    loss = F.cross_entropy(logits, y)
    if weight == 0:
        return loss
    with torch.no_grad():
        z_0 = source(x.clone())
    return loss + weight * feature_distance(full_precision(z), full_precision(z_0), distance)
