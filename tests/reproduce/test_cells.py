"""Notebooks as people write them: one line with notebook, cell and reason, never a traceback."""

from __future__ import annotations

import json

import nbformat
import pytest

from robustnb.errors import RunError, UsageError
from robustnb.reproduce import cells, convert, keys, profiles
from robustnb.reproduce.single import run_one

REFUSED = {
    "%matplotlib inline": "`%matplotlib` is IPython's",
    "x = 1\n!ls -l": "`!ls -l` is IPython's",
    "x = !ls": "`!ls` is IPython's",
    "y = %pwd": "`%pwd` is IPython's",
    "%%bash\necho $HOME": "`%%bash` is IPython's",
    "len?": "a question mark for help is IPython's",
    "?len": "a question mark for help is IPython's",
    "x = (1": "SyntaxError in its line 1: '[(]' was never closed",
    "x = 1\nprint x": "SyntaxError in its line 2",
    "  x = 1": "IndentationError in its line 1",
    "return 3": "SyntaxError in its line 1: 'return' outside function",
    "x = 1\x00": "null byte",
    f"x = {'+'.join(['1'] * 600)}": "nested too deeply to be part of a run's key",
    f"x = {'+'.join(['1'] * 9000)}": "RecursionError|nested too deeply",
    "exit": "`exit` ends the kernel",
    "if True:\n    quit(0)": "`quit` ends the kernel",
}
PLAIN = [
    "import asyncio\nawait asyncio.sleep(0)",
    "1 + 1;",
    "# %matplotlib inline",
    "text = '''\n%time\n!ls\n'''",
    "x = 7 %2",
    "pattern = '\\d'",
    "def exit(code):\n    return code\nexit(0)",
    "last = exit",
    "",
]


def notebook_of(*sources):
    made = [nbformat.v4.new_code_cell(source) for source in sources]
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("prose"), *made])


@pytest.mark.parametrize(("source", "why"), REFUSED.items())
def test_a_cell_that_is_no_plain_python_is_refused_with_its_number(source, why):
    with pytest.raises(UsageError, match=rf"^x\.md, code cell 2 \(.*\): .*{why}") as caught:
        cells.check(notebook_of("a = 1", source), where="x.md")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("source", PLAIN)
def test_a_cell_of_plain_python_passes(source):
    cells.check(notebook_of("a = 1", source), where="x.md")


@pytest.mark.parametrize(
    ("source", "hides"),
    [("x;", True), ("x;  # told\n\n", True), ("x; y", False), ("'a;'", False), ("# x;", False)],
)
def test_a_semicolon_at_the_end_hides_a_value(source, hides):
    assert cells.hides_its_value(source) is hides


def test_a_semicolon_that_hides_an_output_is_in_the_key(toy, edit):
    size = profiles.get(toy.notebooks, "smoke")
    before = keys.resolve_run(toy, "toy2020", size, 0).key
    edit("time.sleep(sleep)", "time.sleep(sleep);")
    assert keys.resolve_run(toy, "toy2020", size, 0).key != before


HEAD = "robustnb:\n  datasets: []"
DAMAGED = {
    "no header": (None, b"prose only\n", "has 0 cells tagged `parameters`"),
    "empty": (None, b"", "has 0 cells tagged `parameters`"),
    "not UTF-8": (None, "Gauß".encode("latin-1"), "'utf-8' codec"),
    "a bracket in the header": (HEAD, b"robustnb: [", "not a MyST notebook"),
    "a date in the header": (HEAD, b"date: 2024-01-01", "not JSON serializable"),
    "a deep list in the header": (HEAD, b"robustnb: " + b"[" * 4000, "not a MyST notebook"),
    "a list of the header": (HEAD, b"robustnb: [1]", "the header must name parameters"),
    "a word of the header": (HEAD, b"robustnb: {datasets: size}", "the header must name"),
    "tags that are no list": ("tags: [parameters]", b"tags: parameters", "not of type 'array'"),
    "tags that do not end": ("tags: [parameters]", b"tags: [parameters", "Invalid YAML"),
    "no tag": (":tags: [parameters]\n", b"", "has 0 cells tagged `parameters`"),
    "another language": (
        HEAD,
        b"kernelspec: {display_name: R, language: R, name: ir}",
        "are written in R; the book",
    ),
    "cells of another language": ("ipython3", b"julia", "are written in julia; the book runs"),
    "two parameters cells": (
        "```{code-cell} ipython3\nimport time",
        b"```{code-cell} ipython3\n:tags: [parameters]\n\nimport time",
        "has 2 cells tagged `parameters`",
    ),
    "no seed": ("seed: int = 0\n", b"", "must declare `seed: int = 0`"),
    "a magic": ("import time\n", b"%time\n", "`%time` is IPython's"),
    "a call in the parameters": ("= 40", b"= int(40)", "line 2 of the parameters cell"),
}


@pytest.mark.parametrize(("old", "new", "why"), DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_notebook_is_one_line_that_names_it(toy, old, new, why):
    path = toy.notebook("toy2020")
    whole = path.read_bytes()
    assert old is None or old.encode() in whole
    path.write_bytes(new if old is None else whole.replace(old.encode(), new))
    with pytest.raises(UsageError, match=why) as caught:
        keys.resolve_run(toy, "toy2020", profiles.get(toy.notebooks, "smoke"), 0)
    assert str(caught.value).startswith("toy2020.md") and "\n" not in str(caught.value)
    assert not toy.build.exists()


def test_a_notebook_that_leads_nowhere_or_is_a_folder_is_named(toy):
    path = toy.notebook("toy2020")
    path.unlink()
    path.symlink_to("nowhere.md")
    with pytest.raises(UsageError, match=r"toy2020\.md cannot be read: No such file"):
        convert.convert(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(UsageError, match=r"toy2020\.md is not a MyST notebook"):
        convert.convert(path)


def test_a_constant_expression_is_a_default_that_all_ways_override(toy, edit):
    edit("shift: float = 0.0", "shift: float = -8 / 255")
    edit("{size: 80}", "{shift: 0.25}", name="profiles.yaml")
    declared = convert.parameters(convert.convert(toy.notebook("toy2020")), where="toy2020.md")
    assert declared["shift"].default == -8 / 255
    size = profiles.get(toy.notebooks, "laptop")
    assert keys.resolve_run(toy, "toy2020", size, 0).overrides == {"shift": 0.25}
    folder = run_one(toy, "toy2020", size, 0, ["shift=1/8", "size=7"], report=lambda _line: None)
    record = json.loads((folder / "record.json").read_text())
    assert record["parameters"] == {"shift": 0.125, "size": 7}


FAILING = {
    "import sys\nsys.exit(0)": "ends the notebook by SystemExit",
    "raise SystemExit": "ends the notebook by SystemExit",
    "from sys import exit\nexit(3)": "failed .* with SystemExit: 3",
    "import os\nos._exit(0)": "lost its kernel",
    "raise ValueError('a\\nb')": "with ValueError: a b",
    "from IPython.display import display\ndisplay({'text/plain': 3}, raw=True)": "not valid",
    "import numpy\nfrom robustnb.lesson import measure\n"
    "measure('toy2020.C1.more', arms={'a': numpy.array([True])})": "is measured twice",
}


@pytest.mark.parametrize(("source", "why"), FAILING.items())
def test_a_cell_that_ends_or_spoils_its_run_is_named_and_the_notebook_kept(toy, edit, source, why):
    edit("import time\n", f"{source}\nimport time\n")
    with pytest.raises(RunError, match=why) as caught:
        run_one(
            toy, "toy2020", profiles.get(toy.notebooks, "smoke"), 0, ["size=7"],
            report=lambda _line: None,
        )  # fmt: skip
    first = str(caught.value).splitlines()[0]
    assert "toy2020-smoke-seed0" in first
    assert "code cell 2 (" in first or "measured" in first
    assert (toy.build / "failed" / "toy2020-smoke-seed0.ipynb").is_file()
    assert not list(toy.runs.rglob("record.json"))


def test_bytes_that_are_no_text_are_shown_as_such_and_kept(toy, edit):
    edit("import time\n", "import os, sys, time\nos.write(1, b'\\xff\\n')\nprint('\\udcff\\x00')\n")
    size = profiles.get(toy.notebooks, "smoke")
    folder = run_one(toy, "toy2020", size, 0, report=lambda _line: None)
    assert "\N{REPLACEMENT CHARACTER}" in (folder / "x.ipynb").read_text(encoding="utf-8")


def test_a_cell_tagged_as_papermill_tags_its_own_is_refused(toy):
    source = toy.notebook("toy2020")
    tagged = "\n```{code-cell} ipython3\n:tags: [injected-parameters]\n\nsize = 7\n```\n"
    source.write_text(source.read_text() + tagged)
    with pytest.raises(UsageError, match=r"toy2020\.md.*injected-parameters.*take the tag off"):
        run_one(
            toy, "toy2020", profiles.get(toy.notebooks, "smoke"), 0, [], report=lambda _line: None
        )


@pytest.mark.parametrize("part", ["toy2020.C1.less", "toy2021.C1.more"])
def test_a_measurement_that_no_verdict_would_see_is_refused_before_the_run(
    toy, robustnb, edit, part
):
    edit("toy2020.C1.more", part)
    code, _, err = robustnb("run", "toy2020", "--profile", "smoke")
    assert code == 2 and f"unknown part of a claim '{part}'; did you mean 'toy2020.C1.more'" in err
    assert "toy2020.md, code cell 3 (treated" in err and not list(toy.runs.rglob("record.json"))


def test_a_draft_without_a_registry_measures_what_it_likes(toy, robustnb, edit):
    edit("toy2020.C1.more", "toy2020.C9.other")
    (toy.claims / "toy2020.yaml").unlink()
    assert robustnb("run", "toy2020", "--profile", "smoke")[0] == 0


def test_an_arm_that_an_estimand_needs_and_no_measurement_has_is_told(toy, robustnb, edit):
    edit('"treated": treated', '"treatd": treated')
    code, _, err = robustnb("run", "toy2020", "--profile", "smoke")
    assert code == 0 and "toy2020.C1.more cannot be judged by this run" in err
    assert "nothing in it has the arm 'treated'; the part's measurement has control, treatd" in err


def test_a_key_of_the_header_that_is_misspelt_is_refused(toy, robustnb, edit):
    edit("datasets: []", "dataset: []")
    code, _, err = robustnb("run", "toy2020", "--profile", "smoke")
    assert code == 2 and "toy2020.md: the header must name parameters as `robustnb: {" in err
