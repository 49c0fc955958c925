"""TeX formulas as MathML, made by Temml in an embedded V8.

Why Temml, of what was tried on the formulas of the book: latex2mathml, which is pure Python, loses
the rows of `aligned`; KaTeX's MathML does not align them in Chromium; Temml writes what browsers
honour. It is one file of 170 kB beside this one, and mini-racer brings V8: nobody needs Node.
"""

from __future__ import annotations

import atexit
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from html import escape
from pathlib import Path
from unicodedata import normalize
from xml.etree import ElementTree

from py_mini_racer import JSEvalException, MiniRacer

HERE = Path(__file__).parent
TEMML = HERE / "temml" / "temml.min.js"
FONT = HERE.parent / "_static" / "math_font.css"
MOST_SIGNS = 24  # of a formula inside a line; a longer one fills half a telephone and may break
MOST_EXPANSIONS = 1000
LABELS = re.compile(r"\\(?:label|ref|eqref)\b")
COMMAND = re.compile(r"\\([A-Za-z]+)")
NUMBERED = re.compile(r"\s*\\begin\{(\w+)\}(.*)\\end\{\1\}\s*", re.DOTALL)
INNERMOST = re.compile(
    r"\\begin\{([^{}]*)\}(?:(?!\\begin\{).)*?\\end\{\1\}|\{(?:\\.|[^{}\\])*\}", re.DOTALL
)
INVISIBLE = dict.fromkeys(range(0x2061, 0x2065))
SPACED = frozenset("=<>≤≥≠≈∼≡→←↦⇒⇔∈∣∥:")
ACCENTS = {"~": "\u0303", "^": "\u0302", "ˆ": "\u0302", "˜": "\u0303", "¯": "\u0304", "‾": "\u0304"}
WORDS = frozenset({"mi", "mn", "mtext"})  # which are the same inside a row of their own
BRACKETS = frozenset("()[]{}⟨⟩⌈⌉⌊⌋")

Macros = Mapping[str, str]


class FormulaError(ValueError):
    """A formula that cannot be typeset; the message says why, without the formula."""


@dataclass(frozen=True)
class Formula:
    """A typeset formula."""

    mathml: str
    plain: str  # one readable line, for titles, the search and alternative texts
    is_long: bool  # inside a line, and so wide that it may have to break


def macros_of(configured: Mapping[str, str | list[str | int]]) -> dict[str, str]:
    """Bodies by name, from `name: body` or `name: [body, number of arguments]`."""
    return {
        name: body if isinstance(body, str) else str(body[0]) for name, body in configured.items()
    }


@cache
def engine() -> MiniRacer:
    """V8 with Temml loaded; it is closed before Python ends, where it could hang for ever."""
    made = MiniRacer()
    atexit.register(made.close)
    made.eval(TEMML.read_text(encoding="utf-8"))
    return made


@cache
def characters() -> frozenset[str]:
    """What the font of the formulas can show."""
    ranges = re.findall(r"U\+([0-9a-f]+)-([0-9a-f]+)", FONT.read_text(encoding="ascii"))
    return frozenset(chr(code) for a, b in ranges for code in range(int(a, 16), int(b, 16) + 1))


def typeset(tex: str, macros: Macros, *, display: bool) -> Formula:
    """The formula `tex`, on lines of its own or inside one.

    The MathML holds the TeX, without the book's own macros. Raises FormulaError for what Temml does
    not know, for `\\label` and its like, and for a character that the formulas' font lacks.
    """
    if found := LABELS.search(tex):
        raise FormulaError(f"write $$ ... $$ (name) and {{eq}}`name` instead of {found.group()}")
    source = expand(tex.strip(), macros)
    rows = on_rows(source) if display else source
    root = render(rows, display, wrap="none")
    plain = " ".join(told(root).split())
    if missing := set("".join(root.itertext())) - characters() - {"\n"}:
        raise FormulaError(f"the font of the formulas lacks {' '.join(sorted(missing))}")
    is_long = not display and len(plain) > MOST_SIGNS
    if is_long:
        root = render(rows, display, wrap="tex")
    return Formula(annotated(root, source), plain, is_long)


def expand(tex: str, macros: Macros) -> str:
    """`tex` without the macros that this book defines, so that it can be pasted anywhere."""
    at = 0
    for _ in range(MOST_EXPANSIONS):
        found = COMMAND.search(tex, at)
        if found is None:
            return tex
        at = found.end()
        if (body := macros.get(found[1])) is None:
            continue
        wanted = max(map(int, re.findall(r"#(\d)", body)), default=0)
        arguments, end = read_arguments(tex, at, wanted)
        for number, argument in enumerate(arguments, 1):
            body = body.replace(f"#{number}", argument)
        at = found.start()
        if tex[:at].endswith(("_", "^")):
            body = f"{{{body}}}"
        tex = tex[:at] + body + tex[end:]
    raise FormulaError("its macros do not end; is one defined by itself?")


def read_arguments(tex: str, at: int, wanted: int) -> tuple[list[str], int]:
    """The next `wanted` arguments of `tex` from `at` on, and where they end."""
    found = []
    for _ in range(wanted):
        rest = re.compile(r"\s*(\\[A-Za-z]+|\\.|[^\s{}]|\{)").match(tex, at)
        if rest is None:
            raise FormulaError(f"a macro of the book needs {wanted} arguments")
        at = rest.end()
        if rest[1] != "{":
            found.append(rest[1])
            continue
        start, depth = at, 1
        for sign in re.compile(r"\\.|[{}]", re.DOTALL).finditer(tex, at):
            depth += {"{": 1, "}": -1}.get(sign[0], 0)
            if depth == 0:
                found.append(tex[start : sign.start()])
                at = sign.end()
                break
        else:
            raise FormulaError("a brace is not closed")
    return found, at


def on_rows(tex: str) -> str:
    """A display as Sphinx understands it: blank lines and free `\\\\` begin a new row.

    Environments lose their own numbers, as Sphinx numbers equations.
    """
    if found := NUMBERED.fullmatch(tex):
        name = found[1]
        if name in {"equation", "align", "alignat", "gather", "multline", "eqnarray"}:
            return rf"\begin{{{name}*}}{found[2]}\end{{{name}*}}"
    parts = [part.strip() for part in re.split(r"\n\s*\n", tex) if part.strip()]
    rows = [
        rf"\begin{{split}}{part}\end{{split}}" if r"\\" in bare(part) else part for part in parts
    ]
    if len(rows) < 2:
        return "".join(rows)
    return r"\begin{aligned}" + r" \\ ".join(rows) + r"\end{aligned}"


def bare(tex: str) -> str:
    """`tex` without what stands inside braces and environments."""
    while (less := INNERMOST.sub(" ", tex)) != tex:
        tex = less
    return tex


def render(tex: str, display: bool, wrap: str) -> ElementTree.Element:
    """What Temml makes of `tex`."""
    settings = {"displayMode": display, "throwOnError": True, "wrap": wrap}
    try:
        made = engine().call("temml.renderToString", tex, settings)
    except JSEvalException as error:
        said = re.search(r"ParseError:\s*(.*)", str(error))
        raise FormulaError(said[1] if said else str(error)) from error
    return lean(ElementTree.fromstring(str(made)))


def lean(root: ElementTree.Element) -> ElementTree.Element:
    """`root` without attributes and rows that repeat what a browser takes for granted."""
    for node in root.iter("mo"):
        for name in ("fence", "separator"):
            node.attrib.pop(name, None)
        if node.text in BRACKETS:
            node.attrib.pop("form", None)
    for parent in list(root.iter()):
        for place, node in enumerate(parent):
            if node.tag == "mrow" and not node.attrib and len(node) == 1 and node[0].tag in WORDS:
                parent[place] = node[0]
    return root


def annotated(root: ElementTree.Element, tex: str) -> str:
    """`root` with its TeX inside, for whoever copies it."""
    inner = "".join(
        ElementTree.tostring(child, "unicode", short_empty_elements=False) for child in root
    )
    if len(root) != 1:
        inner = f'<mrow class="rnb-lines">{inner}</mrow>'
    attributes = "".join(f' {name}="{escape(value)}"' for name, value in root.attrib.items())
    note = f'<annotation encoding="application/x-tex">{escape(tex, quote=False)}</annotation>'
    return f"<math{attributes}><semantics>{inner}{note}</semantics></math>"


def told(node: ElementTree.Element) -> str:
    """A MathML element in one line of plain text."""
    if node.tag in {"mi", "mn", "mo", "mtext"}:
        text = normalize("NFKC", "".join(node.itertext()).translate(INVISIBLE))
        spaced = node.tag == "mo" and text in SPACED
        return f" {text} " if spaced else text + " " * (text == ",")
    if node.tag == "mspace":
        return " "
    parts = [told(child) for child in node]
    match node.tag, parts:
        case "mfrac", [above, below]:
            return f"{grouped(above)}/{grouped(below)}"
        case "msqrt", _:
            return "√" + grouped("".join(parts))
        case (("msub" | "munder"), [base, low]):
            return f"{base}_{grouped(low)}"
        case (("msup" | "mover"), [base, high]):
            return base + raised(high)
        case (("msubsup" | "munderover"), [base, low, high]):
            return f"{base}_{grouped(low)}{raised(high)}"
        case "mtr", _:
            return " ".join(parts)
        case "mtable", _:
            return "; ".join(parts)
    return "".join(parts)


def raised(text: str) -> str:
    """What stands above: an accent, primes or an exponent."""
    if set(text) == {"′"}:
        return text
    return ACCENTS.get(text.strip()) or f"^{grouped(text)}"


def grouped(text: str) -> str:
    """`text` in brackets unless it is one word."""
    text = text.strip()
    return text if re.fullmatch(r"[\w.]*|\W", text) else f"({text})"
