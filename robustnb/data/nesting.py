"""Training sets of growing size, each inside the next, and a fixed amount of work on each."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def nested_subsets(
    images: Tensor, labels: Tensor, *, sizes: Sequence[int], generator: torch.Generator
) -> dict[int, tuple[Tensor, Tensor]]:
    """Random class-balanced subsets by size; each contains every smaller one as its beginning.

    In each of them the number of examples of a class differs from its share of `size` by less
    than the number of classes. The same (CPU) generator state gives the same subsets. Raises
    ValueError unless 1 <= size <= N.
    """
    if not sizes or not all(1 <= size <= len(labels) for size in sizes):
        raise ValueError(f"sizes must be from 1 to the {len(labels)} examples, got {list(sizes)}")
    if len(images) != len(labels):
        raise ValueError(f"got {len(images)} images and {len(labels)} labels; pass one for each")
    places = torch.empty(len(labels), dtype=torch.float64)
    for label in torch.unique(labels.cpu()):
        members = torch.nonzero(labels.cpu() == label).flatten()
        # the k-th of m examples of a class stands at (k + u) / m of the whole order
        rank = torch.randperm(len(members), generator=generator).to(torch.float64)
        shift = torch.rand(1, generator=generator, dtype=torch.float64)
        places[members] = (rank + shift) / len(members)
    order = torch.argsort(places, stable=True)
    taken = {size: order[:size] for size in sizes}
    return {
        size: (images[index.to(images.device)], labels[index.to(labels.device)])
        for size, index in taken.items()
    }


def repeat_to(
    images: Tensor, labels: Tensor, *, count: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Exactly `count` examples: whole random passes over the set, the last one cut short.

    One epoch over the result is the same number of steps for a small set as for a large one.
    """
    if count < 1 or len(labels) == 0:
        raise ValueError(f"count must be at least 1 and the set not empty, got {count}")
    passes = -(-count // len(labels))
    orders = [torch.randperm(len(labels), generator=generator) for _ in range(passes)]
    index = torch.cat(orders)[:count]
    return images[index.to(images.device)], labels[index.to(labels.device)]
