"""Paths of this machine are found in every text of whatever alphabet, and never in a picture."""

from __future__ import annotations

import base64
import json
import os
import re
import sys
import unicodedata
from pathlib import Path

import pytest

from robustnb.errors import RunError
from robustnb.reproduce import paths, profiles
from robustnb.reproduce.paths import MachinePaths, shown_texts
from robustnb.reproduce.project import Project
from robustnb.reproduce.single import run_one


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """The paths of a machine with this checkout and this home folder."""

    def make(root: str, home: str = "/nobody/lives/here") -> MachinePaths:
        monkeypatch.setenv("HOME", home)
        monkeypatch.setenv("ROBUSTNB_DATA", "/volume/of/data")
        monkeypatch.setattr(paths.tempfile, "gettempdir", lambda: "/tmp")
        return MachinePaths(Project(Path(root), Path(root) / "build"))

    return make


@pytest.mark.parametrize(
    "text",
    [
        "/w",
        "in /w/notebooks/toy2020.md, line 3",
        "see '/w'",
        "PATH=/w:/bin",
        "file:///w/x",
        "<a href='/w/x'>",
        "/w/build/models/a.safetensors",
    ],
)
def test_a_short_root_is_found_as_a_whole_word(machine, text):
    assert machine("/w").within(text).startswith("/w")


@pytest.mark.parametrize(
    "text",
    [
        "/www/x",
        "n/w ratio",
        "a </w> tag",
        "https://host/w/x",
        "1 / 2",
        r"\frac{a}{b}/w",
        "../w/x",
        "~/w",
        "/w-old",
        "/w.tar",
        "and/or",
        "data:image/png;base64,/w/9j+/w/A=",
    ],
)
def test_what_only_looks_like_a_short_root_is_no_alarm(machine, text):
    assert machine("/w").within(text) == ""


def test_a_checkout_at_the_top_makes_no_text_an_alarm(machine):
    top = machine("/", home="/")
    assert [top.within(text) for text in ("a / b", "/", "/etc/hosts", "</p>")] == [""] * 4
    assert top.within("/build/models/x") == "/build"


def test_home_data_temporary_and_interpreter_folders_are_found(machine):
    found = machine("/somewhere/else", home="/me")
    assert found.within("Downloading to /me/.cache/torch") == "/me"
    assert found.within("/volume/of/data/mnist") == "/volume/of/data"
    assert found.within("/tmp/x.png") == "/tmp"
    library = Path(json.__file__)
    assert found.within(f"{library}:12: UserWarning")
    assert found.within("mail / me, or </me>") == ""


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize("home", ["/men/jürgen", "/people/Дарья", "/people/李 明", "/people/o&o"])
def test_a_path_in_any_alphabet_is_found_however_it_is_spelt(machine, home, form):
    found = machine("/somewhere/else", home=home)
    spelt = unicodedata.normalize(form, home)
    for text in (
        f"{spelt}/x.py",
        json.dumps([spelt + "/x"]),
        json.dumps({"path": spelt}, ensure_ascii=False),
        paths.html.escape(f"<td>{spelt}</td>").replace("&lt;", "<").replace("&gt;", ">"),
        f"file://{paths.quote(spelt)}/x",
        f"file://{re.sub('%..', lambda sign: sign.group().lower(), paths.quote(spelt))}/x",
        f"{spelt + '/x'!a} is told",
        repr([spelt]),
        repr(os.fsencode(spelt)),
        f"{spelt.encode('unicode_escape').decode()}: told",
        spelt.encode("ascii", "xmlcharrefreplace").decode().replace("o&o", "o&amp;o"),
        f"?next={paths.quote(spelt, safe='')}%2Fx",
        f"cd {spelt.replace(' ', chr(92) + ' ')}; ls",
    ):
        assert found.within(text), text


def test_what_a_variable_names_is_found(machine, monkeypatch, tmp_path):
    weights, notes = tmp_path / "weights of mine", tmp_path / "notes.txt"
    weights.mkdir()
    notes.touch()
    for name, value in {"TORCH_HOME": weights, "MY_NOTES": notes, "SHELL": "/usr/bin"}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setenv("ROUTE", "/api/v1")
    found = machine("/somewhere/else")
    assert found.within(f"loaded {weights}/net.pt") == str(weights)
    assert found.hidden(f"{notes}: read") == "<MY_NOTES>: read"
    assert found.within("/usr/bin/env, /api/v1 and PATH=/usr/bin:/bin") == ""


def test_a_folder_is_replaced_by_its_name_the_longest_first(machine):
    found = machine("/people/ada/book", home="/people/ada")
    text = "/people/ada/book/build/x /people/ada/book/y /people/ada/z /people/adam /tmp/t"
    assert found.hidden(text) == "<build>/x <checkout>/y ~/z /people/adam <tmp>/t"


def test_texts_are_all_that_is_shown_but_pictures():
    picture = base64.b64encode(b"\xff" * 30).decode()
    outputs = [
        {"output_type": "stream", "text": "told"},
        {"output_type": "display_data", "metadata": {"image/png": {"alt": "words"}},
         "data": {"image/png": picture, "image/svg+xml": "<svg/>", "text/html": ["<p>", "</p>"],
                  "application/x+json": {"key": [1, {"deep": "value"}]}}},
        {"output_type": "error", "ename": "E", "evalue": "why"},
    ]  # fmt: skip
    found = list(shown_texts(outputs))
    assert {"told", "words", "<svg/>", "<p>", "key", "deep", "value"} <= set(found)
    assert picture not in found


def smoke(toy):
    size = profiles.get(toy.notebooks, "smoke")
    return run_one(toy, "toy2020", size, 0, report=lambda _line: None)


def show(call: str) -> str:
    return (
        f"import os, time\nfrom pathlib import Path\nfrom IPython.display import display\n{call}\n"
    )


@pytest.mark.parametrize(
    "call",
    [
        "print(os.environ['ROBUSTNB_ROOT'])",
        "print(Path.home() / 'x')",
        "print(os.getcwd())",
        "print(ascii(str(Path.home())))",
        "print(os.environ.get('TORCH_HOME'))",
        "print(os.__file__)",
        "display({'text/html': f\"<p>{os.environ['ROBUSTNB_BUILD']}</p>\"}, raw=True)",
        "display({'application/json': {os.environ['ROBUSTNB_ROOT']: 1}}, raw=True)",
    ],
)
def test_a_run_that_shows_a_path_is_refused_with_cell_and_path(toy, edit, monkeypatch, call):
    monkeypatch.setenv("HOME", "/people/jürgen")
    monkeypatch.setenv("TORCH_HOME", str(toy.root.parent))
    edit("import time\n", show(call))
    with pytest.raises(RunError, match=r"code cell 2 \(.*\) shows a path of this machine, /"):
        smoke(toy)


def test_a_measurement_that_holds_a_path_is_refused(toy, edit):
    edit('"control": control}', '"control": control}, threat={"data": sleep_at}')
    edit("import time\n", "import os, time\nsleep_at = os.environ['ROBUSTNB_ROOT']\n")
    with pytest.raises(RunError, match="code cell 3"):
        smoke(toy)


def test_a_warning_is_recorded_without_the_path_it_comes_from(toy, edit):
    edit("import time\n", "import sys, time\nprint(f'{sys.prefix}/x.py:1: old', file=sys.stderr)\n")
    text = (smoke(toy) / "record.json").read_text()
    assert sys.prefix not in text
    assert "/x.py:1: old" in json.loads(text)["warnings"][0]


def test_a_picture_whose_base64_spells_the_root_is_shown(toy, edit):
    """A picture of bytes whose base64 is nothing but the name of a short root, over and over."""
    root = Project(Path("/w"), toy.build)
    data = base64.b64decode("/w/w" * 30)
    edit("import time\n", show(f"display({{'image/png': {data!r}}}, raw=True)"))
    folder = smoke(toy)
    executed = json.loads((folder / "x.ipynb").read_text())
    outputs = [output for cell in executed["cells"] for output in cell.get("outputs", [])]
    assert any("/w/w/w" in str(output) for output in outputs)
    assert MachinePaths(root).within_any(shown_texts(outputs)) == ""
