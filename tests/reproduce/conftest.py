"""A small project of one toy paper, complete enough to be run, judged and published."""

from __future__ import annotations

import base64
import functools
import io
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
from PIL import Image

from robustnb.lesson.measurement import MIME
from robustnb.lesson.outcomes import encode_arm
from robustnb.reproduce import cli, convert, keys
from robustnb.reproduce.atomic import write_atomically
from robustnb.reproduce.project import Project

TOY = Path(__file__).parent / "toy"
PLAIN = ("unshare", "--pid", "--fork", "--mount-proc")
WITH_USER = ("unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc")


def _copy(folder: Path) -> Project:
    for name in ("notebooks", "book"):
        shutil.copytree(TOY / name, folder / name)
    for name in ("Snakefile", "CITATION.cff"):
        shutil.copyfile(TOY.parents[2] / name, folder / name)
    return Project(folder, folder / "build")


@pytest.fixture
def toy(tmp_path: Path) -> Project:
    return _copy(tmp_path)


@pytest.fixture(scope="module")
def shared_toy(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """One toy project for the tests of a file that look at the same runs."""
    return _copy(tmp_path_factory.mktemp("toy"))


@pytest.fixture
def toy_here(toy, monkeypatch):
    monkeypatch.setenv("ROBUSTNB_ROOT", str(toy.root))
    monkeypatch.setenv("ROBUSTNB_BUILD", str(toy.build))


@pytest.fixture
def robustnb(toy_here, monkeypatch, capsys):
    """Run the command on the toy project; returns exit code, standard output and error."""

    def command(*words):
        monkeypatch.setattr(sys, "argv", ["robustnb", *words])
        code = 0
        try:
            cli.run()
        except SystemExit as error:
            code = error.code
        said = capsys.readouterr()
        return code, said.out, said.err

    return command


@pytest.fixture
def edit(toy: Project):
    def change(old: str, new: str, name: str = "toy2020.md") -> None:
        path = toy.notebooks / name
        text = path.read_text()
        assert old in text, f"{old!r} is not in {name}"
        path.write_text(text.replace(old, new))

    return change


@pytest.fixture
def made() -> Callable[..., dict[str, Any]]:
    """The record that a run of the toy notebook would leave, with a planted effect."""

    def make(seed: int, treated: float = 0.9, control: float = 0.1, **extra: Any) -> dict[str, Any]:
        generator = np.random.default_rng(seed)
        arms = {
            "treated": generator.random(300) < treated,
            "control": generator.random(300) < control,
        }
        measured = {
            "schema": 1,
            "claim": "toy2020.C1",
            "part": "more",
            "arms": {name: encode_arm(name, outcomes) for name, outcomes in arms.items()},
            "checks": [],
            "threat": {},
            "audit": None,
        }
        return {
            "schema": 1,
            "paper": "toy2020",
            "profile": "laptop",
            "seed": seed,
            "custom": False,
            "origin": "record",
            "key": f"{seed:016x}",
            "source": "now",
            "closure": {},
            "data": {},
            "parameters": {"size": 300},
            "versions": {"python": "3.11", "torch": "2.14.1"},
            "device": "cpu",
            "cost": {"cpu_seconds": 4.0, "wall_seconds": 5.0, "peak_mb": 512},
            "warnings": [],
            "measurements": [measured],
            **extra,
        }

    return make


@pytest.fixture(scope="session")
def namespace() -> tuple[str, ...]:
    """The words before a command that give it process numbers of its own."""
    if shutil.which("unshare"):
        for words in (PLAIN, WITH_USER):
            tried = subprocess.run([*words, "true"], check=False, stderr=subprocess.DEVNULL)
            if tried.returncode == 0:
                return words
    pytest.skip("this system gives nobody a namespace of process numbers")


def picture(side: int = 64) -> bytes:
    """A PNG of more colours than a palette has."""
    colours = np.random.default_rng(0).integers(0, 255, (side, side, 4), dtype=np.uint8)
    colours[..., 3] = 255
    out = io.BytesIO()
    Image.fromarray(colours).save(out, "PNG", dpi=(200, 200))
    return out.getvalue()


def _outputs(record: dict[str, Any], drawn: bytes) -> list[Any]:
    """The outputs of the last cell: a measurement, a figure shown, and the same one glued."""
    encoded = base64.b64encode(drawn).decode()
    (measured,) = record["measurements"]
    alt = {"image/png": {"alt": "A line."}}
    display = functools.partial(nbformat.v4.new_output, "display_data")
    return [
        display({MIME: measured, "text/plain": "measured"}),
        display({"image/png": encoded, "text/plain": "<Figure>"}, metadata=alt),
        display({"application/papermill.record/image/png": encoded}),
    ]


def executed(run: keys.RunSpec, record: dict[str, Any], project: Project, drawn: bytes) -> Any:
    """The notebook papermill would leave, without a kernel: each cell says its number."""
    notebook = convert.convert(project.notebook(run.paper))
    for count, cell in enumerate(convert.code_cells(notebook), 1):
        cell.execution_count = count
        text = f"ran {count} at {run.profile}\n"
        cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text=text)]
    notebook.cells[-1].outputs += _outputs(record, drawn)
    injected = nbformat.v4.new_code_cell(f"# Parameters\nsize = 80  # {run.profile}\n")
    injected.metadata["tags"] = ["injected-parameters"]
    index = next(i for i, c in enumerate(notebook.cells) if "parameters" in convert.tags(c))
    notebook.cells.insert(index + 1, injected)
    notebook.metadata["robustnb"] = {**notebook.metadata["robustnb"], "run": {"key": run.key}}
    return notebook


@pytest.fixture
def leave_run(toy: Project, made: Callable[..., dict[str, Any]]) -> Callable[..., Path]:
    """Leave a finished run of the toy paper in its folder."""

    def leave(run: keys.RunSpec, drawn: bytes = b"", **extra: Any) -> Path:
        facts = {
            "key": run.key, "source": run.source, "closure": run.closure, "data": run.data,
            "profile": run.profile, "parameters": run.overrides,
            "made": "2026-01-02", "processor": "Some CPU",
        }  # fmt: skip
        record = made(run.seed, **{**facts, **extra})
        del record["origin"]
        notebook = executed(run, record, toy, drawn or picture())
        folder = run.folder(toy.runs)
        write_atomically(folder / "x.ipynb", nbformat.writes(notebook))
        write_atomically(folder / "record.json", json.dumps(record))
        return folder

    return leave
