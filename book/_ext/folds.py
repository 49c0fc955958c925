"""Two depths of a page: what a referee reads lies in folds, each under one line with its result.

Folds are plain `<details>`: they open with a key, without JavaScript, and one switch opens all.
Runs of neighbouring code cells share a fold; their figures and tables stay in sight. A proof is
a fold too. Authors write one as

    :::{fold} What the runs cost
    any Markdown
    :::

and `:::{fold-rest} Three more losses, each with its transform` folds all that follows it in its
section, whose heading stays in sight, or what follows up to a `:::{fold-end}` in that section.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.docutils import SphinxDirective
from sphinx.util.logging import getLogger
from sphinx_proof.nodes import proof_node

LOGGER = getLogger(__name__)
_LISTED = 3  # checks that a line names before it counts the rest
_PROOF = "Proof. "
_REFEREE = ('class="rnb-check', 'class="rnb-measure')
Json = Mapping[str, Any]


class fold(nodes.General, nodes.Element):
    """A part of the page that is closed at first; `kind` is its class: code, proof, more."""


class fold_summary(nodes.General, nodes.TextElement):
    """The line that a closed fold shows."""


class fold_end(nodes.General, nodes.Element):
    """Where the fold of a part of a section ends; nothing of it is shown."""


def visit_fold(self: Any, node: fold) -> None:
    opened = " open" if node.get("open") else ""
    self.body.append(f'<details class="rnb-fold rnb-fold-{node["kind"]}"{opened}>\n')


def depart_fold(self: Any, node: fold) -> None:
    self.body.append("</details>\n")


def visit_summary(self: Any, node: fold_summary) -> None:
    self.body.append("<summary>")


def depart_summary(self: Any, node: fold_summary) -> None:
    self.body.append("</summary>\n")


def pass_by(self: Any, node: nodes.Node) -> None:
    """Formats without folds show what lies in them."""


class Fold(SphinxDirective):
    """`fold`: its argument is the line shown, its content what is folded."""

    required_arguments = 1
    final_argument_whitespace = True
    has_content = True

    def run(self) -> list[nodes.Node]:
        line, messages = self.state.inline_text(self.arguments[0], self.lineno)
        node = fold("", fold_summary("", "", *line), kind="more")
        self.state.nested_parse(self.content, self.content_offset, node)
        return [node, *messages]


class FoldRest(SphinxDirective):
    """`fold-rest`: its argument is the line shown, the rest of its section is folded."""

    required_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        line, messages = self.state.inline_text(self.arguments[0], self.lineno)
        return [fold("", fold_summary("", "", *line), kind="section", rest=True), *messages]


class FoldEnd(SphinxDirective):
    """`fold-end`: what follows is no longer part of the `fold-rest` before it."""

    def run(self) -> list[nodes.Node]:
        return [fold_end()]


class FoldSections(SphinxPostTransform):
    """Moves the rest of a section, or its part up to an end, into the fold that stands before."""

    default_priority = 8

    def run(self, **kwargs: Any) -> None:
        for node in [n for n in self.document.findall(fold) if n.get("rest")]:
            siblings = node.parent.children
            start = siblings.index(node) + 1
            ends = (at for at in range(start, len(siblings)) if isinstance(siblings[at], fold_end))
            end = next(ends, len(siblings))
            inside = siblings[start:end]
            del siblings[start : end + 1]
            node.extend(inside)
        for left in list(self.document.findall(fold_end)):
            LOGGER.warning("a fold-end has no fold-rest before it in its section", location=left)
            left.parent.remove(left)


class FoldCells(SphinxPostTransform):
    """Folds code cells that the page's notebook marks, neighbours together."""

    default_priority = 6  # after myst-nb has chosen what to show of an output

    def run(self, **kwargs: Any) -> None:
        for parent in {id(c.parent): c.parent for c in self.document.findall(_is_marked)}.values():
            rebuilt: list[nodes.Node] = []
            for run in _runs(parent.children):
                rebuilt += _folded(run) if _is_marked(run[0]) else run
            parent.children = []
            parent.extend(rebuilt)


class FoldProofs(SphinxPostTransform):
    """Folds each proof under a line that counts its steps and says how it begins."""

    default_priority = 7

    def run(self, **kwargs: Any) -> None:
        for proof in list(self.document.findall(proof_node)):
            line = _proof_line(proof)
            proof.replace_self(fold("", line, *_proof_body(proof), kind="proof"))


def _is_marked(node: nodes.Node) -> bool:
    return (
        isinstance(node, nodes.container)
        and node.get("nb_element") == "cell_code"
        and "fold" in node["cell_metadata"].get("robustnb", {})
    )


def _mark(cell: nodes.Node) -> Json:
    """What robustnb.reproduce.folds says of a cell."""
    assert isinstance(cell, nodes.Element)
    found: Json = cell["cell_metadata"]["robustnb"]["fold"]
    return found


def _runs(children: Sequence[nodes.Node]) -> Iterator[list[nodes.Node]]:
    """The children in order; marked cells are together up to one that shows something."""
    run: list[nodes.Node] = []
    for child in children:
        if _is_marked(child):
            run.append(child)
            if not _shown(child):
                continue
        if run:
            yield run
            run = []
        if not _is_marked(child):
            yield [child]
    if run:
        yield run


def _outputs(cell: nodes.Element) -> list[nodes.Node]:
    return [
        output
        for part in cell.children
        if isinstance(part, nodes.Element) and part.get("nb_element") == "cell_code_output"
        for output in part.children
    ]


def _for_referees(output: nodes.Node) -> bool:
    return isinstance(output, nodes.raw) and any(mark in output.astext() for mark in _REFEREE)


def _shown(cell: nodes.Node) -> list[nodes.Node]:
    """The outputs that stay in sight: figures, tables, printed text."""
    assert isinstance(cell, nodes.Element)
    if _mark(cell)["whole"]:
        return []
    return [output for output in _outputs(cell) if not _for_referees(output)]


def _folded(cells: Sequence[nodes.Node]) -> list[nodes.Node]:
    """A fold with the cells, and after it the outputs that stay in sight."""
    visible = [output for cell in cells for output in _shown(cell)]
    for output in visible:
        output.parent.remove(output)
    marks = [_mark(cell) for cell in cells]
    failed = any(not ok for mark in marks for ok, _ in mark["checks"])
    node = fold("", fold_summary("", _line(marks)), *cells, kind="code", open=failed)
    if not visible:
        return [node]
    output = nodes.container("", *visible, nb_element="cell_code_output", classes=["cell_output"])
    return [node, nodes.container("", output, classes=["cell"])]


def _line(marks: Sequence[Json]) -> str:
    """One line about a fold's cells: what they are, what their checks found, what they measure."""
    titles = list(dict.fromkeys(mark["title"] for mark in marks if mark["title"]))
    checks = [check for mark in marks for check in mark["checks"]]
    claims = list(dict.fromkeys(claim for mark in marks for claim in mark["claims"]))
    told = titles + ([_checked(checks)] if checks else [])
    if claims and not checks:
        told.append(f"Measured for {', '.join(claims)}")
    if not told:
        lines = sum(mark["lines"] for mark in marks)
        told = [f"Code, {lines} line{'s' * (lines != 1)}"]
    return " · ".join(told)


def _checked(checks: Sequence[Sequence[Any]]) -> str:
    passed, says = sum(ok for ok, _ in checks), [says for _, says in checks]
    if passed < len(checks):
        says = [says for ok, says in checks if not ok]
        head = f"✗ {len(says)} of {len(checks)} machine checks failed"
    elif len(checks) == 1:
        head = "✓ Machine check passed"
    else:
        head = f"✓ {len(checks)} machine checks passed"
    rest = f"; {len(says) - _LISTED} more" if len(says) > _LISTED else ""
    return f"{head}: {'; '.join(says[:_LISTED])}{rest}"


def _proof_body(proof: nodes.Element) -> list[nodes.Node]:
    """What follows the word Proof, which the line of the fold says already."""
    (box,) = proof.children
    assert isinstance(box, nodes.admonition)
    text = next(iter(box.findall(nodes.Text)))
    text.parent.replace(text, nodes.Text(str(text).removeprefix(_PROOF)))
    return list(box.children)


def _proof_line(proof: nodes.Element) -> fold_summary:
    """`Proof in 5 steps`, and until it is opened the first sentence before the steps."""
    body = _proof_body(proof)
    steps = sum(len(node.children) for node in body if isinstance(node, nodes.enumerated_list))
    line = fold_summary("", "", nodes.strong("", "Proof"))
    if steps:
        line += nodes.Text(f" in {steps} steps" if steps > 1 else " in one step")
    if isinstance(body[0], nodes.paragraph):
        line += nodes.inline("", ". ", *_first_sentence(body[0]), classes=["rnb-hint"])
    return line


def _first_sentence(paragraph: nodes.paragraph) -> list[nodes.Node]:
    """The inline nodes of a paragraph up to its first full stop; references lose their links."""
    told: list[nodes.Node] = []
    for child in paragraph.children:
        if isinstance(child, nodes.Text):
            text, stop, _ = str(child).replace("\n", " ").partition(". ")
            told.append(nodes.Text(text + ("." if stop else "")))
            if stop:
                return told
        elif isinstance(child, nodes.reference):
            told.append(nodes.Text(child.astext()))
        else:
            told.append(child.deepcopy())
    return told


def setup(app: Sphinx) -> dict[str, Any]:
    html = (visit_fold, depart_fold)
    other = (pass_by, pass_by)
    app.add_node(fold, html=html, latex=other, text=other)
    app.add_node(fold_summary, html=(visit_summary, depart_summary), latex=other, text=other)
    app.add_directive("fold", Fold)
    app.add_directive("fold-rest", FoldRest)
    app.add_directive("fold-end", FoldEnd)
    app.add_post_transform(FoldCells)
    app.add_post_transform(FoldProofs)
    app.add_post_transform(FoldSections)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
