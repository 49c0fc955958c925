"""What helps a reader across pages: glossary entries at their terms, a search that needs no server.

Search. Sphinx fetches each page that it found in order to show an excerpt, which a browser refuses
for files of a disk, and it links to pages, not sections. Here the text of every section is written
into one script that the search page loads, and `search-sections.js` picks excerpt and section.

Glossary. A link to a term gets the term's entry as its title, so that pointing at it shows the
entry; `_static/glossary.js` draws it for the keyboard and the finger, too.

Pictures. A card's picture is made from the figure of the page that is kept with the records.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

SECTIONS = Path("_static") / "sections.js"
CARDS = Path("_static") / "cards"
CARD_WIDTH = 640
LONGEST = 100_000  # characters of one section: what is longer is no text
GLOSSARY = "book/glossary"


def entries(doctree: nodes.document) -> dict[str, str]:
    """Each term of a page's glossaries, in lower case, with its entry as plain text."""
    found = {}
    for item in doctree.findall(nodes.definition_list_item):
        terms = [child for child in item.children if isinstance(child, nodes.term)]
        text = " ".join(
            child.astext() for child in item.children if isinstance(child, nodes.definition)
        )
        for term in terms:
            found[term.astext().lower()] = " ".join(text.split())
    return found


def title_terms(app: Sphinx, doctree: nodes.document, _docname: str) -> None:
    """Give every link to a term the entry of that term as its title."""
    links = [
        node
        for node in doctree.findall(nodes.reference)
        if any("std-term" in child.get("classes", ()) for child in node.findall(nodes.inline))
    ]
    if not links or GLOSSARY not in app.env.all_docs:
        return
    known = entries(app.env.get_doctree(GLOSSARY))
    anchors = {nodes.make_id(f"term-{term}"): text for term, text in known.items()}
    for link in links:
        anchor = (link.get("refuri", "").partition("#")[2] or link.get("refid", "")).lower()
        if anchor in anchors:
            link["reftitle"] = anchors[anchor]


def sections(doctree: nodes.document) -> Iterator[tuple[str, str, str]]:
    """Anchor, title and own text of each section and term; code and displays are left out."""
    for section in doctree.findall(nodes.section):
        title = section.next_node(nodes.title)
        told = [
            plain(node)
            for child in section.children
            if not isinstance(child, nodes.section | nodes.title)
            for node in child.findall(nodes.TextElement)
            if is_prose(node)
        ]
        anchor = section["ids"][0] if section["ids"] else ""
        yield anchor, title.astext() if title else "", " ".join(told)[:LONGEST]
    for item in doctree.findall(nodes.definition_list_item):
        term = item.next_node(nodes.term)
        if term is not None and term["ids"]:
            told = [plain(node) for node in item.findall(nodes.paragraph)]
            yield term["ids"][0], term.astext(), " ".join(told)


def plain(node: nodes.Node) -> str:
    """The text of a node on one line; its formulas are plain text by now."""
    return " ".join(node.astext().split())


def is_prose(node: nodes.Node) -> bool:
    """Whether a text is read as prose: paragraphs, terms, captions and cells of tables."""
    return isinstance(node, nodes.paragraph | nodes.term | nodes.caption | nodes.title)


def collect(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Keep the sections of one page for the search."""
    if app.builder.format != "html":
        return
    if not hasattr(app.env, "robustnb_sections"):
        app.env.robustnb_sections = {}  # type: ignore[attr-defined]
    app.env.robustnb_sections[docname] = list(sections(doctree))  # type: ignore[attr-defined]


def write_sections(app: Sphinx, error: Exception | None) -> None:
    """Write the sections of all pages beside them."""
    if error or app.builder.format != "html":
        return
    kept = getattr(app.env, "robustnb_sections", {})
    found = {name: kept[name] for name in sorted(kept) if name in app.env.all_docs}
    text = f"window.robustnbSections = {json.dumps(found, ensure_ascii=False)};\n"
    (Path(app.outdir) / SECTIONS).write_text(text, encoding="utf-8")


def merge(app: Sphinx, env: Any, _docnames: Any, other: Any) -> None:
    """Take over the sections that another process read."""
    if not hasattr(env, "robustnb_sections"):
        env.robustnb_sections = {}
    env.robustnb_sections.update(getattr(other, "robustnb_sections", {}))


def load_sections(app: Sphinx, pagename: str, _template: str, _context: Any, _doctree: Any) -> None:
    """Let the search page, and no other, load the sections."""
    if pagename == "search":
        app.add_js_file(SECTIONS.name)
        app.add_js_file("search-sections.js", defer="defer")


def draw_cards(app: Sphinx) -> None:
    """Make the picture of each paper's card from the figure that `parts.yml` names."""
    if app.builder.format != "html":
        return
    from robustnb.reproduce import parts, scoreboard
    from robustnb.reproduce.project import find

    root, target = find().root, Path(app.outdir) / CARDS
    target.mkdir(parents=True, exist_ok=True)
    for name, listed in parts.papers(root).items():
        figures = scoreboard.kept_figures(root, name)
        if not listed.figure or not figures:
            continue
        file = f"figure-{listed.figure}.png"
        if file not in figures:
            raise ExtensionError(
                f"{parts.FILE}: {name}.figure is {listed.figure}, but its kept page has "
                f"{', '.join(sorted(figures))}"
            )
        kept = root / "book" / "records" / "laptop" / name / "page" / file
        (target / f"{name}.png").write_bytes(card(kept.read_bytes(), listed.crop))


def card(picture: bytes, crop: tuple[float, float, float, float]) -> bytes:
    """The part of a picture that `crop` gives (left, top, right, bottom), small, few colours."""
    from PIL import Image

    with Image.open(io.BytesIO(picture)) as opened:
        shown = Image.alpha_composite(
            Image.new("RGBA", opened.size, "white"), opened.convert("RGBA")
        ).convert("RGB")
    left, top, right, bottom = crop
    width, height = shown.size
    shown = shown.crop(
        (round(left * width), round(top * height), round(right * width), round(bottom * height))
    )
    shown = shown.resize((CARD_WIDTH, round(shown.height * CARD_WIDTH / shown.width)))
    out = io.BytesIO()
    shown.quantize(64, dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
    return out.getvalue()


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("builder-inited", draw_cards)
    app.connect("doctree-resolved", title_terms)
    app.connect("doctree-resolved", collect, priority=950)  # after formulas have a plain text
    app.connect("env-merge-info", merge)
    app.connect("html-page-context", load_sections)
    app.connect("build-finished", write_sections)
    return {"parallel_read_safe": True, "parallel_write_safe": False}
