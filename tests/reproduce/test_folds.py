"""What folds on a paper's page, and the line each fold shows."""

from __future__ import annotations

import base64
import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from bs4 import BeautifulSoup, Tag
from PIL import Image

from robustnb.lesson.check import Check
from robustnb.lesson.measurement import MIME
from robustnb.reproduce import folds

ROOT = Path(__file__).resolve().parents[2]


def check(name: str = "step", *, ok: bool = True, says: str = "") -> Check:
    return Check(
        id=name, ok=ok, says=says, kind="check", method="inequality", n=9, holds=ok,
        wrong_refuted=True, wrong_forms=("",), space="reals",
    )  # fmt: skip


def display(data: dict[str, Any]) -> Any:
    return nbformat.v4.new_output("display_data", data)


def of_check(*args: Any, **how: Any) -> Any:
    return display(check(*args, **how)._repr_mimebundle_())


def of_measure(claim: str, *checks: dict[str, Any]) -> Any:
    shown = {"text/plain": "measured", "text/html": '<div class="rnb-measure">measured</div>'}
    return display({MIME: {"claim": claim, "part": "p", "checks": list(checks)}, **shown})


def png() -> str:
    out = io.BytesIO()
    Image.new("RGB", (2, 2)).save(out, "PNG")
    return base64.b64encode(out.getvalue()).decode()


FIGURE = display({"image/png": png(), "text/plain": "Figure: a dot"})
TABLE = display({"text/html": "<table class='result'><tr><td>1</td></tr></table>"})


def cell(source: str, *outputs: Any, tags: tuple[str, ...] = (), title: str = "") -> Any:
    made = nbformat.v4.new_code_cell(source, outputs=list(outputs), execution_count=1)
    made.metadata["tags"] = list(tags)
    if title:
        made.metadata["fold"] = title
    return made


def marked(made: Any) -> dict[str, Any]:
    """What `mark` says of a cell; empty if it stays open."""
    folds.mark(nbformat.v4.new_notebook(cells=[made]))
    found: dict[str, Any] = made.metadata.get("robustnb", {}).get("fold", {})
    return found


def test_a_checked_cell_says_its_checks_by_what_they_say_or_else_by_name():
    made = cell("x = 1", of_check(says="the bound is tight"), of_check("lemma 2"))
    assert marked(made)["checks"] == [[True, "the bound is tight"], [True, "lemma 2"]]


def test_checks_that_a_measurement_reports_are_said_too():
    told = {"ok": False, "says": "it splits.", "id": "split"}
    made = cell("measure()", of_measure("toy.C1", told, {"ok": True, "says": "", "id": "name"}))
    assert marked(made)["checks"] == [[False, "it splits"], [True, "name"]]


def test_each_claim_that_a_cell_measures_is_named_once():
    made = cell("m", of_measure("toy.C2"), of_measure("toy.C1"), of_measure("toy.C2"))
    assert marked(made)["claims"] == ["C2", "C1"]


def test_a_cell_tagged_paper_code_stays_open():
    assert marked(cell("x = 1", tags=("paper-code",))) == {}


@pytest.mark.parametrize("tag", ["parameters", "injected-parameters"])
def test_parameters_say_so(tag):
    assert marked(cell("seed = 0", tags=(tag,)))["title"] == "Parameters of this run"


def test_tags_that_hide_give_way_to_the_fold_and_others_stay():
    made = cell("x", tags=("hide-input", "hide-cell", "mine"))
    assert marked(made)["whole"]
    assert made.metadata["tags"] == ["mine"]


def test_the_lines_of_code_are_counted_and_the_authors_title_kept():
    fold = marked(cell("a = 1\nb = 2", title="Training of the networks"))
    assert fold["lines"] == 2 and fold["title"] == "Training of the networks"


# ---- as the page shows it: every section below is one case ---------------------------------


def sections() -> dict[str, list[Any]]:
    steps = [of_check(says=f"step {k}") for k in range(1, 6)]
    return {
        "passed": [cell("check()", of_check(says="it holds"))],
        "neighbours": [cell("a()", *steps[:2]), cell("b()", *steps[2:])],
        "failed": [
            cell("a()", of_check(says="good")),
            cell("b()", of_check(ok=False, says="bad")),
        ],
        "paper": [cell("def loss(): pass", tags=("paper-code",))],
        "parameters": [cell("seed = 0", tags=("parameters",))],
        "plain": [cell("a = 1\nb = 2")],
        "titled": [cell("train()", title="Training"), cell("m()", of_measure("toy.C6"))],
        "figure": [cell("draw()", FIGURE), cell("other()", of_check(says="after"))],
        "table": [cell("tell()", TABLE, of_check(says="beside"))],
        "printed": [cell("print()", nbformat.v4.new_output("stream", text="in sight\n"))],
        "solution": [cell("solve()", FIGURE, TABLE, tags=("hide-cell",))],
    }


WRITTEN = """# written

:::{fold} What the runs *cost*
Seconds.
:::

## Proofs

```{prf:proof}
Split by the *sign* of $f$. Then compare.

1. First.
2. Second.
```

## Rest

Before.

:::{fold-rest} Three more losses
:::

After.

### Below

Deeper.

## Next

Beyond.
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> BeautifulSoup:
    """A page built by Sphinx, with a section for each case."""
    folder = tmp_path_factory.mktemp("folds")
    cells = [nbformat.v4.new_markdown_cell("# Page")]
    for name, code in sections().items():
        cells += [nbformat.v4.new_markdown_cell(f"## {name}"), *code]
    cells.append(nbformat.v4.new_markdown_cell(WRITTEN.replace("# written", "## written")))
    notebook = nbformat.v4.new_notebook(cells=cells)
    folds.mark(notebook)
    nbformat.write(notebook, folder / "page.ipynb")
    settings = [
        f"import sys; sys.path.insert(0, {str(ROOT / 'book' / '_ext')!r})",
        "extensions = ['myst_nb', 'sphinx_proof', 'folds']",
        "myst_enable_extensions = ['colon_fence', 'dollarmath']",
        "nb_execution_mode = 'off'",
        "root_doc = 'page'",
    ]
    (folder / "conf.py").write_text("\n".join(settings), encoding="utf-8")
    command = [sys.executable, "-m", "sphinx", "-q", str(folder), str(folder / "out")]
    subprocess.run(command, check=True)
    html = (folder / "out" / "page.html").read_text(encoding="utf-8")
    return BeautifulSoup(html, "html.parser")


@pytest.fixture
def case(page: BeautifulSoup):
    def find(name: str) -> Tag:
        found = page.find("section", id=name)
        assert isinstance(found, Tag)
        return found

    return find


def fold_of(section: Tag) -> Tag:
    """The only fold of a section."""
    (fold,) = section.find_all("details")
    return fold


def line_of(section: Tag) -> str:
    summary = fold_of(section).find("summary", recursive=False)
    return " ".join(summary.get_text().split())


def in_sight(section: Tag, what: str) -> list[Tag]:
    return [tag for tag in section.find_all(what) if not tag.find_parent("details")]


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("passed", "✓ Machine check passed: it holds"),
        ("neighbours", "✓ 5 machine checks passed: step 1; step 2; step 3; 2 more"),
        ("failed", "✗ 1 of 2 machine checks failed: bad"),
        ("parameters", "Parameters of this run"),
        ("plain", "Code, 2 lines"),
        ("titled", "Training · Measured for C6"),
        ("printed", "Code, 1 line"),
    ],
)
def test_a_fold_says_what_lies_in_it(case, name, line):
    assert line_of(case(name)) == line


def test_only_a_failed_check_opens_its_fold(case):
    assert fold_of(case("failed")).has_attr("open")
    assert not any(fold_of(case(name)).has_attr("open") for name in ("passed", "plain", "titled"))


def test_paper_code_is_in_sight(case):
    assert not case("paper").find_all("details")
    assert "def loss()" in case("paper").get_text()


def test_a_figure_stays_in_sight_and_ends_its_fold(case):
    first, second = case("figure").find_all("details")
    assert "draw()" in first.get_text() and "other()" in second.get_text()
    (image,) = in_sight(case("figure"), "img")
    assert image in first.find_all_next("img") and second in image.find_all_next("details")


def test_a_table_and_printed_text_stay_in_sight_and_checks_do_not(case):
    assert in_sight(case("table"), "table")
    assert not [tag for tag in in_sight(case("table"), "div") if "rnb-check" in tag["class"]]
    assert any("in sight" in tag.get_text() for tag in in_sight(case("printed"), "pre"))


def test_a_solution_is_folded_with_all_that_it_shows(case):
    assert len(fold_of(case("solution")).find_all("img")) == 1
    assert not in_sight(case("solution"), "img") and not in_sight(case("solution"), "table")


def test_authors_fold_any_markdown_under_a_line_of_their_own(page):
    (fold,) = [tag for tag in page.find_all("details") if "Seconds." in tag.get_text()]
    assert fold.summary.get_text().strip() == "What the runs cost" and fold.summary.em


def test_a_closed_proof_counts_its_steps_and_says_how_it_begins(case):
    assert line_of(case("proofs")).startswith("Proof in 2 steps. Split by the sign of")
    assert "Then compare" not in line_of(case("proofs"))
    assert "Then compare" in fold_of(case("proofs")).get_text()


def test_fold_rest_folds_all_that_follows_in_its_section_alone(case):
    fold = fold_of(case("rest"))
    assert line_of(case("rest")) == "Three more losses"
    assert "After." in fold.get_text() and "Deeper." in fold.get_text()
    assert "Before." not in fold.get_text()
    assert not case("next").find_parent("details")
