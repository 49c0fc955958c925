"""Load, fetch, verify and list the data sets of the catalogue."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from robustnb.data import cache, fallback
from robustnb.data.fallback import Report, say
from robustnb.data.sets import Dataset, catalogue, find
from robustnb.data.sources import sources_of
from robustnb.errors import DataError
from robustnb.progress import progress

if TYPE_CHECKING:
    from torch import Tensor

    from robustnb.data.decode import Array, Arrays, Pair

_loaded: set[str] = set()
_held: dict[str, Arrays] = {}  # sets fetched in this process that the cache could not take


def _silent(message: str) -> None:
    pass


def _read_or_set_aside(dataset: Dataset, split: str, kind: str, report: Report) -> Array | None:
    try:
        return cache.read_array(dataset, split, kind)
    except cache.CorruptFile as error:
        try:
            fate = f"set aside as {cache.quarantine(error.path).name}"
        except OSError as problem:
            fate = f"could not be set aside ({problem.strerror})"
        say(report, f"{error}; {fate}, fetching it again", level=logging.WARNING)
    except OSError as error:
        say(report, f"{error.filename} cannot be read ({error.strerror})", level=logging.WARNING)
    return None


def _whole(dataset: Dataset, report: Report) -> Arrays | None:
    arrays: Arrays = {}
    for split in dataset.splits:
        images, labels = (_read_or_set_aside(dataset, split, kind, report) for kind in cache.KINDS)
        if images is not None and labels is not None:
            arrays[split] = images, labels
    return arrays if len(arrays) == len(dataset.splits) else None


def _read_quietly(dataset: Dataset, split: str) -> Pair | None:
    try:
        return cache.read(dataset, split)
    except (cache.CorruptFile, OSError):
        return None  # said, and dealt with, under the lock


def _advice(dataset: Dataset) -> str:
    return (
        f"When online, run `robustnb data fetch {dataset.name}`; or set ROBUSTNB_DATA to a folder "
        f"that holds it (now {cache.root()}); or use PROFILE=smoke, which downloads nothing."
    )


def _obtain(dataset: Dataset, report: Report) -> Arrays:
    try:
        return fallback.obtain(dataset, sources_of(dataset), report)
    except DataError as error:
        said = f"cache {cache.root() / dataset.name}: not there, or not whole"
        title, *answers = str(error).splitlines()
        lines = [title, *(f"  {answer}" for answer in (said, *answers)), _advice(dataset)]
        raise DataError("\n".join(lines)) from None


def _complete(dataset: Dataset, report: Report) -> tuple[Arrays, OSError | None]:
    """All splits, from the cache or else fetched and stored; also why storing failed, if it did."""

    def waiting() -> None:
        say(report, f"another process is fetching {dataset.name}; waiting for it")

    with cache.lock(dataset, waiting):
        whole = _whole(dataset, report)
        if whole is not None:
            say(report, f"{dataset.name} is in the cache {cache.root()}: every digest is right")
            return whole, None
        say(report, f"{dataset.name} is not whole in the cache {cache.root()}")
        arrays = _obtain(dataset, report)
        try:
            cache.store(dataset, arrays)
        except OSError as error:
            return arrays, error
        return arrays, None


def _fetched_pair(dataset: Dataset, split: str) -> Pair:
    with progress(f"fetch {dataset.name}", total=1) as bar:

        def report(message: str) -> None:
            bar.advance(0, note=message)

        arrays, problem = _complete(dataset, report)
        if problem is not None:
            _held[dataset.name] = arrays
            why = cache.explain(problem, dataset)
            say(report, f"{why}; kept in memory for this process only", level=logging.WARNING)
        bar.advance(1, note="done")
    return arrays[split]


def _pair(dataset: Dataset, split: str) -> Pair:
    if dataset.name in _held:
        return _held[dataset.name][split]
    return _read_quietly(dataset, split) or _fetched_pair(dataset, split)


def load(name: str, split: str, *, limit: int | None = None) -> tuple[Tensor, Tensor]:
    """The images, uint8 (N, C, H, W), and labels, int64 (N,), of a split.

    The bytes are those the catalogue knows, whichever source gave them; `limit` keeps the first so
    many examples. Raises UsageError for an unknown name or split, DataError if no source has it.
    """
    import torch

    from robustnb.scalars import whole  # which needs numpy

    dataset = find(name)
    n = dataset.split(split).n
    limit = None if limit is None else whole("limit", limit)
    if limit is not None and limit > n:
        raise ValueError(f"limit must be from 1 to {n} for {name} {split}, got {limit}")
    images, labels = _pair(dataset, split)
    if limit is not None or name in _held:
        # the rest can be freed, and what is held stays as it is
        images, labels = images[:limit].copy(), labels[:limit].copy()
    _loaded.add(name)
    return torch.from_numpy(images), torch.from_numpy(labels)


def loaded() -> list[str]:
    """Names of the data sets loaded so far in this process, sorted."""
    return sorted(_loaded)


def fetch(name: str, report: Report = _silent) -> None:
    """Bring a data set into the cache; `report` gets one line per source and outcome.

    Raises DataError if no source has it or the cache cannot take it.
    """
    dataset = find(name)
    _, problem = _complete(dataset, report)
    if problem is not None:
        raise DataError(f"{name} was fetched but not kept: {cache.explain(problem, dataset)}")


def verify(name: str, report: Report = _silent) -> bool:
    """Whether every file of a data set is cached with the right digest; changes nothing."""
    dataset = find(name)
    good = True
    for split in dataset.splits:
        for kind in cache.KINDS:
            path = cache.file_of(dataset, split, kind)
            try:
                right = cache.read_array(dataset, split, kind) is not None
                said = "right" if right else f"not there; run `robustnb data fetch {name}`"
            except (cache.CorruptFile, OSError) as error:
                right, said = False, f"wrong: {error}; run `robustnb data fetch {name}`"
            say(report, f"{path}: {said}")
            good = good and right
    return good


@dataclass(frozen=True)
class Listing:
    """One row of `robustnb data list`; `bytes` is the size of the decoded arrays."""

    name: str
    title: str
    splits: dict[str, int]
    shape: tuple[int, int, int]
    cached: bool
    bytes: int
    sources: tuple[str, ...]
    licence: str


def describe() -> list[Listing]:
    """A row per data set, sorted by name; looks for files without reading them."""
    return [
        Listing(
            name=name,
            title=dataset.title,
            splits={split: known.n for split, known in dataset.splits.items()},
            shape=dataset.shape,
            cached=cache.cached(dataset),
            bytes=dataset.bytes,
            sources=dataset.sources,
            licence=dataset.licence,
        )
        for name, dataset in sorted(catalogue().items())
    ]
