"""The catalogue: every data set's splits, shapes, digests, sources and licence.

Reading it needs neither numpy nor torch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from math import prod
from types import MappingProxyType
from typing import Any

from robustnb.errors import unknown


@dataclass(frozen=True)
class Split:
    """One split: its number of examples and the SHA-256 of its decoded arrays.

    `images` is the digest of the (n, C, H, W) uint8 bytes and `labels` that of the (n,)
    little-endian int64 bytes, both in C order.
    """

    n: int
    images: str
    labels: str


@dataclass(frozen=True)
class Dataset:
    """A data set we know; `sources` are tried in this order after the local cache."""

    name: str
    title: str
    shape: tuple[int, int, int]
    classes: tuple[str, ...]
    splits: Mapping[str, Split]
    sources: tuple[str, ...]
    licence: str

    @property
    def bytes(self) -> int:
        """Size of all decoded arrays in bytes."""
        return sum(split.n for split in self.splits.values()) * (prod(self.shape) + 8)

    @property
    def digest(self) -> str:
        """One SHA-256 over the digests of all splits, for keys of results."""
        parts = [f"{key} {split.images} {split.labels}" for key, split in self.splits.items()]
        return hashlib.sha256("\n".join(sorted(parts)).encode()).hexdigest()

    def split(self, name: str) -> Split:
        """The split called `name`; UsageError with the nearest match if there is none."""
        if name not in self.splits:
            raise unknown(f"split of {self.name}", name, self.splits)
        return self.splits[name]


def _dataset(name: str, entry: Mapping[str, Any]) -> Dataset:
    channels, height, width = entry["shape"]
    return Dataset(
        name=name,
        title=entry["title"],
        shape=(channels, height, width),
        classes=tuple(entry["classes"]),
        splits=MappingProxyType({key: Split(**split) for key, split in entry["splits"].items()}),
        sources=tuple(entry["sources"]),
        licence=entry["licence"],
    )


@cache
def catalogue() -> Mapping[str, Dataset]:
    """All data sets by name, read from `catalogue.json`.

    >>> sorted(catalogue())
    ['cifar10', 'fashion_mnist', 'mnist', 'mnist_embedded', 'spam_assassin', 'stamps']
    """
    text = files("robustnb.data").joinpath("catalogue.json").read_text(encoding="utf-8")
    return MappingProxyType(
        {name: _dataset(name, entry) for name, entry in json.loads(text).items()}
    )


def find(name: str) -> Dataset:
    """The data set called `name`; UsageError with the nearest match if there is none."""
    if name not in catalogue():
        raise unknown("data set", name, catalogue())
    return catalogue()[name]
