"""What a paper's page says about itself: reading time and prerequisites on top, citations below."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from robustnb.errors import UsageError
from robustnb.reproduce import parts
from robustnb.reproduce.yamlfile import read_mapping

WORDS_A_MINUTE = 200  # of a text that is followed, not skimmed
_NOT_PROSE = re.compile(
    r"^```.*?^```|^\$\$.*?^\$\$[^\n]*|\$[^$\n]+\$|^---\n.*?^---\n|^\s*(?::::|:\w|\||\().*?$|\{[a-z:]+\}",
    re.DOTALL | re.MULTILINE,
)
_ENTRY = r"^@\w+\{%s,.*?^\}"


def prose_words(page: Any) -> int:
    """Words of a notebook's Markdown cells, without code, formulas, tables and directives."""
    texts = (cell.source for cell in page.cells if cell.cell_type == "markdown")
    return sum(len(re.findall(r"[A-Za-z][\w'-]*", _NOT_PROSE.sub(" ", text))) for text in texts)


def reading_minutes(page: Any) -> int:
    """Minutes for the prose of a page, to the next five; formulas take their own time."""
    return 5 * max(1, round(prose_words(page) / WORDS_A_MINUTE / 5))


def opening(page: Any, paper: str, root: Path) -> str:
    """The line under a page's title."""
    listed = parts.papers(root).get(paper)
    needs = f" Assumed: {listed.needs}." if listed and listed.needs else ""
    minutes = reading_minutes(page)
    return (
        f":::{{div}} rnb-front\nAbout {minutes} minutes to read, without the proofs' formulas."
        f"{needs} [Cite this page]({_label(paper)}).\n:::"
    )


def citation(paper: str, root: Path) -> str:
    """The end of a page: BibTeX of the page and of its paper."""
    return (
        f"({_label(paper)})=\n## Cite this page\n\nPlease cite the paper with the page.\n\n"
        ":::{fold} BibTeX of this page and of the paper\n"
        f"```bibtex\n{_own_entry(paper, root)}\n\n{_paper_entry(paper, root)}\n```\n:::"
    )


def _label(paper: str) -> str:
    return f"{paper}-cite"


def _own_entry(paper: str, root: Path) -> str:
    """This book's entry, from CITATION.cff."""
    known = read_mapping(root / "CITATION.cff")
    try:
        authors = " and ".join(f"{{{author['name']}}}" for author in known["authors"])
        title, version = known["title"], known["version"]
    except (KeyError, TypeError):
        raise UsageError(
            "CITATION.cff lacks its title, its version or the name of an author; restore it"
        ) from None
    return (
        f"@misc{{robustnb-{paper},\n  author = {{{authors}}},\n  title = {{{title}}},\n"
        f"  note = {{Version {version}, page {paper}}},\n}}"
    )


def _paper_entry(paper: str, root: Path) -> str:
    path = root / "book" / "references.bib"
    text = path.read_text(encoding="utf-8")
    found = re.search(_ENTRY % re.escape(paper), text, re.DOTALL | re.MULTILINE)
    if found is None:
        raise UsageError(f"{path.name} has no entry {paper}; add the paper to it")
    return found.group()
