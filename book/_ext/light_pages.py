"""Leave out what no page uses of the theme's scripts, styles and icons.

The theme loads every icon of Font Awesome twice, as a script of 1.5 MB and as a font; Bootstrap's
script for one menu; the index of the search on every page; and the styles of components that this
book has not. Once all pages are written, these scripts go (the font shows the same icons, the menu
is laid out as buttons, the search page alone has the index), the font keeps the icons in use, and a
rule of a style sheet stays only if the classes that it names occur in some page or script. Code
loses the marks of names, operators and punctuation, two thirds of its elements, and pictures keep
256 colours.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fontTools import subset
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

SEARCH_PAGE = "search.html"
UNUSED = ("scripts/fontawesome", "scripts/bootstrap", "design-tabs")
FOR_THE_SEARCH = ("searchtools", "language_data", "searchindex")
# Pygments' names, operators, punctuation and spaces: they read as well in the colour of the text.
PLAIN_CODE = re.compile(r'<span class="[npow]">([^<]*)</span>|<pre><span></span>')
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


def without_scripts(html: str, names: tuple[str, ...]) -> str:
    """`html` without the scripts of these names, and without asking for them ahead."""
    source = rf'"(?:[^"]*/)?(?:{"|".join(map(re.escape, names))})\.js[^"]*"'
    html = re.sub(rf"\s*<script[^>]*src={source}[^>]*></script>", "", html)
    return re.sub(rf"\s*<link[^>]*href={source}[^>]*>", "", html)


def bare(found: re.Match[str]) -> str:
    """The text of a mark that colours nothing; `<pre>` without its empty first mark."""
    return found[1] if found[1] is not None else "<pre>"


def few_colours(picture: Path) -> None:
    """Let a PNG have at most 256 colours, as those of kept pages have."""
    from PIL import Image

    from robustnb.reproduce.pages import palette_png

    with Image.open(picture) as opened:
        has_many = opened.mode != "P"
    if has_many:
        picture.write_bytes(palette_png(picture.read_bytes()))


def flat_buttons(
    _app: Sphinx, _page: str, _template: str, context: dict[str, Any], _doctree: Any
) -> None:
    """The buttons above a page, those of its menu beside the others: no script opens a menu."""
    shown: list[dict[str, Any]] = []
    for button in context.get("header_buttons", []):
        for each in button.get("buttons", [button]):
            shown.append({**each, "text": None, "classes": "pst-navbar-icon"})
    context["header_buttons"] = shown


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
    return all(name in words for name in names)


def lighten(app: Sphinx, error: Exception | None) -> None:
    """Go over the pages, style sheets and icons of a finished site."""
    if error is not None or app.builder.name != "html":
        return
    out = Path(app.outdir)
    for page in out.rglob("*.html"):
        scripts = UNUSED if page.name == SEARCH_PAGE else UNUSED + FOR_THE_SEARCH
        text = without_scripts(page.read_text(encoding="utf-8"), scripts)
        page.write_text(PLAIN_CODE.sub(bare, text), encoding="utf-8")
    for name in UNUSED:
        (out / "_static" / f"{name}.js").unlink(missing_ok=True)
    for picture in sorted((out / "_images").glob("*.png")):
        few_colours(picture)
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
    app.connect("html-page-context", flat_buttons, priority=900)  # after the theme's own
    app.connect("build-finished", lighten, priority=900)  # after those that copy style sheets
    return {"parallel_read_safe": True, "parallel_write_safe": True}
