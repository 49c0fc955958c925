"""Markdown with TeX between dollars as plain text, for a terminal.

The pages typeset a claim's formulas; a terminal shows their letters: `R_rob(f) ≤ ψ^-1(u)`.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

_FORMULA = re.compile(r"(?<!\\)\$(.+?)(?<!\\)\$", re.DOTALL)
_SPACING = re.compile(r"\\(?:[,;:!>]|q?quad(?![A-Za-z]))")
_SIZE = re.compile(r"\\(?:left|right|[bB]igg?[lrm]?)(?![A-Za-z])")
_TYPEFACE = re.compile(r"\\(?:math(?:cal|bb|bf|rm|sf)|boldsymbol|operatorname\*?)(?![A-Za-z])")
_OPERATOR = re.compile(r"\\(max|min|sup|inf|log|ln|exp|Pr|arg)(?![A-Za-z])")
_WORD = re.compile(r"[\w.]*|√?\([^()]*\)")
_RAISED = re.compile(r"([\^_])\{([^{}]*[/+,=][^{}]*)\}")
_TWICE = re.compile(r"\{(?:\{\})?\{([^{}]*)\}\}")
_RELATION = re.compile(r" *([=≤≥≈∼∈→≠]) *")
_LOOSE = re.compile(r"(?<=[\w)]) +(?=[_^(])|(?<=Pr) +(?=\[)|(?<=[(\[]) +| +(?=[)\],.;])")


def plain_text(markdown: str) -> str:
    """`markdown` with each formula between dollars as one readable line; the rest stays.

    A fraction becomes `a/b`, a root `√(a)`; letters lose their typefaces, and a command that
    nobody knows keeps its name.
    """
    return _FORMULA.sub(lambda match: _formula(match[1]), markdown).replace(r"\$", "$")


def _formula(tex: str) -> str:
    tex = _TYPEFACE.sub("{}", _SPACING.sub(" ", _SIZE.sub("", tex.replace(r"\tfrac", r"\frac"))))
    tex = _TWICE.sub(r"{\1}", tex)
    tex = _RAISED.sub(r"\1{(\2)}", _OPERATOR.sub(r" \1 ", tex))
    told = _converter().latex_to_text(f"${tex}$")
    return _LOOSE.sub("", " ".join(_RELATION.sub(r" \1 ", told).split()))


@cache
def _converter() -> Any:
    """pylatexenc, with brackets around what is longer than a word in a fraction."""
    from pylatexenc.latex2text import LatexNodes2Text, MacroTextSpec, get_default_latex_context_db

    context = get_default_latex_context_db()
    fractions = [MacroTextSpec(name, simplify_repl=_fraction) for name in ("frac", "dfrac")]
    context.add_context_category("fractions", prepend=True, macros=fractions)
    context.set_unknown_macro_spec(MacroTextSpec("", simplify_repl=_named))
    return LatexNodes2Text(latex_context=context, math_mode="text")


def _fraction(node: Any, l2tobj: Any) -> str:
    above, below = (_grouped(l2tobj.nodelist_to_text([n])) for n in node.nodeargd.argnlist[-2:])
    return f"{above}/{below} "


def _named(node: Any) -> str:
    return f" {node.macroname} "


def _grouped(text: str) -> str:
    """`text` in brackets unless it is one word, or has them."""
    text = text.strip()
    return text if _WORD.fullmatch(text) else f"({text})"
