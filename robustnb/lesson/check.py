"""`Check`: the result of checking one derivation step, and how it prints."""

from __future__ import annotations

import dataclasses
import html
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["proof", "check", "coverage"]
_FLOOR = 1e-12  # errors below this print alike, so that the last bits never change a page
_SLACK_FLOOR = 1e-6  # a descent reaches a tight point only up to about this


@dataclass(frozen=True)
class Check:
    """One checked step. `ok`: it `holds` on `space`, and every wrong form of it was caught.

    `kind` is what the step may be called: a proof (exact), a check (no counterexample in `n`
    points) or a coverage (misses within the 99.9 % quantile). `worst` is the largest error or the
    smallest slack, rounded so that another processor gives the same text.
    """

    id: str
    kind: Kind
    method: str
    ok: bool
    holds: bool
    n: int
    space: str
    says: str = ""
    worst: float | None = None
    tolerance: float | None = None
    wrong_refuted: bool = False
    wrong_forms: tuple[str, ...] = ()
    detail: str = ""
    alpha: float | None = None
    misses: int | None = None

    def __post_init__(self) -> None:
        """Refuse an id that cannot be shown or referred to."""
        if not isinstance(self.id, str) or not self.id.strip() or "\n" in self.id:
            raise ValueError(f"a check needs a one-line id such as 'step-3', got {self.id!r}")

    def to_json(self) -> dict[str, Any]:
        """The check as plain JSON types, every number finite."""
        plain = dataclasses.asdict(self)
        plain["wrong_forms"] = list(self.wrong_forms)
        return plain

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> Check:
        """The inverse of `to_json`."""
        return cls(**{**plain, "wrong_forms": tuple(plain["wrong_forms"])})

    def __str__(self) -> str:
        """The check in one line."""
        mark = "✓" if self.ok else "✗"
        says = f"{self.says.rstrip('.')}. " if self.says else ""
        return f"{mark} {self.id}: {says}{self._found()}; {self._wrong()}".removesuffix("; ")

    def to_html(self) -> str:
        """A compact block that reads without a style sheet (classes rnb-check, rnb-ok, rnb-bad)."""
        mark, word = ("✓", "rnb-ok") if self.ok else ("✗", "rnb-bad")
        says = f" {html.escape(self.says.rstrip('.'))}." if self.says else ""
        found = html.escape("; ".join(filter(None, (self._found(), self._wrong()))))
        return (
            f'<div class="rnb-check {word}"><b><span class="rnb-mark">{mark}</span> '
            f"{html.escape(self.id)}</b>{says}<br><small>{found}.</small></div>"
        )

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/plain": str(self), "text/html": self.to_html()}

    def _found(self) -> str:
        """What was looked at and what came out."""
        space = f" ({self.space})" if self.space else ""
        return "; ".join(filter(None, (self._counted() + space, self.detail)))

    def _counted(self) -> str:
        if self.method == "identity":
            return "proved symbolically" if self.holds else "not proved symbolically"
        if self.method == "fails":
            return "counterexample verified" if self.holds else "no counterexample here"
        if self.method in ("coverage", "probability"):
            return f"N = {self.n:,} draws"
        unit = "points" if self.method in ("equality", "inequality") else "cases"
        if not self.holds:
            return f"counterexample among N = {self.n:,} {unit}"
        if self.kind == "proof":
            return f"all N = {self.n:,} {unit}"
        return f"no counterexample in N = {self.n:,} {unit}"

    def _wrong(self) -> str:
        """Whether the same machinery catches the wrong forms."""
        if not self.wrong_forms:
            return ""
        one = len(self.wrong_forms) == 1
        names = ", ".join(f"“{name}”" for name in self.wrong_forms if name)
        form = f"the wrong form{'' if one else 's'}{' ' if names else ''}{names}"
        verb = "is" if one else "are"
        return f"{form} {verb} {'caught' if self.wrong_refuted else 'NOT caught'}"


def forms(wrong: Any) -> dict[str, Any]:
    """The author's wrong forms by name; a single one has the empty name."""
    if wrong is None or (isinstance(wrong, Mapping) and not wrong):
        raise TypeError(
            "wrong= is needed: a deliberately wrong form of the same step (a dropped term, a "
            "constant off by 5 %, a flipped sign), so that the check can show it would notice"
        )
    return dict(wrong) if isinstance(wrong, Mapping) else {"": wrong}


def make_check(
    id: str,
    *,
    holds: bool,
    wrong: Any,
    caught: Callable[[Any], bool],
    detail: str = "",
    **fields: Any,
) -> Check:
    """The check of a step, its wrong forms each put to `caught`, which must be true for all."""
    named = forms(wrong)
    missed = [name or "the wrong form" for name, form in named.items() if not caught(form)]
    if missed:
        detail = "; ".join(filter(None, (detail, f"not caught: {', '.join(missed)}")))
    return Check(
        id=id,
        ok=holds and not missed,
        holds=holds,
        wrong_refuted=not missed,
        wrong_forms=tuple(named),
        detail=detail,
        **fields,
    )


def rounded(value: float, digits: int = 3) -> float | None:
    """The value to `digits` significant digits; None unless it is finite."""
    return float(f"{value:.{digits}g}") if math.isfinite(value) else None


def error_bound(error: float, *, tol: float = 1.0) -> float:
    """The power of ten above an error, at least 1e-12 (or the tolerance, if that is smaller)."""
    floor = min(_FLOOR, tol)
    if error <= floor:
        return floor
    return float(f"1e{math.ceil(math.log10(error) - 1e-9)}")


def slack_shown(slack: float) -> float | None:
    """A slack to 3 significant digits, 0 where it is a rounding error away from 0."""
    return 0.0 if 0 <= slack < _SLACK_FLOOR else rounded(slack)


def slack_words(slack: float) -> str:
    """A slack as it is printed."""
    shown = slack_shown(slack)
    if shown is None:
        return "infinite"
    return "0 to six decimals" if shown == 0 else f"{shown:.3g}"
