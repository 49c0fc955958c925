"""Exact steps: symbolic identities, enumeration with fractions, and counterexamples."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from typing import Any, Literal

from robustnb.lesson.check import Check, make_check, rounded
from robustnb.lesson.comparison import slack_value
from robustnb.lesson.domains import Domain, domain_words, point_words

Relation = Literal["==", "<="]
_MOST_CASES = 2_000_000


def identity(id: str, lhs: Any, rhs: Any, *, wrong: Any, says: str = "") -> Check:
    """Prove lhs = rhs symbolically: sympy must bring the difference to exactly 0.

    Sides are sympy expressions, or matrices of them. A wrong form is caught when its difference
    from lhs is not 0 at some rational point, which is a proof that it is wrong.

    >>> import sympy
    >>> x = sympy.Symbol("x", positive=True)
    >>> identity("log", sympy.log(x**2), 2 * sympy.log(x), wrong=sympy.log(x)).ok
    True
    """
    true = all(_is_zero(entry) for entry in _entries(lhs, rhs))
    return make_check(
        id,
        kind="proof",
        method="identity",
        holds=true,
        wrong=wrong,
        caught=lambda form: any(_is_nonzero(entry) for entry in _entries(lhs, form)),
        detail="" if true else "the difference of the sides was not brought to 0",
        n=1,
        space="",
        says=says,
    )


def exact(
    id: str,
    cases: Iterable[Any] | Mapping[str, Domain],
    lhs: Callable[..., Any] | None = None,
    rhs: Callable[..., Any] | None = None,
    *,
    wrong: Any,
    relation: Relation = "==",
    space: str = "",
    exhausted: bool = False,
    says: str = "",
) -> Check:
    """Check lhs == rhs (or <=) in every case with fractions, integers or truth values; no rounding.

    `cases` is one of: a finite domain (`{"k": integer(1, 5)}`; all its points are enumerated and
    both sides get them as keywords), an iterable of cases (both sides get one each), or, without
    lhs and rhs, an iterable of pairs (left, right) or of truth values. `wrong` replaces rhs, or,
    without lhs and rhs, the pairs. The result is a proof if the space is finite and exhausted:
    for a domain always, else where the author says so.

    >>> from robustnb.lesson.domains import integer
    >>> exact("gauss", {"n": integer(0, 99)}, lambda n: sum(range(n + 1)),
    ...       lambda n: Fraction(n * (n + 1), 2), wrong=lambda n: Fraction(n * n, 2)).kind
    'proof'
    """
    if isinstance(cases, Mapping):
        space, exhausted = space or domain_words(cases), True
    if not space:
        raise TypeError(f"{id}: say in words what the cases are: space='all graphs of 4 points'")
    listed = _listed(id, cases)
    unpack = isinstance(cases, Mapping)
    tried = _pairs(id, listed, lhs, rhs, unpack)
    worst, at = _worst(tried, relation)

    def caught(form: Any) -> bool:
        other = _pairs(id, list(form) if lhs is None else listed, lhs, form, unpack)
        return not _holds(_worst(other, relation)[0], relation)

    true = _holds(worst, relation)
    word = "error" if relation == "==" else "slack"
    return make_check(
        id,
        kind="proof" if exhausted else "check",
        method="exact",
        holds=true,
        wrong=wrong,
        caught=caught,
        detail="exact" if true else f"{word} {_gap_words(worst)} at {point_words(at)}",
        n=len(tried),
        space=space,
        says=says,
        worst=rounded(float(worst)),
        tolerance=0.0,
    )


def fails(
    id: str,
    case: Any,
    slack: Callable[[Any], Any],
    *,
    repaired: Callable[[Any], Any] | None = None,
    margin: float = 1e-6,
    says: str = "",
) -> Check:
    """Verify a counterexample: a statement `slack(case) >= 0` that is false in this case.

    It passes iff slack(case) < -margin. `repaired` is the slack of the repaired statement, which
    must hold in the same case. Exact (a proof) when the slack is a fraction or an integer.
    """
    violation = slack(case)
    value = slack_value(violation, 0.0, point_words(case))
    broken = value < -margin
    mended = repaired is None or slack_value(repaired(case), 1e-9, point_words(case)) >= 0
    detail = f"violated by {-value:.3g} at {point_words(case)}" if value < 0 else "not violated"
    if repaired is not None:
        detail += f"; the repaired statement {'holds' if mended else 'FAILS'} there"
    return Check(
        id=id,
        kind="proof" if isinstance(violation, int | Fraction) else "check",
        method="fails",
        ok=broken and mended,
        holds=broken,
        n=1,
        space="",
        says=says,
        worst=rounded(value),
        tolerance=margin,
        wrong_refuted=mended,
        detail=detail,
    )


def _listed(id: str, cases: Iterable[Any] | Mapping[str, Domain]) -> list[Any]:
    """The cases as a list, a finite domain enumerated."""
    if not isinstance(cases, Mapping):
        listed = list(cases)
    else:
        values = []
        for name, part in cases.items():
            if part.values is None:
                raise TypeError(f"{id}: {name} is not finite; use integer or choice, or equality")
            values.append(part.values)
        size = math.prod(map(len, values))
        if size > _MOST_CASES:
            raise ValueError(f"{id}: {size:,} cases are too many; use at most {_MOST_CASES:,}")
        listed = [dict(zip(cases, point, strict=True)) for point in itertools.product(*values)]
    if not listed:
        raise ValueError(f"{id}: there are no cases; pass a non-empty iterable")
    return listed


def _pairs(
    id: str, cases: list[Any], lhs: Any, rhs: Any, unpack: bool
) -> list[tuple[Any, Fraction, Fraction]]:
    """(case, left, right) for every case, the sides as fractions."""
    found: list[tuple[Any, Fraction, Fraction]] = []
    for case in cases:
        if lhs is not None and rhs is not None:
            left, right = (side(**case) if unpack else side(case) for side in (lhs, rhs))
            at = case
        elif isinstance(case, bool):
            left, right, at = case, True, f"case {len(found) + 1}"
        else:
            (left, right), at = case, f"case {len(found) + 1}"
        found.append((at, _rational(id, left, at), _rational(id, right, at)))
    return found


def _rational(id: str, value: Any, case: Any) -> Fraction:
    """The value as a fraction; floats are refused, because they round."""
    if type(value).__module__.split(".")[0] == "sympy" and getattr(value, "is_Rational", False):
        return Fraction(int(value.p), int(value.q))
    if type(value).__name__ in ("bool_", "bool"):
        return Fraction(bool(value))
    if not isinstance(value, int | Fraction):
        raise TypeError(
            f"{id}: a side is {type(value).__name__} at {point_words(case)}; exact takes Fraction, "
            "int or bool (for floats use equality or holds)"
        )
    return Fraction(value)


def _worst(pairs: list[tuple[Any, Fraction, Fraction]], relation: Relation) -> tuple[Fraction, Any]:
    """The largest |left - right|, or for <= the least right - left, and its case."""
    if relation not in ("==", "<="):
        raise ValueError(f"relation must be '==' or '<=', got {relation!r}")
    if relation == "==":
        case, left, right = max(pairs, key=lambda pair: abs(pair[1] - pair[2]))
        return abs(left - right), case
    case, left, right = min(pairs, key=lambda pair: pair[2] - pair[1])
    return right - left, case


def _holds(worst: Fraction, relation: Relation) -> bool:
    return worst == 0 if relation == "==" else worst >= 0


def _gap_words(gap: Fraction) -> str:
    text = str(gap)
    return text if len(text) <= 20 else f"{float(gap):.3g}"


def _entries(lhs: Any, rhs: Any) -> list[Any]:
    """The differences of the two sides, entry by entry."""
    import sympy

    left, right = sympy.sympify(lhs), sympy.sympify(rhs)
    if getattr(left, "is_Matrix", False):
        return list(left - right)
    return [left - right]


def _is_zero(difference: Any) -> bool:
    """Whether sympy brings the difference to exactly 0."""
    import sympy

    if difference == 0:
        return True
    steps = (sympy.expand, sympy.simplify, lambda e: sympy.simplify(e.rewrite(sympy.exp)))
    return any(step(difference.doit()) == 0 for step in steps)


def _is_nonzero(difference: Any) -> bool:
    """Whether the difference is clearly not 0 at some rational point that its symbols allow."""
    import sympy

    symbols = sorted(difference.free_symbols, key=str)
    for shift in range(1, 12):
        point = {}
        for k, symbol in enumerate(symbols):
            value = sympy.Rational(2 * shift + 3 * k + 1, 7)
            if symbol.is_integer:
                value = sympy.Integer(shift + k)
            if symbol.is_negative:
                value = -value
            point[symbol] = value
        number = difference.doit().subs(point).evalf(30)
        if number.is_number and number.is_finite and abs(number) > sympy.Float("1e-12"):
            return True
    return False
