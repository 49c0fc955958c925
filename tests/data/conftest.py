"""A tiny data set with fake sources, and a cache of its own for every test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from robustnb.data import decode, fallback, loading
from robustnb.data.sets import Dataset, Split
from robustnb.data.sources import Source


def tiny_arrays() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {
        split: (
            rng.integers(0, 256, size=(n, 1, 3, 2), dtype=np.uint8),
            rng.integers(0, 2, size=n, dtype=np.int64),
        )
        for split, n in (("train", 8), ("test", 4))
    }


def dataset_of(arrays: dict[str, Any], name: str = "tiny") -> Dataset:
    return Dataset(
        name=name,
        title="a few random pixels",
        shape=arrays["train"][0].shape[1:],
        classes=("0", "1"),
        splits={
            split: Split(len(labels), decode.digest(images), decode.digest(labels))
            for split, (images, labels) in arrays.items()
        },
        sources=("fake",),
        licence="none",
    )


@dataclass
class Tiny:
    """The data set, its right arrays, and the sources that `loading` asks for it."""

    arrays: dict[str, Any]
    dataset: Dataset
    folder: Path
    sources: list[Source] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def add(self, name: str, read: Callable[[Path], Any], client: str | None = None) -> None:
        def counted(folder: Path) -> Any:
            self.asked.append(name)
            return read(folder)

        self.sources.append(Source(name, client or name, counted))

    def add_good(self, name: str = "good") -> None:
        self.add(name, lambda folder: tiny_arrays())

    def fresh(self) -> dict[str, Any]:
        return tiny_arrays()

    @property
    def files(self) -> list[str]:
        names = (path.name for path in (self.folder / "tiny").iterdir())
        return sorted(name for name in names if name != ".lock")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("ROBUSTNB_DATA", str(folder))
    monkeypatch.setattr(fallback, "_dead", {})
    monkeypatch.setattr(loading, "_held", {})
    monkeypatch.setattr(loading, "_loaded", set())
    return folder


@pytest.fixture
def tiny(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Tiny:
    arrays = tiny_arrays()
    made = Tiny(arrays, dataset_of(arrays), own_cache)
    monkeypatch.setattr(loading, "find", lambda name: made.dataset)
    monkeypatch.setattr(loading, "catalogue", lambda: {"tiny": made.dataset})
    monkeypatch.setattr(loading, "sources_of", lambda dataset: made.sources)
    return made
