"""The parts of the book and their papers, in the one order that every list of papers keeps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from robustnb.errors import UsageError
from robustnb.reproduce.yamlfile import Entry, read_mapping

FILE = Path("book") / "parts.yml"


@dataclass(frozen=True)
class Listed(Entry):
    """A paper of a part; `figure` and `crop` say what picture of its page its card shows."""

    line: str
    title: str = ""
    finding: str = ""
    needs: str = ""
    figure: int = 0
    crop: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True)
class BookPart(Entry):
    """A part of the book: its title, what it is about in a line, and its papers in order."""

    title: str
    line: str
    papers: dict[str, Listed]


def load(root: Path) -> dict[str, BookPart]:
    """The parts of the book of a checkout by name, or none where it has no such file.

    Raises UsageError, naming the file, for what does not belong there.
    """
    path = root / FILE
    if not path.is_file():
        return {}
    raw = read_mapping(path).get("parts")
    try:
        return TypeAdapter(dict[str, BookPart]).validate_python(raw)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(step) for step in first["loc"])
        raise UsageError(f"{FILE}: parts.{place}: {first['msg']}") from None


def papers(root: Path) -> dict[str, Listed]:
    """Every paper of the parts, in order."""
    return {name: listed for part in load(root).values() for name, listed in part.papers.items()}


def in_order(names: Iterable[str], root: Path) -> list[str]:
    """The names in the order of the parts; those that no part lists come last, by name."""
    place: Mapping[str, int] = {name: k for k, name in enumerate(papers(root))}
    return sorted(names, key=lambda name: (place.get(name, len(place)), name))


def ordered(found: Mapping[str, Any], root: Path) -> dict[str, Any]:
    """A mapping by paper in that order."""
    return {name: found[name] for name in in_order(found, root)}
