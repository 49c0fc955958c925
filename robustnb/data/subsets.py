"""From stored images to what a model sees: fair samples of a set, alone or each inside the next."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from robustnb.generators import check_cpu_generator
from robustnb.scalars import whole


def to_unit(images: Tensor) -> Tensor:
    """Images as float32 in [0, 1]: x / 255 for uint8 of any shape.

    >>> to_unit(torch.tensor([0, 255], dtype=torch.uint8))
    tensor([0., 1.])
    """
    if images.dtype != torch.uint8:
        raise TypeError(
            f"images must be uint8 in [0, 255], got {images.dtype}; "
            "pass what robustnb.data.load returned, once"
        )
    return images.to(torch.float32) / 255


def _quotas(counts: Tensor, size: int, generator: torch.Generator) -> list[int]:
    # largest remainder in exact whole numbers; equal remainders are settled by the generator
    shares = counts * size
    total = int(counts.sum())
    quotas, remainders = shares // total, shares % total
    shuffled = torch.randperm(len(counts), generator=generator)
    order = shuffled[torch.argsort(remainders[shuffled], descending=True, stable=True)]
    quotas[order[: size - int(quotas.sum())]] += 1
    return [int(quota) for quota in quotas]


def subset(
    images: Tensor, labels: Tensor, *, size: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """A random stratified subset of exactly `size` examples, in random order.

    Each class gets its share of `size` rounded down or up (largest remainder), drawn without
    replacement, so the class frequencies are those of the whole. The same (CPU) generator state
    gives the same subset. images: (N, ...), labels: (N,). Raises ValueError unless
    1 <= size <= N, or if the lengths differ.
    """
    _check(images, labels, generator)
    size = whole("size", size)
    if not 1 <= size <= len(labels):
        raise ValueError(f"size must be from 1 to the {len(labels)} examples there are, got {size}")
    classes, counts = torch.unique(labels.cpu(), return_counts=True)
    chosen = []
    for label, quota in zip(classes, _quotas(counts, size, generator), strict=True):
        members = torch.nonzero(labels.cpu() == label).flatten()
        chosen.append(members[torch.randperm(len(members), generator=generator)[:quota]])
    index = torch.cat(chosen)[torch.randperm(size, generator=generator)]
    return images[index.to(images.device)], labels[index.to(labels.device)]


def nested_subsets(
    images: Tensor, labels: Tensor, *, sizes: Sequence[int], generator: torch.Generator
) -> dict[int, tuple[Tensor, Tensor]]:
    """Random class-balanced subsets by size; each contains every smaller one as its beginning.

    In each of them the number of examples of a class differs from its share of `size` by less
    than the number of classes. The same (CPU) generator state gives the same subsets. Raises
    ValueError unless 1 <= size <= N.
    """
    _check(images, labels, generator)
    wanted = [whole("a size", size) for size in sizes]
    if not wanted or max(wanted) > len(labels):
        raise ValueError(f"sizes must be from 1 to the {len(labels)} examples, got {wanted}")
    places = torch.empty(len(labels), dtype=torch.float64)
    for label in torch.unique(labels.cpu()):
        members = torch.nonzero(labels.cpu() == label).flatten()
        # the k-th of m examples of a class stands at (k + u) / m of the whole order
        rank = torch.randperm(len(members), generator=generator).to(torch.float64)
        shift = torch.rand(1, generator=generator, dtype=torch.float64)
        places[members] = (rank + shift) / len(members)
    order = torch.argsort(places, stable=True)
    taken = {size: order[:size] for size in wanted}
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
    _check(images, labels, generator)
    count = whole("count", count)
    if len(labels) == 0:
        raise ValueError("the set is empty, so nothing can be repeated; pass at least one example")
    passes = -(-count // len(labels))
    orders = [torch.randperm(len(labels), generator=generator) for _ in range(passes)]
    index = torch.cat(orders)[:count]
    return images[index.to(images.device)], labels[index.to(labels.device)]


def _check(images: Tensor, labels: Tensor, generator: torch.Generator) -> None:
    """Refuse what is not one label for each image, and no generator on the CPU."""
    if labels.ndim != 1 or len(images) != len(labels):
        raise ValueError(
            f"labels must have shape ({len(images)},) like the images, got {tuple(labels.shape)}"
        )
    check_cpu_generator(generator, needed="examples are drawn")
