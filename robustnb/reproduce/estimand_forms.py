"""The estimands that a registry may name, and the arms that each needs.

m(a) is the mean of arm a:

    mean: a                     m(a)
    difference: [a, b]          m(a) - m(b)
    max_step: [a1, ..., ak]     max_i m(a_{i+1}) - m(a_i)
    spearman: {arms, against}   Spearman's rank correlation of m(arms) with the numbers `against`
    frontier: {curve: [[nat, rob], ...], point: [nat, rob]}
                                r(m(point nat)) - m(point rob), where r joins the curve's points
                                (natural, robust) by lines and is constant beyond its ends
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

NAMES = ("mean", "difference", "max_step", "spearman", "frontier")


def check_estimand(estimand: Mapping[str, Any] | None) -> None:
    """Raise ValueError, with the fix, unless this is a well-formed estimand."""
    if not isinstance(estimand, Mapping) or len(estimand) != 1 or next(iter(estimand)) not in NAMES:
        raise ValueError(f"estimand must be one of {', '.join(NAMES)}: its arms; got {estimand!r}")
    (name, body), shapes = next(iter(estimand.items())), _SHAPES
    if not shapes[name][0](body):
        raise ValueError(f"estimand {name} must look like {shapes[name][1]}; got {body!r}")
    if name in ("difference", "max_step") and len(set(body)) < len(body):
        raise ValueError(f"estimand {name} compares an arm with itself; got {body!r}")


def arms_of(estimand: Mapping[str, Any]) -> tuple[str, ...]:
    """The arms an estimand needs, each once, in order of appearance."""
    check_estimand(estimand)
    name, body = next(iter(estimand.items()))
    if name == "mean":
        found = [body]
    elif name == "spearman":
        found = list(body["arms"])
    elif name == "frontier":
        found = [arm for pair in (*body["curve"], body["point"]) for arm in pair]
    else:
        found = list(body)
    return tuple(dict.fromkeys(found))


def _strings(body: Any, least: int) -> bool:
    return (
        isinstance(body, list) and len(body) >= least and all(isinstance(arm, str) for arm in body)
    )


def _is_spearman(body: Any) -> bool:
    if not isinstance(body, Mapping) or set(body) != {"arms", "against"}:
        return False
    numbers = body["against"]
    return (
        _strings(body["arms"], 3)
        and isinstance(numbers, list)
        and all(isinstance(v, int | float) and not isinstance(v, bool) for v in numbers)
        and len(numbers) == len(body["arms"])
    )


def _is_frontier(body: Any) -> bool:
    if not isinstance(body, Mapping) or set(body) != {"curve", "point"}:
        return False
    pairs = [*body["curve"], body["point"]] if isinstance(body["curve"], list) else []
    return len(pairs) >= 3 and all(_strings(pair, 2) and len(pair) == 2 for pair in pairs)


_SHAPES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "mean": (lambda body: isinstance(body, str), "mean: arm"),
    "difference": (lambda b: _strings(b, 2) and len(b) == 2, "difference: [arm, arm]"),
    "max_step": (lambda body: _strings(body, 2), "max_step: [arm, arm, ...]"),
    "spearman": (_is_spearman, "spearman: {arms: [a, b, c], against: [1, 2, 3]}"),
    "frontier": (_is_frontier, "frontier: {curve: [[nat, rob], [nat, rob]], point: [nat, rob]}"),
}
