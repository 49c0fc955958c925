"""Formulas typeset when the book is built: MathML in the pages, and nothing to run for a reader.

The macros are `tex_macros` of the configuration. A formula that cannot be typeset ends the build
with its page, line and TeX. Headings keep their formulas; the browser's title, the search and
alternative texts get them as plain text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.builders.html import StandaloneHTMLBuilder
from sphinx.environment import BuildEnvironment
from sphinx.errors import SphinxError
from sphinx.util.math import get_node_equation_number
from sphinx.writers.html5 import HTML5Translator

from tex_to_mathml import Formula, FormulaError, macros_of, typeset

RENDERER = "mathml"
LINES_OF_A_CELL = 10_000  # myst-nb numbers line 3 of the second cell 20004
IN_DOLLARS = re.compile(r"\$([^$\n]+)\$")


class WrongFormulas(SphinxError):
    """Formulas of the book cannot be typeset."""

    category = "Formulas"


@cache
def formula(tex: str, display: bool, macros: tuple[tuple[str, str], ...]) -> Formula:
    """`typeset`, once for each formula."""
    return typeset(tex, dict(macros), display=display)


def formula_of(app: Sphinx, node: nodes.math | nodes.math_block) -> Formula:
    """The typeset formula of a node; its TeX stays the node's text until the page is written."""
    macros = tuple(macros_of(app.config.tex_macros).items())
    return formula(node.get("tex", node.astext()), isinstance(node, nodes.math_block), macros)


def is_formula(node: nodes.Node) -> bool:
    return isinstance(node, nodes.math | nodes.math_block)


def place(app: Sphinx, docname: str, node: nodes.Node) -> str:
    """Where a node stands: file and line, or file, cell and line."""
    path = app.env.doc2path(docname, base=False)
    line: int | None = None
    walker: nodes.Node | None = node
    while walker is not None and line is None:
        line, walker = walker.line, walker.parent
    if line is None:
        return str(path)
    if str(path).endswith(".ipynb"):
        return f"{path}, cell {line // LINES_OF_A_CELL}, line {line % LINES_OF_A_CELL - 1}"
    return f"{path}:{line}"


@dataclass
class Checker:
    """Typesets every formula of the pages that are read, and ends the build if some are wrong."""

    wrong: list[str] = field(default_factory=list)

    def read(self, app: Sphinx, doctree: nodes.document) -> None:
        """Typeset the formulas of one page, those of its alternative texts too."""
        for node in doctree.findall(is_formula):
            try:
                formula_of(app, node)
            except FormulaError as error:
                where = place(app, app.env.docname, node)
                self.wrong.append(f"{where}: {error}\n    {node.astext().strip()}")
        for image in doctree.findall(nodes.image):
            image["alt"] = IN_DOLLARS.sub(
                lambda m: formula_of(app, nodes.math(m[1], m[1])).plain, image.get("alt", "")
            )

    def finish(self, _app: Sphinx, _env: BuildEnvironment) -> None:
        """Tell all wrong formulas before a page is written."""
        if self.wrong:
            found = [f"ERROR: {told}" for told in self.wrong]
            raise WrongFormulas("\n".join(["some cannot be typeset:", *found]))


def plain_titles(app: Sphinx, _doctree: nodes.document) -> None:
    """Page titles, as browsers and links to the next page show them, in plain text."""
    for titles in (app.env.titles, app.env.longtitles):
        if (title := titles.get(app.env.docname)) is not None:
            for node in list(title.findall(nodes.math)):
                node.parent.replace(node, nodes.Text(formula_of(app, node).plain))


def prepare(app: Sphinx, doctree: nodes.document, _docname: str) -> None:
    """Let the text of a formula be plain from here on, and join it to the word it is part of."""
    if app.builder.format != "html":
        return
    for node in list(doctree.findall(is_formula)):
        plain = formula_of(app, node).plain
        node["tex"] = node.astext()
        node.children = []
        node += nodes.Text(plain)
        if isinstance(node, nodes.math):
            join(node)


def join(node: nodes.math) -> None:
    """Keep `(` before and `,` or `-ball` behind a formula on its line.

    A browser may end a line on either side of a formula, whatever stands there.
    """
    parent = node.parent
    at = parent.index(node)
    before = parent[at - 1] if at else None
    behind = parent[at + 1] if at + 1 < len(parent) else None
    head = re.search(r"\S{1,12}$", before) if isinstance(before, nodes.Text) else None
    tail = re.match(r"\S{1,12}", behind) if isinstance(behind, nodes.Text) else None
    if head is None and tail is None:
        return
    joined = nodes.inline(classes=["rnb-joined"])
    parent[at] = joined
    if head is not None:
        parent[at - 1] = nodes.Text(before[: head.start()])
        joined += nodes.Text(head[0])
    joined += node
    if tail is not None:
        parent[at + 1] = nodes.Text(behind[tail.end() :])
        joined += nodes.Text(tail[0])


def visit_math(self: HTML5Translator, node: nodes.math) -> None:
    """A formula inside a line."""
    made = formula_of(self.builder.app, node)
    names = "math" + " rnb-long" * made.is_long
    self.body.append(self.starttag(node, "span", "", CLASS=names) + made.mathml + "</span>")
    raise nodes.SkipNode


def visit_displayed(self: HTML5Translator, node: nodes.math_block) -> None:
    """A formula on its own lines, with its number beside it."""
    made = formula_of(self.builder.app, node)
    self.body.append(self.starttag(node, "div", CLASS="math"))
    self.body.append(f'<div class="rnb-formula">{made.mathml}</div>')
    if node.get("number"):
        self.body.append(f'<span class="eqno">({get_node_equation_number(self, node)})')
        self.add_permalink_ref(node, "Link to this equation")
        self.body.append("</span>")
    self.body.append("</div>\n")
    raise nodes.SkipNode


def add_files(app: Sphinx) -> None:
    """Put the font, the style and the copying of formulas into every page."""
    if isinstance(app.builder, StandaloneHTMLBuilder):
        app.add_css_file("math_font.css")
        app.add_css_file("math.css")
        app.add_js_file("math.js", loading_method="defer")


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_config_value("tex_macros", {}, "env")
    app.add_html_math_renderer(RENDERER, (visit_math, None), (visit_displayed, None))
    app.connect("builder-inited", add_files)
    checker = Checker()
    app.connect("doctree-read", checker.read)
    app.connect("doctree-read", plain_titles, priority=900)
    app.connect("env-updated", checker.finish)
    app.connect("doctree-resolved", prepare, priority=900)
    # V8 does not survive the fork by which Sphinx would read or write pages side by side.
    return {"parallel_read_safe": False, "parallel_write_safe": False}
