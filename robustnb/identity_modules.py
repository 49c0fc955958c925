"""What torch keeps of a module where its attributes do not say it: graphs, and what is shared."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from types import FunctionType
from typing import Any

import torch
from torch import Tensor, nn

from robustnb.identity_code import home, in_library, name_of
from robustnb.provenance import digest

Read = Callable[[Any], Any]


def is_compiled(module: nn.Module) -> bool:
    """Whether torch.compile made this module around another one."""
    dynamo = sys.modules.get("torch._dynamo.eval_frame")  # absent: nothing was compiled here
    return dynamo is not None and isinstance(module, dynamo.OptimizedModule)


def parameters_of(
    module: nn.Module, seen: dict[int, str], prefix: str
) -> Iterator[tuple[str, Any]]:
    """Which of a module's own parameters are trained, and which tensors it shares with others."""
    own: dict[str, Tensor] = dict(module.named_parameters(recurse=False, remove_duplicate=False))
    trained = sorted(name for name, tensor in own.items() if tensor.requires_grad)
    if own:
        yield "trained parameters", trained
    own |= dict(module.named_buffers(recurse=False, remove_duplicate=False))
    shared = {
        name: seen[id(tensor)]
        for name, tensor in own.items()
        if seen.setdefault(id(tensor), prefix + name) != prefix + name
    }
    if shared:
        yield "shared tensors", shared


def script_facts(scripted: Any, read: Read) -> Iterator[tuple[str, Any]]:
    """The operations of a scripted module or function, and the values that they use."""
    graph: Any = getattr(scripted, "inlined_graph", None)
    if graph is None:  # a list of modules has no forward
        return
    plain = [line.partition(" # ")[0] for line in str(graph).splitlines()]  # source locations
    lines = [re.sub(r"___torch_mangle_\d+", "", line) for line in plain]  # counts compilations
    yield "scripted graph", digest(lines)
    constants = [
        read(node.t("value"))
        for node in graph.findAllNodes("prim::Constant", True)
        if node.hasAttribute("value") and node.kindOf("value") == "t"
    ]
    yield "scripted constants", constants
    if isinstance(scripted, nn.Module):
        held = sorted(_script_attributes(scripted, graph).items())
        yield "scripted attributes", {name: read(item) for name, item in held}


def _script_attributes(module: nn.Module, graph: Any) -> dict[str, Any]:
    """The attributes that the graph reads, by path, of the module and of those below it."""
    reached: dict[str, tuple[str, Any]] = {next(graph.inputs()).debugName(): ("", module)}
    found = {}
    for node in graph.findAllNodes("prim::GetAttr", True):
        path, owner = reached.get(node.input().debugName(), ("", None))
        path = f"{path}.{node.s('name')}".lstrip(".")
        value = getattr(owner, node.s("name"), None)
        reached[node.output().debugName()] = path, value
        if not isinstance(value, nn.Module | Tensor):  # those are children and weights
            found[path] = value
    return found


def traced_facts(module: torch.fx.GraphModule, read: Read) -> Iterator[tuple[str, Any]]:
    """The code that torch.fx or torch.export wrote, and the functions and constants it uses."""
    yield "traced code", digest(module.code)
    used = {}
    for node in module.graph.nodes:
        if node.op == "call_function":
            users = isinstance(node.target, FunctionType) and not in_library(home(node.target))
            used[str(node.name)] = node.target if users else name_of(node.target)
        elif node.op == "get_attr":
            value: Any = module
            for name in str(node.target).split("."):
                value = getattr(value, name)
            if not isinstance(value, nn.Module):
                used[str(node.target)] = value
    yield "traced calls", {name: read(item) for name, item in sorted(used.items())}
