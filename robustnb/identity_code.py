"""What code consists of and reads, and which modules are libraries, known by name and version."""

from __future__ import annotations

import copyreg
import dis
import importlib
import importlib.util
import site
import sys
import sysconfig
import types
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch

_LOADS = ("LOAD_GLOBAL", "LOAD_NAME")
_NO_STEP = ("EXTENDED_ARG", "CACHE")
# What torch.compile writes on the functions that it makes.
_DYNAMO = frozenset(
    ("_torchdynamo_inline", "_torchdynamo_orig_callable", "_torchdynamo_wrapper_id",
     "_isolate_recompiles_id", "get_compiler_config", "aot_compile", "_is_torch_compile")
)  # fmt: skip


def name_of(value: Any) -> str:
    """A class's or function's module and name."""
    module = getattr(value, "__module__", None) or "builtins"
    return f"{module}.{getattr(value, '__qualname__', getattr(value, '__name__', repr(value)))}"


def home(function: types.FunctionType) -> str:
    """The module whose code a function is, whatever functools.wraps copied onto it."""
    return str(function.__globals__.get("__name__", "__main__"))


def compiled_from(function: types.FunctionType) -> Any:
    """What torch.compile was given, if it made this function; None for any other function."""
    made_by_torch = home(function).startswith("torch._dynamo.")
    return vars(function).get("_torchdynamo_orig_callable") if made_by_torch else None


def function_attributes(function: types.FunctionType) -> dict[str, Any]:
    """What was set on a function, without what functools.wraps and torch.compile note there."""
    torchs = _DYNAMO if "_torchdynamo_orig_callable" in vars(function) else frozenset()
    left_out = {"__wrapped__", *torchs}
    return {name: item for name, item in vars(function).items() if name not in left_out}


def instructions(code: types.CodeType) -> list[Any]:
    """A function's instructions, constants, names and argument names, nested functions included."""
    arguments = code.co_argcount + code.co_kwonlyargcount
    return [
        code.co_code.hex(), code.co_exceptiontable.hex(), code.co_flags,
        [_constant(item) for item in code.co_consts], list(code.co_names),
        [code.co_argcount, code.co_kwonlyargcount, *code.co_varnames[:arguments]],
    ]  # fmt: skip


def names_read(code: types.CodeType, scope: Mapping[str, Any]) -> dict[str, Any]:
    """Each global that the code reads, by name; of a module that is no library, what it takes.

    A module of the user's that is used in any other way (passed on, given another name) is there
    itself. Imports within the function count as well.
    """
    found: dict[str, Any] = {}
    steps = [step for step in dis.get_instructions(code) if step.opname not in _NO_STEP]
    for place, step in enumerate(steps):
        if step.opname in _LOADS and step.argval in scope:
            name, value = _chain(str(step.argval), scope[step.argval], steps[place + 1 :])
            found[name] = value
        elif step.opname == "IMPORT_NAME":
            level, names = (before.argval for before in steps[place - 2 : place])
            found |= _imported(str(step.argval), level, names, scope)
    for item in code.co_consts:
        if isinstance(item, types.CodeType):
            found |= names_read(item, scope)
    return dict(sorted(found.items()))


def _chain(name: str, value: Any, after: list[dis.Instruction]) -> tuple[str, Any]:
    """The end of `package.module.name`, as far as modules of the user's go."""
    for step in after:
        if not is_users_module(value) or step.opname not in ("LOAD_ATTR", "LOAD_METHOD"):
            break
        name, value = f"{name}.{step.argval}", getattr(value, str(step.argval), None)
    return name, value


def _imported(
    module: str, level: int, names: tuple[str, ...] | None, scope: Mapping[str, Any]
) -> dict[str, Any]:
    if level:
        module = importlib.util.resolve_name("." * level + module, scope.get("__package__") or "")
    try:
        if importlib.util.find_spec(module.partition(".")[0]) is None:
            return {}
        if in_library(module.partition(".")[0]):
            return {}
        found = importlib.import_module(module)
    except (ImportError, ValueError):  # absent: the code has another way, or fails itself
        return {}
    if not names:
        return {f"import {module}": found}
    return {f"import {module}.{name}": _member(found, name) for name in names}


def _member(module: types.ModuleType, name: str) -> Any:
    if not hasattr(module, name):
        try:
            return importlib.import_module(f"{module.__name__}.{name}")
        except ImportError:
            return None
    return getattr(module, name)


def is_users_module(value: Any) -> bool:
    """Whether this is a module that is neither built in nor installed."""
    return isinstance(value, types.ModuleType) and not in_library(value.__name__)


def attributes(value: Any) -> dict[str, Any] | None:
    """An object's attributes by name, slots included; None if its state is where no one can look.

    An object's own `__getattr__` is not asked.
    """
    found: dict[str, Any] = {}
    slots = [(base, name) for base in type(value).__mro__ for name in _slots(base)]
    for base, name in slots:
        hidden = name.startswith("__") and not name.endswith("__")
        name = f"_{base.__name__.lstrip('_')}{name}" if hidden else name
        try:
            found[name] = object.__getattribute__(value, name)
        except AttributeError:  # not yet given a value
            continue
    try:
        held = object.__getattribute__(value, "__dict__")
    except AttributeError:
        return found if slots else None
    return {**found, **held}


def _slots(base: type) -> list[str]:
    listed = vars(base).get("__slots__", ())
    names = [listed] if isinstance(listed, str) else list(listed)
    return [name for name in names if name not in ("__dict__", "__weakref__")]


def pickles_its_own_way(kind: type) -> bool:
    """Whether a class says itself what pickle keeps, as those of C code do."""
    plain = {"__reduce__": object.__reduce__, "__reduce_ex__": object.__reduce_ex__}
    own = any(getattr(kind, name) is not default for name, default in plain.items())
    return own or kind in copyreg.dispatch_table


def cell_value(cell: types.CellType) -> Any:
    """What a function closes over; None where it has no value yet."""
    try:
        return cell.cell_contents
    except ValueError:
        return None


def _constant(value: Any) -> Any:
    if isinstance(value, types.CodeType):
        return instructions(value)
    if isinstance(value, tuple):
        return [_constant(item) for item in value]
    return sorted(map(repr, value)) if isinstance(value, frozenset) else repr(value)


@cache
def _library_folders() -> tuple[Path, ...]:
    paths = sysconfig.get_paths()
    named = [paths[key] for key in ("stdlib", "platstdlib", "purelib", "platlib")]
    folders = [*named, *site.getsitepackages(), Path(torch.__file__).parents[1]]
    return tuple(Path(str(folder)).resolve() for folder in folders)


@cache
def _is_installed(place: str) -> bool:
    return any(folder in Path(place).resolve().parents for folder in _library_folders())


def in_library(module: str | None) -> bool:
    """Whether a module is built in or installed, and so known by its name and version."""
    if module is None or module == "__main__":
        return module is None
    top = module.partition(".")[0]
    if top == "robustnb" or top in sys.stdlib_module_names:
        return True
    loaded = sys.modules.get(module)
    file = getattr(loaded, "__file__", None)
    places = [file] if file else list(getattr(loaded, "__path__", ()))
    if places:
        return all(_is_installed(str(place)) for place in places)
    return "." in module and in_library(module.rpartition(".")[0])
