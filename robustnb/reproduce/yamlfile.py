"""Reading a YAML file that people write: strict, and with one line for what is wrong in it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Hashable
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar

import yaml
from pydantic import AllowInfNan, GetCoreSchemaHandler, Strict, TypeAdapter, ValidationError
from pydantic_core import CoreSchema, ErrorDetails, core_schema

from robustnb.errors import UsageError, unknown

T = TypeVar("T", bound="Entry")
Whole = Annotated[int, Strict()]
Real = Annotated[float, Strict(), AllowInfNan(False)]
Flag = Annotated[bool, Strict()]


class _StrictLoader(yaml.SafeLoader):
    """YAML whose mappings may not name a key twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Refuse a repeated key, which plain YAML would let win silently."""
        names = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = sorted({str(n) for n in names if names.count(n) > 1})
        if twice:
            line = node.start_mark.line + 1
            raise yaml.YAMLError(f"key {twice[0]!r} stands twice in the block at line {line}")
        return super().construct_mapping(node, deep=deep)


class Entry:
    """A base of dataclasses that stand in a file as a mapping of their fields and no other key."""

    not_in_file: ClassVar[frozenset[str]] = frozenset()  # fields that the code fills in

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """The schema of a dataclass, after a look at the keys."""
        return core_schema.no_info_before_validator_function(cls._known_keys, handler(source))

    @classmethod
    def _known_keys(cls, raw: Any) -> Any:
        if not isinstance(raw, dict):
            raise ValueError(f"expected a mapping, got {type(raw).__name__}")
        known = inspect.signature(cls).parameters.keys() - cls.not_in_file
        for key in raw:
            if key not in known:
                raise unknown("key", str(key), known)
        return raw


def read_mapping(path: Path) -> dict[str, Any]:
    """The mapping that a file holds; UsageError naming the file where it holds none."""
    try:
        raw = yaml.load(path.read_text(encoding="utf-8"), _StrictLoader)
    except OSError as error:
        raise UsageError(f"{path.name} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        why = " ".join(str(error).split())
        raise UsageError(f"{path.name}: not readable as YAML: {why}") from None
    if not isinstance(raw, dict):
        raise UsageError(f"{path.name}: expected a mapping, got {type(raw).__name__}")
    return raw


def named(raw: Any) -> Any:
    """A mapping of names to mappings, as the list of these with the name as their `id`."""
    if not isinstance(raw, dict):
        raise ValueError(f"expected a mapping, got {type(raw).__name__}")
    for name, entry in raw.items():
        if isinstance(entry, dict) and "id" in entry:
            raise ValueError(f"{name} is the id; take the line `id` out")
    return [{**v, "id": str(k)} if isinstance(v, dict) else v for k, v in raw.items()]


def read(path: Path, kind: type[T]) -> T:
    """The file as a `kind`; UsageError naming the file, the place in it and the fix."""
    raw = read_mapping(path)
    try:
        return TypeAdapter(kind).validate_python(raw)
    except ValidationError as error:
        raise UsageError(f"{path.name}: {_told(error.errors()[0], raw)}") from None


def _told(problem: ErrorDetails, raw: Any) -> str:
    """What is wrong at which place of a file that holds `raw`, in one line."""
    path = _path(problem["loc"], raw)
    where, _, key = path.rpartition(".")
    if problem["type"] == "missing":
        told = f"{key} is missing; add it"
    elif problem["type"] == "literal_error":
        options = re.findall(r"'([^']*)'", problem["ctx"]["expected"])
        told = str(unknown(key, str(problem["input"]), options))
    elif problem["type"] == "value_error":
        where, told = path, str(problem["ctx"]["error"])
    else:
        said = problem["msg"].replace("tuple", "list").replace("dictionary", "mapping")
        told = f"{said.replace('Input', key, 1)}, got {problem['input']!r}"
    return f"{where}: {told}" if where else told


def _path(loc: tuple[int | str, ...], raw: Any) -> str:
    """A place as "claims.C1.numbers[0]"; what `named` listed is told by its name."""
    path = ""
    for step in loc:
        if isinstance(step, int) and isinstance(raw, dict) and step not in raw:
            step = list(raw)[step]
        path += f"[{step}]" if isinstance(step, int) else f".{step}"
        inside = isinstance(raw, list) or (isinstance(raw, dict) and step in raw)
        raw = raw[step] if inside else None
    return path.removeprefix(".")
