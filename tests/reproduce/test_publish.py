from __future__ import annotations

import json

import nbformat
import pytest

from robustnb.errors import UsageError
from robustnb.reproduce import convert, keys, pages, profiles
from robustnb.reproduce.choice import Choice
from robustnb.reproduce.ledger import ledger
from robustnb.reproduce.publish import publish
from robustnb.reproduce.registry import load_all


@pytest.fixture
def run(toy):
    return keys.resolve_run(toy, "toy2020", profiles.get(toy.notebooks, "laptop"), 0)


@pytest.fixture
def page(toy, run, made, leave_run):
    """Publish the run, with today's sources, and read the page."""
    folder = leave_run(run)
    papers = toy.root / "book" / "papers"

    def published(**where):
        drawn = ledger(load_all(toy.claims), [made(s) for s in range(5)], {}, draws=200)
        choice = Choice(run, "run", pages.of_run(folder), **where)
        changed = publish(toy, choice, drawn, papers)
        return changed, nbformat.read(papers / "toy2020.ipynb", as_version=4)

    published.path = papers / "toy2020.ipynb"
    return published


def test_outputs_are_the_runs_and_prose_and_comments_are_todays(page, edit):
    edit("Prose before.", "Prose of today.")
    edit("time.sleep(sleep)", "time.sleep(sleep)  # a comment of today")
    _, notebook = page()
    assert "Prose of today." in notebook.cells[0].source
    cells = convert.code_cells(notebook)
    assert any("# a comment of today" in cell.source for cell in cells)
    assert [cell.outputs[0].text for cell in cells] == [f"ran {k} at laptop\n" for k in range(1, 5)]
    assert [cell.execution_count for cell in cells] == [1, 2, 3, 4]


def test_the_alt_text_of_a_figure_is_handed_to_its_cell(page):
    _, notebook = page()
    cells = convert.code_cells(notebook)
    assert cells[-1].metadata["mystnb"]["image"]["alt"] == "A line."
    assert all("mystnb" not in cell.metadata for cell in cells[:-1])


def test_an_alt_text_that_the_author_gave_to_the_cell_stays(page, edit):
    own = "---\nmystnb:\n  image:\n    alt: My own words.\n---\n"
    edit('```{code-cell} ipython3\nprint(f"', f'```{{code-cell}} ipython3\n{own}print(f"')
    _, notebook = page()
    assert convert.code_cells(notebook)[-1].metadata["mystnb"]["image"]["alt"] == "My own words."


def test_the_parameters_used_stand_right_after_those_declared(page):
    _, notebook = page()
    index = next(i for i, c in enumerate(notebook.cells) if "parameters" in convert.tags(c))
    assert convert.tags(notebook.cells[index + 1]) == ["injected-parameters"]
    assert "size = 80" in notebook.cells[index + 1].source
    tagged = [c for c in notebook.cells if "injected-parameters" in convert.tags(c)]
    assert len(tagged) == 1


def test_placeholders_are_filled_with_the_ledger_and_with_the_parameters_of_the_run(page, edit):
    edit("Prose before.", "{{ verdict toy2020.C1 }}\n\n{{ param size }} and {{ param shift }}")
    _, notebook = page()
    prose = notebook.cells[0].source
    assert "(toy2020-c1)=" in prose and "rnb-holds" in prose
    assert "80 and 0" in prose  # laptop's size, and the default shift


def test_a_placeholder_in_code_is_code(page, edit):
    edit('{int(treated.sum())} of {size}")', '{int(treated.sum())} of {size}")  # {{ totals }}')
    _, notebook = page()
    assert "{{ totals }}" in convert.code_cells(notebook)[-1].source


def test_an_unknown_placeholder_writes_no_page(page, edit):
    edit("Prose before.", "{{ verdict toy2020.C7 }}")
    with pytest.raises(UsageError, match=r"did you mean 'toy2020\.C1'"):
        page()
    assert not page.path.exists()


def test_the_page_tells_which_run_it_shows(page, run):
    _, notebook = page(instead="nothing larger is there")
    assert notebook.metadata["robustnb"]["run"]["key"] == run.key
    assert "measurements" not in notebook.metadata["robustnb"]["run"]
    title, _, rest = notebook.cells[0].source.partition("\n\n")
    assert title == "# A toy paper"
    assert rest.startswith(
        ":::{div} rnb-run\nThis page shows the laptop run of this machine (seed 0, 2026-01-02 on "
        "Some CPU), because nothing larger is there."
    )


def test_a_page_without_a_title_tells_its_run_first(page, edit):
    edit("# A toy paper\n", "")
    assert page()[1].cells[0].source.startswith(":::{div} rnb-run\nThis page shows")


def test_nothing_changed_means_nothing_written(page, edit):
    assert page()[0]
    before = page.path.stat()
    assert not page()[0]
    after = page.path.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    edit("Prose before.", "Prose of today.")
    assert page()[0]


def test_the_bytes_are_the_same_when_it_is_written_anew(page):
    page()
    first = page.path.read_bytes()
    page.path.unlink()
    convert._read.cache_clear()
    page()
    assert page.path.read_bytes() == first
    ids = [cell["id"] for cell in json.loads(first)["cells"]]
    assert ids == [f"cell-{k:03d}" for k in range(len(ids))]


def test_a_run_of_other_code_cells_is_not_published(page, edit):
    edit('```{code-cell} ipython3\nprint(f"', '```{code-cell} ipython3\n1 + 1\n```\n\n'
         '```{code-cell} ipython3\nprint(f"')  # fmt: skip
    with pytest.raises(ValueError, match="shorter"):
        page()
    assert not page.path.exists()
