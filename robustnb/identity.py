"""What a model or a function is, in JSON values, so that saved work is never taken for another's.

A function is its instructions, constants, defaults, what it closes over and the globals it reads;
an object is its class and its attributes; a module also its weights, buffers and hooks. What lives
in an installed library is known by its name. Where none of this can be read (an open connection, an
object of a compiled extension), `UnknownIdentity` says how to name the thing.
"""

from __future__ import annotations

import dis
import enum
import hashlib
import json
import logging
import numbers
import re
import site
import sys
import sysconfig
import threading
import types
from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from robustnb.provenance import digest
from robustnb.tensorfile import weights_digest

_PLAIN = (bool, int, float, str)
# What every module has and what its weights and children say already.
_MODULE_STATE = frozenset(nn.Module().__dict__) | {"training"}
_HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")
_NO_ANSWER = (logging.Logger, type(threading.Lock()), type(threading.RLock()))  # decide nothing
_NO_CODE = frozenset(
    ("__dict__", "__weakref__", "__doc__", "__module__", "__firstlineno__", "__static_attributes__",
     "__abstractmethods__", "_abc_impl", "__annotations__", "__annotate_func__")
)  # fmt: skip


class UnknownIdentity(TypeError):
    """It cannot be told from its code and state what this object does."""


class _NamedFunction:
    """A function that goes by a name of its caller's."""

    def __init__(self, function: Callable[..., Any], name: str) -> None:
        self.function, self.name = function, name

    def __call__(self, *args: Any, **keywords: Any) -> Any:
        return self.function(*args, **keywords)


class _NamedModule(nn.Module):
    """A module that goes by a name of its caller's, with its weights and modes as they are."""

    def __init__(self, module: nn.Module, name: str) -> None:
        super().__init__()
        self.module, self.name = module, name

    def forward(self, *args: Any, **keywords: Any) -> Any:
        return self.module(*args, **keywords)


def named(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """The same function or module, known in checkpoints by `name` in place of its code and state.

    Whoever gives the name answers for it: two things of one name are taken for the same. Weights
    and answers are still compared.

    >>> named(abs, "absolute value")(-2)
    2
    """
    if not isinstance(name, str) or not name:
        raise ValueError(f"name must be a text that is not empty, got {name!r}")
    kind = _NamedModule if isinstance(function, nn.Module) else _NamedFunction
    return kind(function, name)  # type: ignore[arg-type]


def describe(value: Any, *, opaque: bool = False) -> Any:
    """JSON values that are equal for things that do the same; functions and objects as digests.

    Raises UnknownIdentity for what cannot be read; with `opaque` its class stands in for it.
    """
    return _Reader(opaque).read(value)


def settings(model: Callable[..., Any]) -> dict[str, Any]:
    """What decides a model's answers beside its weights, in JSON values by path.

    Paths are such as "layer1.scale" (an attribute) or "eps" (a variable that a function closes
    over); UnknownIdentity if something cannot be read.
    """
    return dict(_Reader(opaque=False).settings(model))


class _Reader:
    """One walk; an object that was met before is its number, so that circles end."""

    def __init__(self, opaque: bool) -> None:
        self.opaque = opaque
        self.met: dict[int, int] = {}
        self.alive: list[Any] = []  # so that no number is given twice

    def settings(self, model: Any) -> Iterator[tuple[str, Any]]:
        if isinstance(model, _NamedFunction | _NamedModule):
            yield "name", model.name
        elif isinstance(model, nn.Module):
            yield from self.module_settings(model)
        elif isinstance(model, types.FunctionType) and not _in_library(model.__module__):
            self.meet(model)
            yield "code", self.code(model.__code__, model.__globals__)
            yield "defaults", self.read([model.__defaults__, model.__kwdefaults__])
            for name, cell in zip(model.__code__.co_freevars, model.__closure__ or (), strict=True):
                yield name, self.read(_cell(cell))
        elif not _in_library(type(model).__module__) and _attributes(model) is not None:
            self.meet(model)
            yield "class", self.read(type(model))
            for name, item in sorted((_attributes(model) or {}).items()):
                yield name, self.read(item)
        else:
            yield "function", self.read(model)

    def meet(self, value: Any) -> None:
        self.met[id(value)] = len(self.met)
        self.alive.append(value)

    def read(self, value: Any) -> Any:
        if isinstance(value, np.generic):
            value = value.item()
        if value is None or type(value) in _PLAIN:
            return value
        if isinstance(value, Tensor | np.ndarray):
            return _of_array(value)
        if isinstance(value, enum.Enum):
            return f"{type(value).__qualname__}.{value.name}"
        if isinstance(value, bytes | bytearray):
            return hashlib.sha256(value).hexdigest()
        if isinstance(value, torch.dtype | torch.device | PurePath | numbers.Complex):
            return str(value)
        if id(value) in self.met:
            return f"met {self.met[id(value)]}"
        self.meet(value)
        return self.compound(value)

    def compound(self, value: Any) -> Any:
        if isinstance(value, _NamedFunction | _NamedModule):
            return {"name": value.name}
        if isinstance(value, _NO_ANSWER):
            return _name(type(value))
        if isinstance(value, torch.Generator):
            return weights_digest({"state": value.get_state()})
        if isinstance(value, nn.Module):
            return digest([dict(self.module_settings(value)), weights(value)])
        if isinstance(value, Mapping):
            return {self.key(key): self.read(item) for key, item in value.items()}
        if isinstance(value, set | frozenset):
            return sorted((self.read(item) for item in value), key=_text)
        if isinstance(value, tuple | list):
            return [self.read(item) for item in value]
        if isinstance(value, partial):
            words = {name: self.read(item) for name, item in sorted(value.keywords.items())}
            return {"function": self.read(value.func), **_some(arguments=self.read(value.args)),
                    **words}  # fmt: skip
        return self.callable_or_object(value)

    def callable_or_object(self, value: Any) -> Any:
        inner = getattr(value, "_torchdynamo_orig_callable", None)
        if inner is not None:
            return self.read(inner)
        if isinstance(value, types.MethodType):
            return {"function": self.read(value.__func__), "self": self.read(value.__self__)}
        if isinstance(value, types.FunctionType):
            return self.function(value)
        if isinstance(value, type):
            return self.cls(value)
        if isinstance(value, types.ModuleType):
            return f"module {value.__name__}"
        if isinstance(value, types.BuiltinFunctionType | types.BuiltinMethodType | np.ufunc):
            return _name(value)
        return self.object(value)

    def function(self, value: types.FunctionType) -> Any:
        name = _name(value)
        if _in_library(value.__module__):
            return name
        closed = [_cell(cell) for cell in value.__closure__ or ()]
        parts = [
            self.code(value.__code__, value.__globals__), [self.read(item) for item in closed],
            self.read(value.__defaults__), self.read(value.__kwdefaults__),
        ]  # fmt: skip
        return f"{name} {digest(parts)[:16]}"

    def code(self, code: types.CodeType, scope: Mapping[str, Any]) -> list[Any]:
        constants = [
            self.code(item, scope) if isinstance(item, types.CodeType) else self.constant(item)
            for item in code.co_consts
        ]
        reads = {name: self.read(item) for name, item in _globals_read(code, scope)}
        return [code.co_code.hex(), constants, list(code.co_names), reads]

    def constant(self, value: Any) -> Any:
        return sorted(map(repr, value)) if isinstance(value, frozenset) else repr(value)

    def cls(self, value: type) -> Any:
        if _in_library(value.__module__):
            return _name(value)
        own = {
            name: self.member(item)
            for name, item in sorted(vars(value).items())
            if name not in _NO_CODE
        }
        return f"{_name(value)} {digest([own, [self.read(base) for base in value.__bases__]])[:16]}"

    def member(self, item: Any) -> Any:
        """What a class holds under a name; descriptors made by C code go by their kind."""
        if isinstance(item, property):
            return [self.read(part) for part in (item.fget, item.fset)]
        inner = getattr(item, "__func__", item)
        if not isinstance(inner, types.FunctionType) and hasattr(inner, "__get__"):
            return _name(type(inner))
        return self.read(inner)

    def object(self, value: Any) -> Any:
        kind, state = type(value), _attributes(value)
        held = {name: self.read(item) for name, item in (state or {}).items()}
        if state is not None and not _pickles_its_own_way(kind):
            return digest([self.read(kind), held])
        try:
            parts = value.__reduce_ex__(2)  # what pickle would write
        except Exception as error:
            if self.opaque or state:
                return f"opaque {_name(kind)} {digest(held) if held else ''}".rstrip()
            raise UnknownIdentity(
                f"what {_name(kind)} does cannot be read from its code and state, so saved work "
                "could be taken for another's; name it: robustnb.identity.named(model, "
                '"a name of its own")'
            ) from error
        parts = parts if isinstance(parts, str) else [self.read(part) for part in parts]
        return digest([parts, held])

    def key(self, key: Any) -> str:
        return key if isinstance(key, str) else _text(self.read(key))

    def module_settings(self, model: nn.Module) -> Iterator[tuple[str, Any]]:
        model = getattr(model, "_orig_mod", model)  # torch.compile keeps the module it was given
        for module in model.modules():
            self.meet(module)
        for path, module in model.named_modules():
            prefix = f"{path}." if path else ""
            yield f"{prefix}class", self.read(type(module))
            if isinstance(module, torch.jit.ScriptModule):
                yield f"{prefix}graph", _of_graph(module)
                continue
            for name, item in sorted(vars(module).items()):
                if name not in _MODULE_STATE:
                    yield prefix + name, self.read(item)
            for name in _HOOKS:
                hooks = getattr(module, name, None)
                if hooks:
                    yield prefix + name, [self.read(hook) for hook in hooks.values()]


def weights(model: Callable[..., Any]) -> str:
    """SHA-256 of a module's parameters and buffers, those that are not saved included."""
    if not isinstance(model, nn.Module):
        return weights_digest({})
    tensors = dict(model.named_parameters(remove_duplicate=False))
    return weights_digest(tensors | dict(model.named_buffers(remove_duplicate=False)))


def _of_array(value: Tensor | np.ndarray[Any, Any]) -> Any:
    if isinstance(value, np.ndarray):
        if value.dtype.hasobject:
            return [describe(item) for item in value.ravel().tolist()]
        form = f"{value.dtype} {value.shape}".encode()
        return hashlib.sha256(form + np.ascontiguousarray(value).tobytes()).hexdigest()
    return value.item() if value.ndim == 0 else weights_digest({"tensor": value})


def _of_graph(module: torch.jit.ScriptModule) -> list[Any]:
    """A scripted module's operations and the tensors that freezing wrote into them."""
    graph: Any = module.inlined_graph
    tensors = [
        _of_array(node.t("value"))
        for node in graph.findAllNodes("prim::Constant", True)
        if node.hasAttribute("value") and node.kindOf("value") == "t"
    ]
    plain = [line.partition(" # ")[0] for line in str(graph).splitlines()]  # source locations
    lines = [re.sub(r"___torch_mangle_\d+", "", line) for line in plain]  # counts compilations
    return [digest(lines), tensors]


def _globals_read(code: types.CodeType, scope: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Each global that the code reads and, of a module that is no library, what it takes there."""
    steps = list(dis.get_instructions(code))
    for step, after in zip(steps, [*steps[1:], None], strict=True):
        if step.opname not in ("LOAD_GLOBAL", "LOAD_NAME") or step.argval not in scope:
            continue
        found, name = scope[step.argval], str(step.argval)
        if isinstance(found, types.ModuleType) and not _in_library(found.__name__):
            if after is not None and after.opname in ("LOAD_ATTR", "LOAD_METHOD"):
                yield f"{name}.{after.argval}", getattr(found, str(after.argval), None)
        else:
            yield name, found


def _attributes(value: Any) -> Mapping[str, Any] | None:
    """An object's attributes by name; None if its state is where Python cannot look."""
    if hasattr(value, "__dict__"):
        return dict(vars(value))
    names = [name for base in type(value).__mro__ for name in _slots(base)]
    known = {name: getattr(value, name) for name in names if hasattr(value, name)}
    return known if names else None


def _pickles_its_own_way(kind: type) -> bool:
    """Whether a class says itself what pickle keeps, as those of C code do."""
    plain = {"__reduce__": object.__reduce__, "__reduce_ex__": object.__reduce_ex__}
    return any(getattr(kind, name) is not default for name, default in plain.items())


def _slots(base: type) -> tuple[str, ...]:
    named = vars(base).get("__slots__", ())
    return (named,) if isinstance(named, str) else tuple(named)


def _cell(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not yet given a value
        return None


def _name(value: Any) -> str:
    module = getattr(value, "__module__", None) or "builtins"
    return f"{module}.{getattr(value, '__qualname__', getattr(value, '__name__', repr(value)))}"


def _some(**parts: Any) -> dict[str, Any]:
    return {name: value for name, value in parts.items() if value}


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


@cache
def _library_folders() -> tuple[Path, ...]:
    paths = sysconfig.get_paths()
    named = [paths[key] for key in ("stdlib", "platstdlib", "purelib", "platlib")]
    folders = [*named, *site.getsitepackages(), Path(torch.__file__).parents[1]]
    return tuple(Path(str(folder)).resolve() for folder in folders)


@cache
def _in_library(module: str | None) -> bool:
    """Whether a module is built in or installed, and so known by its name and version."""
    if module is None:
        return True
    if module.partition(".")[0] == "robustnb":
        return True
    if module == "__main__":
        return False
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None:
        return module.partition(".")[0] in sys.builtin_module_names or module in sys.modules
    return any(folder in Path(file).resolve().parents for folder in _library_folders())
