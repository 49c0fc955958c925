"""From stored images to what a model sees, and fair small samples of a set."""

from __future__ import annotations

import torch
from torch import Tensor


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
    if labels.ndim != 1 or len(images) != len(labels):
        raise ValueError(
            f"labels must have shape ({len(images)},) like the images, got {tuple(labels.shape)}"
        )
    if not 1 <= size <= len(labels):
        raise ValueError(f"size must be from 1 to the {len(labels)} examples there are, got {size}")
    classes, counts = torch.unique(labels.cpu(), return_counts=True)
    chosen = []
    for label, quota in zip(classes, _quotas(counts, size, generator), strict=True):
        members = torch.nonzero(labels.cpu() == label).flatten()
        chosen.append(members[torch.randperm(len(members), generator=generator)[:quota]])
    index = torch.cat(chosen)[torch.randperm(size, generator=generator)]
    return images[index.to(images.device)], labels[index.to(labels.device)]
