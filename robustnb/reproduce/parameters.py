"""The parameters cell of a notebook, read without running it, and strict overrides of it."""

from __future__ import annotations

import ast
import io
import math
import re
import tokenize
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from robustnb.errors import UsageError, unknown
from robustnb.reproduce.allowed import Allowed, read_allowed, seems_to_state
from robustnb.reproduce.constants import Value, constant, parse, shorten

__all__ = ["Parameter", "Value", "override", "parse_assignments", "read_parameters"]

_EXAMPLES = {"bool": "true", "int": "3", "float": "0.1", "str": "text"}
_LARGEST = 2**63  # what numpy and torch hold


@dataclass(frozen=True)
class Parameter:
    """One line `name: type = default`; `help` is its comment, `allowed` the rule stated there."""

    name: str
    annotation: str
    default: Value
    help: str = ""
    allowed: Allowed | None = None

    def check(self, value: Any) -> Value:
        """`value` as this parameter's type; UsageError if it is none, or not an allowed one."""
        checked = _checked(self.name, self.annotation, value)
        if self.allowed is not None and not self.allowed.admits(checked):
            raise UsageError(
                f"parameter {self.name!r} is {shorten(repr(checked))}; allowed: {self.allowed.text}"
            )
        return checked

    def parse(self, text: str) -> Value:
        """Read a value typed on a command line."""
        if self.annotation == "str":
            return self.check(text)
        try:
            value = parse(_with_capital_truth(text) if "bool" in self.annotation else text)
        except ValueError:
            raise _mismatch(self.name, self.annotation, text) from None
        return self.check(value)


def _with_capital_truth(text: str) -> str:
    return re.sub(r"(?i)\b(true|false)\b", lambda word: word.group().capitalize(), text)


def _mismatch(name: str, annotation: str, value: Any) -> UsageError:
    example = _EXAMPLES.get(annotation, "[1, 2]")
    if annotation == "float" and isinstance(value, str):
        with suppress(ValueError):  # YAML reads 1e-3 as text
            example = repr(parse(value))
    fix = f"{name}={example}"
    if name.endswith("]"):  # an item of a list
        fix = f'"{example}" there' if annotation == "str" else f"{example} there"
    return UsageError(
        f"parameter {name!r} is {annotation}, got {shorten(repr(value))}; write {fix}"
    )


def _checked(name: str, annotation: str, value: Any) -> Value:
    if annotation.startswith("list[") and isinstance(value, list):
        return [_checked(f"{name}[{i}]", annotation[5:-1], item) for i, item in enumerate(value)]
    if annotation == "float":
        if type(value) in (int, float) and abs(value) < math.inf:
            return _as_float(name, value)
    elif annotation == "int" and type(value) is int:
        if not -_LARGEST <= value < _LARGEST:
            raise UsageError(f"parameter {name!r} is too large; an int has at most 64 bits here")
        return value
    elif type(value).__name__ == annotation:
        return value  # type: ignore[no-any-return]
    raise _mismatch(name, annotation, value)


def _as_float(name: str, value: int | float) -> float:
    try:
        return float(value)
    except OverflowError:
        raise UsageError(f"parameter {name!r} is too large for a float") from None


def _is_known(annotation: str) -> bool:
    while annotation.startswith("list[") and annotation.endswith("]"):
        annotation = annotation[5:-1]
    return annotation in _EXAMPLES


def _comments(source: str) -> dict[int, str]:
    """The comment that ends each line, by line number from 1."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    found = (token for token in tokens if token.type == tokenize.COMMENT)
    return {token.start[0]: token.string.lstrip("#").strip() for token in found}


def read_parameters(source: str, *, where: str) -> dict[str, Parameter]:
    """Parameters declared in the source of a parameters cell, in order.

    Each statement must be `name: type = constant`, with its comment on the same line; anything
    else is a UsageError naming `where`.
    """
    try:
        statements, comments = ast.parse(source).body, _comments(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise UsageError(f"{where}: the parameters cell is not Python: {_reason(error)}") from None
    found: dict[str, Parameter] = {}
    _refuse_lost_rules(comments, {node.end_lineno or node.lineno for node in statements}, where)
    for node in statements:
        place = f"{where}: line {node.lineno} of the parameters cell"
        try:
            parameter = _declared(node, comments)
        except ValueError as error:
            raise UsageError(f"{place}: {error}") from None
        except RecursionError:
            raise UsageError(f"{place} is nested too deeply; write it plainly") from None
        if parameter.name in found:
            raise UsageError(f"{place} declares {parameter.name!r} a second time; keep one")
        found[parameter.name] = parameter
    return found


def _reason(error: BaseException) -> str:
    return str(error) or "nested too deeply"


def _refuse_lost_rules(comments: Mapping[int, str], ends: set[int], where: str) -> None:
    """UsageError for a comment that states what is allowed on a line where no parameter ends."""
    for line, comment in comments.items():
        if line not in ends and seems_to_state(comment):
            raise UsageError(
                f"{where}: line {line} of the parameters cell states what is allowed, but of no "
                "parameter; write it at the end of the parameter's last line"
            )


def _declared(node: ast.stmt, comments: Mapping[int, str]) -> Parameter:
    if not (
        isinstance(node, ast.AnnAssign)
        and isinstance(node.target, ast.Name)
        and node.value is not None
    ):
        raise ValueError("this is not `name: type = constant`")
    name, annotation = node.target.id, ast.unparse(node.annotation)
    if not _is_known(annotation):
        known = ", ".join(_EXAMPLES)
        raise ValueError(f"{name!r} is {annotation}; write {known}, or list[...] of one of these")
    comment = comments.get(node.end_lineno or node.lineno, "")
    allowed = read_allowed(comment, annotation)
    undecided = Parameter(name, annotation, False, comment, allowed)
    return Parameter(name, annotation, undecided.check(constant(node.value)), comment, allowed)


def override(
    parameters: Mapping[str, Parameter], given: Mapping[str, Any], *, where: str = ""
) -> dict[str, Value]:
    """`given` checked against the declared parameters, without those equal to the default.

    UsageError, which begins with `where`, for an unknown name and for a value that cannot be.
    """
    checked: dict[str, Value] = {}
    for name, value in given.items():
        try:
            if name not in parameters:
                raise unknown("parameter", name, parameters)
            checked[name] = parameters[name].check(value)
        except UsageError as error:
            raise UsageError(f"{where}{error}") from None
    return {name: value for name, value in checked.items() if value != parameters[name].default}


def parse_assignments(
    parameters: Mapping[str, Parameter], assignments: Sequence[str]
) -> dict[str, Value]:
    """Overrides from command-line words `name=value`; each name may be given once."""
    values: dict[str, Value] = {}
    for word in assignments:
        name, equals, text = word.partition("=")
        if not equals:
            raise UsageError(f"{word!r} is not name=value")
        if name not in parameters:
            raise unknown("parameter", name, parameters)
        if name == "seed":
            raise UsageError(f"the seed is not given by -p; write --seed {text} instead")
        if name in values:
            raise UsageError(f"parameter {name!r} is given twice; keep one of them")
        values[name] = parameters[name].parse(text)
    return values
