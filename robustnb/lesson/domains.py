"""Domains: where the variables of a derivation step live, as maps from the unit cube."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Point = dict[str, Any]
_EDGE = 1e-9  # how near an open end a point may come, as a share of the width


@dataclass(frozen=True)
class Domain:
    """A set that `at` parametrises by `size` coordinates in [0, 1]; `words` is how it prints.

    `values` lists the elements of a finite domain and is None for the others.
    """

    words: str
    size: int
    at: Callable[[Sequence[float]], Any]
    values: tuple[Any, ...] | None = None


def real(low: float, high: float, *, log: bool = False, ends: bool = True) -> Domain:
    """The interval [low, high]; `ends=False` leaves the ends out, `log` samples the logarithm."""
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"real needs finite low < high, got {low} and {high}")
    if log and low <= 0:
        raise ValueError(f"real(log=True) needs low > 0, got {low}; leave log out")
    edge = 0.0 if ends else _EDGE

    def at(unit: Sequence[float]) -> float:
        share = edge + (1 - 2 * edge) * unit[0]
        if share in (0.0, 1.0):
            return float(high if share else low)
        if log:
            return float(math.exp(math.log(low) + share * (math.log(high) - math.log(low))))
        return float(low + share * (high - low))

    left, right = "[]" if ends else "()"
    return Domain(f"{left}{low:g}, {high:g}{right}", 1, at)


def integer(low: int, high: int) -> Domain:
    """The integers low, ..., high, both included."""
    if low > high:
        raise ValueError(f"integer needs low <= high, got {low} and {high}")
    count = high - low + 1

    def at(unit: Sequence[float]) -> int:
        return low + min(count - 1, int(unit[0] * count))

    values = tuple(range(low, high + 1)) if count <= 1_000_000 else None
    return Domain(f"{{{low}, ..., {high}}}", 1, at, values)


def simplex(k: int) -> Domain:
    """Probability vectors of length k (arrays), uniform, faces and vertices included."""
    if k < 2:
        raise ValueError(f"simplex needs k >= 2, got {k}")

    def at(unit: Sequence[float]) -> np.ndarray:
        # spacings of k - 1 sorted uniforms are uniform on the simplex
        return np.diff(np.concatenate(([0.0], np.sort(np.asarray(unit, float)), [1.0])))

    return Domain(f"probability vectors of length {k}", k - 1, at)


def vector(k: int, low: float, high: float) -> Domain:
    """Arrays of k numbers in [low, high]."""
    if k < 1 or not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"vector needs k >= 1 and finite low < high, got {k}, {low}, {high}")

    def at(unit: Sequence[float]) -> np.ndarray:
        return low + np.asarray(unit, float) * (high - low)

    return Domain(f"[{low:g}, {high:g}]^{k}", k, at)


def choice(values: Iterable[Any]) -> Domain:
    """One of the given values, in their order."""
    items = tuple(values)
    if not items:
        raise ValueError("choice needs at least one value")

    def at(unit: Sequence[float]) -> Any:
        return items[min(len(items) - 1, int(unit[0] * len(items)))]

    names = [getattr(item, "__name__", None) or _short(item) for item in items]
    words = ", ".join(names) if len(names) <= 8 else f"{names[0]}, ..., {names[-1]}"
    return Domain(f"{{{words}}}", 1, at, items)


def total_size(domain: Mapping[str, Domain]) -> int:
    """How many unit coordinates the whole domain has."""
    if not domain:
        raise ValueError("domain is empty; give each variable one, as in {'x': real(0, 1)}")
    for name, part in domain.items():
        if not isinstance(part, Domain):
            raise TypeError(f"domain[{name!r}] is {part!r}; use real, integer, simplex or choice")
    return sum(part.size for part in domain.values())


def point_at(domain: Mapping[str, Domain], unit: Sequence[float]) -> Point:
    """The point of the domain at these unit coordinates."""
    point: Point = {}
    start = 0
    for name, part in domain.items():
        point[name] = part.at(unit[start : start + part.size])
        start += part.size
    return point


def domain_words(domain: Mapping[str, Domain]) -> str:
    """The domain as it is printed: `x in [0, 1], k in {1, ..., 5}`."""
    return ", ".join(f"{name} in {part.words}" for name, part in domain.items())


def point_words(point: Any) -> str:
    """A point or a case as it is printed, numbers to 3 significant digits."""
    if isinstance(point, Mapping):
        return ", ".join(f"{name} = {_short(value)}" for name, value in point.items())
    return _short(point)


def _short(value: Any, limit: int = 80) -> str:
    """A value in few characters, the same on every machine."""
    if isinstance(value, float | np.floating) or type(value).__name__ == "mpf":
        number = float(value)
        text = "0" if abs(number) < 1e-6 else f"{number:.3g}"
    elif isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.ndim):
        text = "(" + ", ".join(_short(item) for item in value) + ")"
    elif isinstance(value, Mapping):
        text = "{" + point_words(value) + "}"
    elif callable(value):
        text = getattr(value, "__name__", type(value).__name__)
    else:
        text = str(value)
        if " at 0x" in text:  # a default repr holds an address, another one each run
            text = type(value).__name__
    return text if len(text) <= limit else text[: limit - 3] + "..."
