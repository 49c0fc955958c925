"""Formulas are in the pages as MathML, offline and with their TeX; wrong ones end a build."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import yaml
from bs4 import BeautifulSoup

ROOT = Path(__file__).resolve().parents[2]
PHONE = {"width": 390, "height": 844}
HEAVIEST = 1_500_000  # bytes of a page and all that it loads
MACROS = yaml.safe_load((ROOT / "_config.yml").read_text("utf-8"))["sphinx"]["config"]["tex_macros"]
COPIED = """() => {
  const data = new DataTransfer();
  const event = new ClipboardEvent('copy', {clipboardData: data, bubbles: true, cancelable: true});
  document.dispatchEvent(event);
  return data.getData('text/plain');
}"""


@pytest.fixture(scope="module")
def tex() -> ModuleType:
    sys.path.insert(0, str(ROOT / "book" / "_ext"))
    try:
        return importlib.import_module("tex_to_mathml")
    finally:
        sys.path.pop(0)


def soup(path: Path) -> BeautifulSoup:
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


def build(folder: Path, pages: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run Sphinx with the formulas' extension over some pages; the first is the root."""
    for name, text in pages.items():
        (folder / "src" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "src" / name).write_text(text, encoding="utf-8")
    settings = [
        f"import sys; sys.path.insert(0, {str(ROOT / 'book' / '_ext')!r})",
        "extensions = ['myst_nb', 'math_pages']",
        "myst_enable_extensions = ['amsmath', 'dollarmath']",
        "nb_execution_mode = 'off'",
        f"root_doc = {Path(next(iter(pages))).stem!r}",
        f"tex_macros = {MACROS!r}",
    ]
    (folder / "src" / "conf.py").write_text("\n".join(settings), encoding="utf-8")
    return subprocess.run(
        [sys.executable, "-m", "sphinx", "-q", str(folder / "src"), str(folder / "out")],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    "formula",
    [r"\nosuchmacro{x}", r"\frac{1}", r"\left( x", r"x^2^3", r"\label{a} x", r"\text{日}"],
)
@pytest.mark.parametrize("dollars", ["$", "$$"])
def test_a_wrong_formula_ends_the_build_and_is_named(
    tmp_path: Path, formula: str, dollars: str
) -> None:
    text = f"# Page\n\nSome words.\n\n{dollars}{formula}{dollars}\n"
    result = build(tmp_path, {"page.md": text})
    assert result.returncode != 0
    assert "page.md:5" in result.stdout and formula in result.stdout
    assert not (tmp_path / "out" / "page.html").exists()


def test_a_wrong_formula_of_a_notebook_is_named_by_its_cell(tmp_path: Path) -> None:
    cells = [
        {"cell_type": "markdown", "metadata": {}, "source": source}
        for source in ("# Page", "Words.\n\nThen $\\nosuchmacro$.")
    ]
    notebook = json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 4})
    result = build(tmp_path, {"page.ipynb": notebook})
    assert result.returncode != 0
    assert "page.ipynb, cell 2, line 3" in result.stdout


def test_titles_the_search_and_alternative_texts_get_formulas_as_plain_text(tmp_path: Path) -> None:
    page = "# The $\\psi$-transform\n\n## Risk $\\Rrob$\n\n"
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "x.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    figure = "```{figure} x.svg\n:alt: the $\\hat\\theta$ line\n```\n"
    result = build(tmp_path, {"page.md": page + figure})
    assert result.returncode == 0, result.stdout
    made = soup(tmp_path / "out" / "page.html")
    assert made.title is not None and "The ψ-transform" in made.title.text
    assert "annotation" not in made.title.text and "psi" not in made.title.text
    assert made.select_one("h1 math") is not None
    assert made.select("img")[-1]["alt"] == "the θ̂ line"
    index = (tmp_path / "out" / "searchindex.js").read_text(encoding="utf-8")
    assert "R_rob" in index and "mathcal" not in index


def test_equations_are_numbered_and_cited_within_their_page(tmp_path: Path) -> None:
    page = "# Page\n\n$$a=b$$ (one)\n\n\\begin{align}c&=d\\\\e&=f\\end{align}\n\nSee {eq}`one`.\n"
    result = build(tmp_path, {"page.md": page})
    assert result.returncode == 0, result.stdout
    made = soup(tmp_path / "out" / "page.html")
    numbers = [tag.text.rstrip("#¶") for tag in made.select(".math .eqno")]
    assert numbers == ["(1)", "(2)"]
    assert "See (1)" in made.text
    assert made.select("math .tml-eqn") == []


@pytest.mark.parametrize(
    ("formula", "rows"),
    [
        (r"\begin{aligned}a&=b\\c&=d\\e&=f\end{aligned}", 3),
        (r"x=\begin{cases}0&a\\1&b\end{cases}", 2),
        (r"\begin{gathered}a\\b\end{gathered}", 2),
        (r"\begin{align*}a&=b\\c&=d\end{align*}", 2),
        (r"a\\b", 2),
        ("a=b\n\nc=d", 2),
        (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", 2),
    ],
)
def test_every_row_of_a_display_is_kept(tex: ModuleType, formula: str, rows: int) -> None:
    made = tex.typeset(formula, {}, display=True)
    assert made.mathml.count("<mtr") == rows


@pytest.mark.parametrize(
    ("formula", "piece"),
    [
        (r"\operatorname*{arg\,max}_x f", "<munder>"),
        (r"\mathbb R", "ℝ"),
        (r"\mathcal L", "ℒ"),
        (r"\tfrac12", "<mfrac"),
        (r"\underbrace{a+b}_{c}", "⏟"),
        (r"x=1 \tag{3.2}", "(3.2)"),
        (r"\left\lVert\frac ab\right\rVert", 'stretchy="true"'),
    ],
)
def test_the_commands_of_the_pages_come_out(tex: ModuleType, formula: str, piece: str) -> None:
    assert piece in tex.typeset(formula, {}, display=True).mathml


@pytest.mark.parametrize("name", MACROS)
def test_every_macro_is_typeset_and_copied_without_itself(tex: ModuleType, name: str) -> None:
    macros = tex.macros_of(MACROS)
    made = tex.typeset(rf"x_\{name}{{y}} + \{name}{{z}}", macros, display=True)
    source = re.search(r"<annotation[^>]*>(.*)</annotation>", made.mathml, re.DOTALL)
    assert source is not None
    assert not re.search(rf"\\{name}(?![A-Za-z])", source[1])


def test_a_macro_that_never_ends_is_refused(tex: ModuleType) -> None:
    with pytest.raises(tex.FormulaError, match="do not end"):
        tex.typeset(r"\a", {"a": r"\a x"}, display=False)


@pytest.mark.parametrize(
    ("formula", "plain"),
    [
        (r"\mathcal R_{\mathrm{rob}}(f)\le\frac12", "R_rob(f) ≤ 1/2"),
        (r"\hat\theta'", "θ̂′"),
        (r"\sqrt{a+b}^{\,2}", "√(a+b)^2"),
        (r"\{x:\ \|x\|_\infty\le\epsilon\}", "{x : ‖x‖_∞ ≤ ε}"),
    ],
)
def test_plain_text_can_be_read(tex: ModuleType, formula: str, plain: str) -> None:
    assert tex.typeset(formula, {}, display=False).plain == plain


def test_every_formula_of_a_page_is_mathml_with_its_tex(site: Path, page: str) -> None:
    made = soup(site / f"{page}.html")
    nodes = made.select(".math")
    bare = [n.text[:80] for n in nodes if len(n.select("math annotation")) != 1]
    assert bare == []
    assert len(made.select("article math")) == len(made.select("article .math"))
    for node in made.select(".math, pre, code, script"):
        node.decompose()
    assert re.findall(r"\$[^$\n]+\$|\\[(\[]|\\[a-z]{3,}", made.select_one("article").text) == []


def test_no_mathjax_is_left(site: Path) -> None:
    names = [str(p) for p in site.rglob("*") if "mathjax" in p.name.lower()]
    pages = [p.name for p in site.rglob("*.html") if "mathjax" in p.read_text("utf-8").lower()]
    assert names + pages == []


def test_the_fonts_licence_is_beside_it(site: Path) -> None:
    assert "SIL OPEN FONT LICENSE" in (site / "_static" / "math_font.LICENSE").read_text("utf-8")


def test_formulas_stand_without_javascript(browser: Any, site: Path, paper: str) -> None:
    context = browser.new_context(java_script_enabled=False)
    tab = context.new_page()
    tab.goto((site / f"{paper}.html").as_uri())
    boxes = [tab.locator(".math math").nth(k).bounding_box() for k in range(10)]
    context.close()
    assert all(box and box["width"] > 3 and box["height"] > 3 for box in boxes)


def test_formulas_are_drawn_in_their_own_font(browser: Any, site: Path) -> None:
    tab = browser.new_page()
    tab.goto((site / "book" / "notation.html").as_uri())
    tab.wait_for_function("document.fonts.check('16px \"robustnb math\"', '𝜓')")
    assert "robustnb math" in tab.evaluate(
        "getComputedStyle(document.querySelector('mi')).fontFamily"
    )
    tab.close()


def test_a_copied_sentence_holds_the_tex_of_its_formulas(browser: Any, site: Path) -> None:
    tab = browser.new_page()
    tab.goto((site / "book" / "notation.html").as_uri())
    text, formulas = tab.evaluate(
        """() => {
          const begins = node => node.firstChild.nodeType === Node.TEXT_NODE;
          const node = [...document.querySelectorAll('article p:has(.math)')].find(begins);
          getSelection().selectAllChildren(node);
          return [node.firstChild.textContent.trim().split(' ')[0],
                  [...node.querySelectorAll('annotation')].map(n => n.textContent)];
        }"""
    )
    copied = tab.evaluate(COPIED)
    tab.close()
    assert text in copied
    assert formulas and all(f"${formula}$" in copied for formula in formulas)


def test_part_of_a_formula_is_copied_whole(browser: Any, site: Path) -> None:
    tab = browser.new_page()
    tab.goto((site / "book" / "notation.html").as_uri())
    wanted = tab.evaluate(
        """() => {
          const math = document.querySelector('article div.math math');
          getSelection().selectAllChildren(math.querySelector('mi'));
          return math.querySelector('annotation').textContent;
        }"""
    )
    copied = tab.evaluate(COPIED)
    tab.close()
    assert copied == f"$$\n{wanted.strip()}\n$$"


def test_a_wide_display_scrolls_in_its_box_and_shows_it(
    browser: Any, site: Path, paper: str
) -> None:
    tab = browser.new_page(viewport=PHONE)
    tab.goto((site / f"{paper}.html").as_uri())
    tab.wait_for_selector(".rnb-formula.rnb-wide", state="attached")
    wide = tab.evaluate(
        """() => {
          document.querySelectorAll('details').forEach(node => node.open = true);
          const box = document.querySelector('.rnb-formula.rnb-wide');
          const edges = () => ['left', 'right']
            .map(side => parseFloat(getComputedStyle(box).getPropertyValue('--rnb-' + side)));
          const start = edges();
          box.scrollLeft = 1e6;
          return new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done({
            start, end: edges(), moved: box.scrollLeft, reached: box.tabIndex,
            page: document.documentElement.scrollWidth - innerWidth,
          }))));
        }"""
    )
    tab.close()
    assert wide["page"] <= 0 < wide["moved"]
    assert wide["start"][0] == 0 < wide["start"][1]
    assert wide["end"][0] > 0 == wide["end"][1]
    assert wide["reached"] == 0


def test_paper_shows_a_wide_display_whole(browser: Any, site: Path, paper: str) -> None:
    tab = browser.new_page()
    tab.goto((site / f"{paper}.html").as_uri())
    tab.emulate_media(media="print")
    style = tab.evaluate(
        """() => {
          const style = getComputedStyle(document.querySelector('.rnb-formula'));
          return [style.overflowX, style.maskImage];
        }"""
    )
    assert style == ["visible", "none"]
    tab.close()


def test_a_page_is_light(browser: Any, site: Path, page: str) -> None:
    tab = browser.new_page()
    loaded: set[Path] = set()
    tab.on("request", lambda request: loaded.add(Path(unquote(urlsplit(request.url).path))))
    tab.goto((site / f"{page}.html").as_uri())
    tab.wait_for_load_state("networkidle")
    tab.close()
    weights = {path.name: path.stat().st_size for path in loaded if path.is_file()}
    heaviest = sorted(weights.items(), key=lambda item: -item[1])[:5]
    assert sum(weights.values()) < HEAVIEST, heaviest
