"""Definitions, theorems and their like: how a page numbers them, and the index of them all.

A title that begins with the paper's own number ("Theorem 3.1, repaired"), or ends with it in
brackets ("Lower bound (Theorem 11)"), gives the label, and the rest is the title. All others are
numbered within their page, each kind by itself, and lettered where the paper's own numbers of that
kind are whole, too. `{prf:ref}` shows the label, with the title where two results of a page share
one ("Theorem 3.1 (repaired)"). The directive `index-of-results` lists them, page after page, in the
order of the table of contents.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from string import ascii_uppercase
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import make_refnode
from sphinx.writers.html5 import HTML5Translator
from sphinx_proof.nodes import NODE_TYPES

KINDS = "Theorem|Lemma|Proposition|Corollary|Definition|Assumption|Algorithm|Meta-Algorithm|Claim"
NUMBER = rf"(?:{KINDS}) [A-Z]?\d+(?:\.\d+)*"
LABEL = rf"{NUMBER}(?: and {NUMBER})*(?: of [^,(]+)?"
BEGINS = re.compile(rf"\s*({LABEL})(?=[\s,:(]|$)[,:]?\s*")
ENDS = re.compile(rf"\s*\(({LABEL})\)\s*$")


class result(nodes.Admonition, nodes.Element):
    """A numbered definition, theorem or the like, with its label in its title."""


class results_index(nodes.General, nodes.Element):
    """Where the index of results will stand."""


def own_label(title: nodes.title) -> str:
    """The paper's own number in `title`, taken out of it; empty if there is none."""
    texts = list(title.findall(nodes.Text))
    if not texts:
        return ""
    for text, pattern in ((texts[0], BEGINS), (texts[-1], ENDS)):
        found = pattern.match(text) if pattern is BEGINS else pattern.search(text)
        if found:
            text.parent.replace(text, nodes.Text(text[: found.start()] + text[found.end() :]))
            unwrap_brackets(title)
            return found[1].strip()
    return ""


def unwrap_brackets(title: nodes.title) -> None:
    """Take off the brackets round a title, as its label puts it into brackets again."""
    first, last = title.children[0], title.children[-1]
    if first.astext().startswith("(") and last.astext().endswith(")"):
        if isinstance(first, nodes.Text) and isinstance(last, nodes.Text):
            title.replace(first, nodes.Text(first[1:]))
            title.replace(title.children[-1], nodes.Text(title.children[-1][:-1]))


def labels_of(results: list[nodes.Element]) -> list[str]:
    """The label of each result of a page; a paper's own number is taken out of the title."""
    own = [own_label(node.children[0]) for node in results]
    whole = {label.rpartition(" ")[0] for label in own if label.rpartition(" ")[2].isdigit()}
    seen: Counter[str] = Counter()
    labels = []
    for node, label in zip(results, own, strict=True):
        kind = node["realtype"].capitalize()
        if not label:
            label = f"{kind} {ascii_uppercase[seen[kind]] if kind in whole else seen[kind] + 1}"
            seen[kind] += 1
        labels.append(label)
    return labels


def number_results(app: Sphinx, doctree: nodes.document) -> None:
    """Give the results of one page their labels, and note them for references and the index."""
    found: dict[str, dict[str, Any]] = {}
    results = list(doctree.findall(lambda node: isinstance(node, tuple(NODE_TYPES.values()))))
    labels = labels_of(results)
    for node, label in zip(results, labels, strict=True):
        title, content = node.children
        name = [child.deepcopy() for child in title.children if child.astext()]
        shared = bool(name) and labels.count(label) > 1
        found[node["label"]] = {
            "label": label, "title": name, "shared": shared, "id": node["ids"][0]
        }  # fmt: skip
        content["ids"] = [f"{node['ids'][0]}-content"]  # sphinx-proof names all alike
        shown = nodes.title("", "", nodes.inline("", label, classes=["caption-number"]))
        if name:
            shown += [nodes.Text(" ("), *name, nodes.Text(")")]
        node.replace_self(result("", shown, content, ids=node["ids"], classes=node["classes"]))
    results_of(app.env)[app.env.docname] = found


def results_of(env: BuildEnvironment) -> dict[str, dict[str, dict[str, Any]]]:
    """Results by page and name."""
    if not hasattr(env, "numbered_results"):
        env.numbered_results = {}  # type: ignore[attr-defined]
    return env.numbered_results  # type: ignore[attr-defined, no-any-return]


def forget(_app: Sphinx, env: BuildEnvironment, docname: str) -> None:
    results_of(env).pop(docname, None)


class ResultReferences(SphinxPostTransform):
    """References to results, before sphinx-proof looks for numbers that it no longer gives."""

    default_priority = 5

    def run(self, **_kwargs: Any) -> None:
        known = {
            name: (docname, entry)
            for docname, entries in results_of(self.env).items()
            for name, entry in entries.items()
        }
        for node in list(self.document.findall(pending_xref)):
            if node.get("refdomain") != "prf" or node["reftarget"] not in known:
                continue
            docname, entry = known[node["reftarget"]]
            text = node.astext()
            shown = cited(entry) if text == node["reftarget"] else [nodes.Text(text)]
            node.replace_self(
                make_refnode(self.app.builder, self.env.docname, docname, entry["id"], shown)
            )


def cited(entry: dict[str, Any]) -> list[nodes.Node]:
    """What a reference without words of its own shows."""
    label = nodes.Text(entry["label"])
    if not entry["shared"]:
        return [label]
    title = (child.deepcopy() for child in entry["title"])
    return [label, nodes.Text(" ("), *title, nodes.Text(")")]


class IndexOfResults(SphinxDirective):
    """List all results of the book."""

    def run(self) -> list[nodes.Node]:
        return [results_index()]


def in_order(env: BuildEnvironment, docname: str) -> Iterator[str]:
    """The pages of the table of contents, from `docname` down."""
    yield docname
    for below in env.toctree_includes.get(docname, []):
        yield from in_order(env, below)


def fill_index(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Put the results of the book in the place of `results_index`."""
    for place in list(doctree.findall(results_index)):
        shown: list[nodes.Node] = []
        for page in in_order(app.env, app.config.root_doc):
            if entries := results_of(app.env).get(page):
                shown += listed(app, docname, page, list(entries.values()))
        place.replace_self(shown)


def listed(app: Sphinx, docname: str, page: str, entries: list[dict[str, Any]]) -> list[nodes.Node]:
    """One page's results under the page's title."""
    heading = make_refnode(app.builder, docname, page, None, app.env.titles[page].deepcopy())
    heading.children = [child.deepcopy() for child in app.env.titles[page].children]
    items = nodes.bullet_list(classes=["rnb-results"])
    for entry in entries:
        link = make_refnode(app.builder, docname, page, entry["id"], nodes.Text(entry["label"]))
        line = nodes.paragraph("", "", link)
        if entry["title"]:
            line += [nodes.Text(" "), *(child.deepcopy() for child in entry["title"])]
        items += nodes.list_item("", line)
    return [nodes.rubric("", "", heading), items]


def visit_result(self: HTML5Translator, node: result) -> None:
    self.body.append(self.starttag(node, "div", CLASS="admonition"))


def depart_result(self: HTML5Translator, _node: result) -> None:
    self.body.append("</div>\n")


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_node(result, html=(visit_result, depart_result))
    app.add_node(results_index)
    app.add_directive("index-of-results", IndexOfResults)
    app.add_post_transform(ResultReferences)
    app.connect("env-purge-doc", forget)
    app.connect("doctree-read", number_results, priority=50)
    app.connect("doctree-resolved", fill_index)
    return {"parallel_read_safe": False, "parallel_write_safe": True}
