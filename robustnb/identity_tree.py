"""Descriptions as trees of JSON values: their digests, and their single values by path."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from robustnb.provenance import digest

_KEYS = ":keys"  # ends the path of the fact that says what a container holds


class Parts(dict[str, Any]):
    """What a function, class or object consists of; a description is its name and a digest."""

    def __init__(self, name: str, parts: Mapping[str, Any]) -> None:
        """Name and parts; the parts are JSON values."""
        super().__init__({"the name": name, **parts})


class Pairs(list[Any]):
    """The keys of a dictionary, in order, with their values."""


def short(tree: Any) -> Any:
    """The tree with a digest for each function, class and object."""
    if isinstance(tree, Parts):
        return f"{tree['the name']} {digest(tree)[:16]}"
    if isinstance(tree, dict):
        return {name: short(item) for name, item in tree.items()}
    return [short(item) for item in tree] if isinstance(tree, list) else tree


def leaves(tree: Any, path: str) -> Iterator[tuple[str, Any]]:
    """The single values of a tree by path."""
    if isinstance(tree, dict):
        for name, item in tree.items():
            yield from leaves(item, f"{path}.{name}".lstrip(".") if name else path)
    elif isinstance(tree, Pairs):
        yield path + _KEYS, [key for key, _ in tree]
        for key, item in tree:
            yield from leaves(item, f"{path}[{text_of(key)}]")
    elif isinstance(tree, list):
        yield path + _KEYS, len(tree)
        for number, item in enumerate(tree):
            yield from leaves(item, f"{path}[{number}]")
    else:
        yield path or "function", tree


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> set[str]:
    """The paths of values that differ, or that only one has."""
    return {name for name in before.keys() | after if before.get(name) != after.get(name)}


def without(values: Mapping[str, Any], paths: set[str]) -> dict[str, Any]:
    """The values that are not at these paths; a container that changed its size is left out whole.

    >>> without({"cache:keys": 1, "cache[0]": 5, "eps": 0.1}, {"cache:keys"})
    {'eps': 0.1}
    """
    grown = tuple(f"{name.removesuffix(_KEYS)}[" for name in paths if name.endswith(_KEYS))
    kept = {name: value for name, value in values.items() if not name.startswith(grown)}
    return {name: value for name, value in kept.items() if name not in paths}


def text_of(value: Any) -> str:
    """JSON text of a value, to sort by and to name a key."""
    return json.dumps(value, sort_keys=True)
