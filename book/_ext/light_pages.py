"""Leave out what no page uses of the theme's scripts, styles and icons.

The theme loads every icon of Font Awesome twice, as a script of 1.5 MB and as a font, and the
styles of components that this book has not. Once all pages are written, the script goes (the font
shows the same icons), the font keeps the icons in use, and a rule of a style sheet stays only if
the classes that it names occur in some page or script. Code loses the marks that colour nothing:
two thirds of its elements.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fontTools import subset
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

ICON_SCRIPT = re.compile(r'\s*<script[^>]*src="[^"]*scripts/fontawesome\.js[^"]*"[^>]*></script>')
# Pygments' names, punctuation and spaces, which have the colour of plain code in both themes.
PLAIN_CODE = re.compile(r'<span class="[npw]">([^<]*)</span>')
ICON_FONT = Path("_static/vendor/fontawesome/webfonts/fa-solid-900.ttf")
ICON_SOURCES = re.compile(
    r"url\(([^)]*/)fa-solid-900\.woff2\) format\(\"woff2\"\),"
    r"url\([^)]*fa-solid-900\.ttf\) format\(\"truetype\"\)"
)
ICONS = (re.compile(r'"\\(f[0-9a-f]{3})"'), re.compile("([\ue000-\uf8ff])"))
TEXT = r'"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])*\''
TOKEN = re.compile(rf"{TEXT}|url\((?:{TEXT}|[^)\"']*)\)|/\*.*?\*/|[{{}};]", re.DOTALL)
COMMENT = re.compile(r"/\*(!)?.*?\*/\s*", re.DOTALL)
NESTED = ("@media", "@supports", "@layer", "@container")
CLASS = re.compile(r"\.(-?[A-Za-z_][\w-]*)")
# Names that scripts put together from parts.
MADE_BY_SCRIPTS = re.compile(r"(?:bs-|tooltip|popover|modal|collaps|dropdown|offcanvas)")


def blocks(css: str) -> Iterator[tuple[str, str | None]]:
    """The top-level rules of a style sheet: what stands before the braces, and what in them."""
    depth, start, opened = 0, 0, 0
    for token in TOKEN.finditer(css):
        sign = token[0]
        if sign == "{":
            opened = token.start() if depth == 0 else opened
            depth += 1
        elif sign == "}":
            depth -= 1
            if depth == 0:
                yield css[start:opened], css[opened + 1 : token.start()]
                start = token.end()
        elif sign == ";" and depth == 0:
            yield css[start : token.start()], None
            start = token.end()
    if depth:
        raise ExtensionError(f"a style sheet has unequal braces near {css[start : start + 80]!r}")


def slim(css: str, words: frozenset[str]) -> str:
    """`css` without the selectors that name a class which is not among `words`."""
    kept = []
    for before, inside in blocks(css):
        kept += [note[0] for note in COMMENT.finditer(before) if note[1]]  # licences
        head = COMMENT.sub("", before).strip()
        if inside is None:
            kept.append(f"{head};")
        elif head.startswith(NESTED):
            if rest := slim(inside, words):
                kept.append(f"{head}{{{rest}}}")
        elif "@" in head:
            kept.append(f"{head}{{{inside}}}")
        elif used := [part for part in selectors(head) if is_used(part, words)]:
            kept.append(f"{','.join(used)}{{{inside}}}")
    return "".join(kept)


def selectors(head: str) -> list[str]:
    """A list of selectors, parted at its outermost commas."""
    return re.split(r",(?![^(\[]*[)\]])", head)


def is_used(selector: str, words: frozenset[str]) -> bool:
    """Whether the classes outside brackets all occur, so that the selector may match."""
    while (plain := re.sub(r"\([^()]*\)", "", selector)) != selector:
        selector = plain
    names = CLASS.findall(selector)
    return all(name in words or MADE_BY_SCRIPTS.match(name) for name in names)


def lighten(app: Sphinx, error: Exception | None) -> None:
    """Go over the pages, style sheets and icons of a finished site."""
    if error is not None or app.builder.name != "html":
        return
    out = Path(app.outdir)
    for page in out.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        page.write_text(PLAIN_CODE.sub(r"\1", ICON_SCRIPT.sub("", text)), encoding="utf-8")
    (out / "_static" / "scripts" / "fontawesome.js").unlink(missing_ok=True)
    written = [path for ending in ("html", "js") for path in out.rglob(f"*.{ending}")]
    told = "\n".join(path.read_text(encoding="utf-8") for path in written)
    words = frozenset(re.findall(r"-?[A-Za-z_][\w-]*", told))
    icons = set(ICONS[1].findall(told))
    for sheet in sorted(out.rglob("*.css")):
        css = slim(sheet.read_text(encoding="utf-8"), words)
        icons |= {chr(int(code, 16)) for code in ICONS[0].findall(css)} | set(ICONS[1].findall(css))
        sheet.write_text(ICON_SOURCES.sub(r'url(\1icons.woff) format("woff")', css), "utf-8")
    if (out / ICON_FONT).is_file():
        write_icons(out / ICON_FONT, icons)


def write_icons(font: Path, icons: set[str]) -> None:
    """Write the part of the icon font that is used beside it."""
    options = subset.Options()
    options.flavor = "woff"
    options.layout_features = []
    options.notdef_outline = True
    options.name_IDs = ["*"]
    loaded = subset.load_font(str(font), options)
    chosen = subset.Subsetter(options)
    chosen.populate(unicodes=map(ord, icons))
    chosen.subset(loaded)
    subset.save_font(loaded, str(font.with_name("icons.woff")), options)


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("build-finished", lighten, priority=900)  # after those that copy style sheets
    return {"parallel_read_safe": True, "parallel_write_safe": True}
