"""The parameters cell of a notebook, read without running it, and strict overrides of it."""

from __future__ import annotations

import ast
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from robustnb.errors import UsageError, unknown

Value = bool | int | float | str | list[Any]


@dataclass(frozen=True)
class Parameter:
    """One line `name: type = default` of the parameters cell; `help` is its trailing comment."""

    name: str
    annotation: str
    default: Value
    help: str = ""

    def check(self, value: Any) -> Value:
        """`value` as this parameter's type; UsageError if it is none."""
        return _checked(self.name, self.annotation, value)

    def parse(self, text: str) -> Value:
        """Read a value typed on a command line."""
        if self.annotation == "str":
            return text
        try:
            value = json.loads(text.lower() if self.annotation == "bool" else text)
        except json.JSONDecodeError:
            raise _mismatch(self.name, self.annotation, text) from None
        return self.check(value)


def _mismatch(name: str, annotation: str, value: Any) -> UsageError:
    example = {"bool": "true", "int": "3", "float": "0.1", "str": "text"}.get(annotation, "[1, 2]")
    return UsageError(f"parameter {name!r} is {annotation}, got {value!r}; write {name}={example}")


def _checked(name: str, annotation: str, value: Any) -> Value:
    if annotation.startswith("list[") and isinstance(value, list):
        return [_checked(name, annotation[5:-1], item) for item in value]
    if annotation == "float":
        if type(value) in (int, float) and math.isfinite(value):
            return float(value)
    elif type(value).__name__ == annotation:
        return value  # type: ignore[no-any-return]
    raise _mismatch(name, annotation, value)


def read_parameters(source: str, *, where: str) -> dict[str, Parameter]:
    """Parameters declared in the source of a parameters cell, in order.

    Each statement must be `name: type = literal`; anything else is a UsageError naming `where`.
    """
    lines = source.splitlines()
    found: dict[str, Parameter] = {}
    for node in ast.parse(source).body:
        if not (
            isinstance(node, ast.AnnAssign)
            and isinstance(node.target, ast.Name)
            and node.value is not None
        ):
            raise UsageError(
                f"{where}: line {node.lineno} of the parameters cell is not `name: type = literal`"
            )
        name, annotation = node.target.id, ast.unparse(node.annotation)
        comment = lines[(node.end_lineno or node.lineno) - 1].partition("#")[2].strip()
        default = _checked(name, annotation, ast.literal_eval(node.value))
        found[name] = Parameter(name, annotation, default, comment)
    return found


def override(parameters: Mapping[str, Parameter], given: Mapping[str, Any]) -> dict[str, Value]:
    """`given` checked against the declared parameters, without those equal to the default."""
    checked: dict[str, Value] = {}
    for name, value in given.items():
        if name not in parameters:
            raise unknown("parameter", name, parameters)
        checked[name] = parameters[name].check(value)
    return {name: value for name, value in checked.items() if value != parameters[name].default}


def parse_assignments(
    parameters: Mapping[str, Parameter], assignments: tuple[str, ...] | list[str]
) -> dict[str, Value]:
    """Overrides from command-line words `name=value`."""
    values: dict[str, Value] = {}
    for word in assignments:
        name, equals, text = word.partition("=")
        if not equals:
            raise UsageError(f"{word!r} is not name=value")
        if name not in parameters:
            raise unknown("parameter", name, parameters)
        values[name] = parameters[name].parse(text)
    return values
