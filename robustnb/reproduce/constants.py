"""Constant expressions such as `8 / 255`, `-1e-3` or `[1, 2 ** 10]`, read without running code."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from typing import Any

Value = bool | int | float | str | list[Any]

_LONGEST_INTEGER = 4096  # bits: beyond it lies only a typing error
_OPERATIONS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}


def parse(text: str) -> Value:
    """The value of a constant expression typed by a user; ValueError if it is none."""
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"{shorten(text)} is not a constant") from error
    return constant(tree.body)


def constant(node: ast.expr) -> Value:
    """The value of an expression of literals, arithmetic on numbers and lists of these.

    Raises ValueError for anything else, and for arithmetic that has no finite result.
    """
    try:
        return _value(node)
    except RecursionError:
        raise ValueError("the expression is nested too deeply; write its value") from None


def _value(node: ast.expr) -> Value:
    if isinstance(node, ast.Constant) and isinstance(node.value, bool | int | float | str):
        return node.value
    if isinstance(node, ast.List):
        return [_value(item) for item in node.elts]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        number = _number(node.operand)
        return -number if isinstance(node.op, ast.USub) else number
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATIONS:
        return _computed(node, _number(node.left), _number(node.right))
    raise ValueError(f"{shorten(ast.unparse(node))} is not a constant")


def shorten(value: object, length: int = 60) -> str:
    """A value in the words of an error message, which has one line."""
    text = " ".join(str(value).split())
    return text if len(text) <= length else f"{text[:length]}..."


def _number(node: ast.expr) -> int | float:
    value = _value(node)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{shorten(ast.unparse(node))} is not a number")
    return value


def _computed(node: ast.BinOp, left: int | float, right: int | float) -> int | float:
    if isinstance(node.op, ast.Pow) and isinstance(left, int) and isinstance(right, int):
        if left.bit_length() * right > _LONGEST_INTEGER:
            raise ValueError(f"{shorten(ast.unparse(node))} is too large")
    try:
        value = _OPERATIONS[type(node.op)](left, right)
    except ArithmeticError as error:
        raise ValueError(f"{shorten(ast.unparse(node))}: {error}") from error
    if not isinstance(value, int | float):
        raise ValueError(f"{shorten(ast.unparse(node))} is not a real number")
    if isinstance(value, int) and value.bit_length() > _LONGEST_INTEGER:
        raise ValueError(f"{shorten(ast.unparse(node))} is too large")
    return value
