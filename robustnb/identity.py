"""What a model or a function is, in JSON values, so that saved work is never taken for another's.

A function is its instructions, constants, defaults, what it closes over and the globals it reads;
an object is its class and its attributes; a module also its weights, buffers and hooks. What lives
in an installed library is known by its name. Where none of this can be read (an open connection, an
object of a compiled extension), `UnknownIdentity` says how to name the thing.
"""

from __future__ import annotations

import copyreg
import enum
import functools
import hashlib
import logging
import math
import numbers
import threading
import types
import weakref
from collections.abc import Callable, Iterator, Mapping
from pathlib import PurePath
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from robustnb import identity_code as code
from robustnb.identity_code import in_library, name_of
from robustnb.identity_modules import is_compiled, parameters_of, script_facts, traced_facts
from robustnb.identity_tree import Pairs, Parts, leaves, short, text_of
from robustnb.provenance import digest
from robustnb.tensorfile import weights_digest

_PLAIN = (bool, int, float, str)
_BUILT_IN = (str, bytes, bytearray, int, float, complex, list, tuple, dict, set, frozenset)
# What every module has and what its weights and children say already.
_MODULE_STATE = frozenset(nn.Module().__dict__) | {"training", "_compiled_call_impl"}
_HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")
_NO_ANSWER = (logging.Logger, type(threading.Lock()), type(threading.RLock()))  # decide nothing
_ONLY_CHECKS = "torch.export._unlift.GuardsFn"  # refuses images of another shape
_NO_CODE = frozenset(
    ("__dict__", "__weakref__", "__doc__", "__module__", "__firstlineno__", "__static_attributes__",
     "__abstractmethods__", "_abc_impl", "__annotations__", "__annotate_func__")
)  # fmt: skip
_OF_C_CODE = (
    types.GetSetDescriptorType, types.MemberDescriptorType, types.MethodDescriptorType,
    types.WrapperDescriptorType, types.ClassMethodDescriptorType,
)  # fmt: skip
_METHODS_OF_C_CODE = (types.BuiltinFunctionType, types.MethodWrapperType)


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
    return short(_Reader(opaque).read(value))


def settings(model: Callable[..., Any], *, opaque: bool = False) -> dict[str, Any]:
    """What decides a model's answers beside its weights, in JSON values by path.

    Paths are such as "layer1.scale" (an attribute) or "closure.eps" (a variable that a function
    closes over), and go down to single numbers; the path that ends in ":keys" says what a list or
    dictionary holds. UnknownIdentity if something cannot be read; with `opaque` its class counts.
    """
    reader = _Reader(opaque)
    if isinstance(model, nn.Module) and not isinstance(model, _NamedModule):
        return dict(leaves(dict(reader.module_settings(model)), ""))
    return dict(leaves(reader.read(model), ""))


def weights(model: Callable[..., Any]) -> str:
    """SHA-256 of a module's parameters and buffers, those that are not saved included."""
    if not isinstance(model, nn.Module):
        return weights_digest({})
    tensors = dict(model.named_parameters(remove_duplicate=False))
    return weights_digest(tensors | dict(model.named_buffers(remove_duplicate=False)))


class _Reader:
    """One walk; an object that was met before is the path where it was, so that circles end."""

    def __init__(self, opaque: bool) -> None:
        self.opaque = opaque
        self.met: dict[int, str] = {}
        self.alive: list[Any] = []  # so that no number is given twice
        self.path: list[str] = []

    def meet(self, value: Any, below: str = "") -> None:
        self.met.setdefault(id(value), ".".join([*self.path, *filter(None, [below])]))
        self.alive.append(value)

    def at(self, name: str, value: Any) -> Any:
        self.path.append(name)
        try:
            return self.read(value)
        finally:
            self.path.pop()

    def each(self, values: Mapping[str, Any]) -> dict[str, Any]:
        return {name: self.at(name, values[name]) for name in sorted(values)}

    def read(self, value: Any) -> Any:
        if isinstance(value, np.generic):
            value = value.item()
        if value is None or type(value) in _PLAIN:
            infinite = type(value) is float and not math.isfinite(value)
            return f"float {value}" if infinite else value
        if isinstance(value, Tensor | np.ndarray):
            return self.array(value)
        if type(value) in (bytes, bytearray):
            return hashlib.sha256(value).hexdigest()
        if isinstance(value, torch.dtype | torch.device | PurePath):
            return str(value)
        if isinstance(value, numbers.Complex) and in_library(type(value).__module__):
            return str(value)
        if type(value) is tuple:  # one without values is the same object everywhere
            return self.items(value)
        if id(value) in self.met:
            return f"same as {self.met[id(value)] or 'the whole'}"
        self.meet(value)
        return self.compound(value)

    def array(self, value: Tensor | np.ndarray[Any, Any]) -> Any:
        if isinstance(value, Tensor):
            return value.item() if value.ndim == 0 else weights_digest({"tensor": value})
        if isinstance(value, np.ma.MaskedArray):
            return self.items([np.asarray(value.filled()), np.ma.getmaskarray(value)])
        if value.dtype.hasobject:
            return self.items(value.ravel().tolist())
        form = f"{value.dtype} {value.shape}".encode()
        return hashlib.sha256(form + np.ascontiguousarray(value).tobytes()).hexdigest()

    def items(self, values: list[Any] | tuple[Any, ...]) -> list[Any]:
        return [self.at(f"[{number}]", item) for number, item in enumerate(values)]

    def pairs(self, values: Mapping[Any, Any]) -> Pairs:
        keys = [(self.at("key", key), item) for key, item in values.items()]
        return Pairs([key, self.at(f"[{text_of(key)}]", item)] for key, item in keys)

    def compound(self, value: Any) -> Any:
        kind = type(value)
        if isinstance(value, _NamedFunction | _NamedModule):
            return {"name": value.name}
        if isinstance(value, _NO_ANSWER):
            return name_of(kind)
        if isinstance(value, torch.Generator):
            return weights_digest({"state": value.get_state()})
        if isinstance(value, nn.Module):
            return self.module(value)
        if isinstance(value, enum.Enum):
            return Parts(value.name, self.each({"class": kind, "value": value.value}))
        if isinstance(value, weakref.ReferenceType):
            return self.at("referent", value())
        if kind in (dict, types.MappingProxyType):
            return self.pairs(value)
        if kind in (set, frozenset):
            return sorted((self.at("[]", item) for item in value), key=text_of)
        if kind is list:
            return self.items(value)
        if kind is functools.partial:
            arguments = {"positional arguments": value.args} if value.args else {}
            return self.each({"partial of": value.func, **arguments, **value.keywords})
        return self.callable_or_object(value)

    def callable_or_object(self, value: Any) -> Any:
        if isinstance(value, types.MethodType):
            return self.each({"function": value.__func__, "self": value.__self__})
        if isinstance(value, types.FunctionType):
            compiled = code.compiled_from(value)
            return self.function(value) if compiled is None else self.read(compiled)
        if isinstance(value, torch.jit.ScriptFunction):
            return Parts("script function", dict(script_facts(value, self.read)))
        if isinstance(value, type):
            return self.cls(value)
        if isinstance(value, types.ModuleType):
            return self.python_module(value)
        if isinstance(value, _METHODS_OF_C_CODE):
            owner = getattr(value, "__self__", None)
            if owner is None or isinstance(owner, types.ModuleType):
                return name_of(value)
            return self.each({"method": value.__name__, "self": owner})
        if isinstance(value, np.ufunc):
            return name_of(value)
        return self.object(value)

    def function(self, value: types.FunctionType) -> Any:
        made = value.__code__
        library = in_library(code.home(value))
        name = f"{code.home(value)}.{made.co_qualname}" if library else name_of(value)
        if library and "<locals>" not in made.co_qualname:
            return name
        closed = zip(made.co_freevars, value.__closure__ or (), strict=True)
        parts: dict[str, Any] = {
            "closure": {name: code.cell_value(cell) for name, cell in closed},
            "defaults": value.__defaults__, "keyword defaults": value.__kwdefaults__,
        }  # fmt: skip
        read: dict[str, Any] = {"code": digest(code.instructions(made))}
        if not library:
            parts["globals"] = code.names_read(made, value.__globals__)
            parts["attributes"] = code.function_attributes(value)
        for part, held in parts.items():
            read[part] = self.below(part, held) if isinstance(held, dict) else self.at(part, held)
        return Parts(name, {part: item for part, item in read.items() if item})

    def below(self, part: str, values: Mapping[str, Any]) -> dict[str, Any]:
        self.path.append(part)
        try:
            return self.each(values)
        finally:
            self.path.pop()

    def python_module(self, value: types.ModuleType) -> Any:
        name = f"module {value.__name__}"
        if in_library(value.__name__):
            return name
        held = {name: item for name, item in vars(value).items() if not name.startswith("__")}
        opaque, self.opaque = self.opaque, True  # whatever else the file holds
        try:
            return Parts(name, self.each(held))
        finally:
            self.opaque = opaque

    def cls(self, value: type) -> Any:
        name = name_of(value)
        if in_library(value.__module__):
            own = [base for base in value.__mro__ if not in_library(base.__module__)]
            return Parts(name, {"bases": self.items(own)}) if own else name
        held = {name: item for name, item in vars(value).items() if name not in _NO_CODE}
        parts = {f".{name}": self.member(f".{name}", held[name]) for name in sorted(held)}
        parts["bases"] = self.items(value.__bases__)
        if not in_library(type(value).__module__):
            parts["metaclass"] = self.at("metaclass", type(value))
        return Parts(name, parts)

    def member(self, name: str, item: Any) -> Any:
        """What a class holds under a name; descriptors made by C code go by their kind."""
        if isinstance(item, _OF_C_CODE):
            return name_of(type(item))
        if isinstance(item, property):
            return self.at(name, (item.fget, item.fset))
        if isinstance(item, staticmethod | classmethod):
            return [type(item).__name__, self.at(name, item.__func__)]
        if type(item) is functools.cached_property:
            return ["cached_property", self.at(name, item.func)]
        return self.at(name, item)

    def object(self, value: Any) -> Any:
        kind, state = type(value), code.attributes(value)
        inner = self.built_in(value)
        if inner is None and (state is None or code.pickles_its_own_way(kind)):
            return self.pickled(value, state or {})
        return Parts(name_of(kind), {"its class": self.at("its class", kind), **(inner or {}),
                                      **self.each(state or {})})  # fmt: skip

    def built_in(self, value: Any) -> dict[str, Any] | None:
        """What an object of a class derived from list, dict or str holds as one of these."""
        base = next((base for base in _BUILT_IN if isinstance(value, base)), None)
        if base is None:
            return None
        if base is dict:
            factory = getattr(value, "default_factory", None)
            made = {"default factory": self.at("default factory", factory)} if factory else {}
            return {"its items": self.pairs(dict(value.items())), **made}
        plain: Any = base.__str__(value) if base is str else base(value)
        return {"its items": self.at("its items", plain)}

    def pickled(self, value: Any, state: Mapping[str, Any]) -> Any:
        kind, held = type(value), self.each(state)
        try:  # what pickle would write
            reduce = copyreg.dispatch_table.get(kind)
            parts: Any = reduce(value) if reduce else value.__reduce_ex__(2)
        except Exception as error:
            if self.opaque or state:
                return f"opaque {name_of(kind)} {digest(held) if held else ''}".rstrip()
            raise UnknownIdentity(
                f"what {name_of(kind)} does cannot be read from its code and state, so saved work "
                "could be taken for another's; name it: robustnb.identity.named(model, "
                '"a name of its own")'
            ) from error
        if not isinstance(parts, str):  # items come by an iterator that only points to its object
            parts = [*parts[:3], *(list(items) for items in parts[3:5] if items is not None)]
        read = parts if isinstance(parts, str) else self.items(parts)
        return Parts(name_of(kind), {"pickled": read, **held})

    def module(self, value: nn.Module) -> Any:
        parts = dict(self.module_settings(value))
        modes = [getattr(module, "training", None) for module in value.modules()]
        more = {"training modes": modes, "weights": weights(value)}
        return Parts(name_of(type(value)), {**parts, **more})

    def module_settings(self, model: nn.Module) -> Iterator[tuple[str, Any]]:
        for path, module in model.named_modules():
            self.meet(module, path)
        seen: dict[int, str] = {}
        for path, module in model.named_modules(remove_duplicate=False):
            prefix = f"{path}." if path else ""
            if seen.setdefault(id(module), path) != path:
                yield f"{prefix}same as", seen[id(module)]
                continue
            yield from ((prefix + name, item) for name, item in parameters_of(module, seen, prefix))
            for name, item in self.one_module(module, prefix):
                yield prefix + name, item
            for name in _HOOKS:
                hooks = vars(module).get(name)
                if hooks:
                    yield prefix + name, self.at(prefix + name, list(hooks.values()))

    def one_module(self, module: nn.Module, prefix: str) -> Iterator[tuple[str, Any]]:
        """The class and attributes of a module, without those of its children."""
        if is_compiled(module):
            yield "its class", "torch.compile"
            return
        yield "its class", self.at(f"{prefix}its class", type(module))
        if name_of(type(module)) == _ONLY_CHECKS:
            return
        if isinstance(module, torch.jit.ScriptModule):
            yield from script_facts(module, self.read)
        elif isinstance(module, torch.fx.GraphModule):
            yield from traced_facts(module, self.read)
        else:
            own = {k: item for k, item in vars(module).items() if k not in _MODULE_STATE}
            for name in sorted(own):
                yield name, self.at(prefix + name, own[name])
