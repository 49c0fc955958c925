"""Heads on features (N, k): one linear layer, or a small network with dropout and batch norm."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import nn

from robustnb.models.layers import check_dropout, check_sizes, materialise, on_meta
from robustnb.scalars import whole


def linear_head(
    features: int, classes: int, *, generator: torch.Generator | None = None
) -> nn.Linear:
    """One linear layer, features -> classes, drawn from `generator`."""
    with on_meta():
        head = nn.Linear(whole("features", features), whole("classes", classes))
    materialise(head, generator=generator, channels_last=False)
    return head


def mlp_head(
    features: int,
    classes: int,
    *,
    hidden: Sequence[int] = (256,),
    dropout: float = 0.0,
    batch_norm: bool = False,
    generator: torch.Generator | None = None,
) -> nn.Sequential:
    """Hidden layers of the sizes in `hidden`, each linear, (batch norm), ReLU, (dropout).

    `dropout` is the share of units left out; with 0 and without batch norm there is no such layer.
    """
    sizes = [whole("features", features), *check_sizes("hidden", hidden)]
    if len(sizes) == 1:
        raise ValueError("hidden names no layer; use linear_head(features, classes)")
    classes, dropout = whole("classes", classes), check_dropout(dropout)
    layers: list[nn.Module] = []
    with on_meta():
        for before, after in itertools.pairwise(sizes):
            layers.append(nn.Linear(before, after))
            layers += [nn.BatchNorm1d(after)] if batch_norm else []
            layers.append(nn.ReLU())
            layers += [nn.Dropout(dropout)] if dropout > 0 else []
        head = nn.Sequential(*layers, nn.Linear(sizes[-1], classes))
    materialise(head, generator=generator, channels_last=False)
    return head
