"""The skip gradient (Wu 2020, section 3): gradients that prefer skip connections to residuals.

A junction is where a network puts its input z and what it computed from it together: z + f(z), or
z beside f(z) in the channels (a dense layer). A copy of the network is made in which the way back
through f is multiplied by gamma, and which answers as before. PGD, MI-FGSM or any other attack on
the copy is then its skip gradient method; what it crafts is tried on networks as they are.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx, nn

from robustnb.errors import UsageError
from robustnb.scalars import finite, is_scalar, shown

_SUMS = (operator.add, operator.iadd, torch.add)
_JOINS = (torch.cat, torch.concat, torch.concatenate)


class Junction(NamedTuple):
    """A place where z and f(z) meet: "sum" or "join" (of channels), and the last layer of f."""

    kind: str
    residual: str


class _ScaledGradient(torch.autograd.Function):
    """The input itself; its gradient is multiplied by a number."""

    generate_vmap_rule = True

    @staticmethod
    def forward(value: Tensor, factor: float) -> Tensor:
        return value.view_as(value)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, float], output: Tensor) -> None:
        ctx.factor = inputs[1]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return ctx.factor * grads[0], None


def scale_gradient(value: Tensor, factor: float) -> Tensor:
    """`value` to the bit, with `factor` times its gradient.

    It is factor * value + (1 - factor) * value.detach() without the rounding of that sum.

    >>> x = torch.ones(2, requires_grad=True)
    >>> scale_gradient(3 * x, 0.5).sum().backward()
    >>> x.grad
    tensor([1.5000, 1.5000])
    """
    scaled: Tensor = _ScaledGradient.apply(value, factor)  # type: ignore[no-untyped-call]
    return scaled


def skip_junctions(model: nn.Module) -> tuple[Junction, ...]:
    """All junctions of a model whose skip is the identity, in the order of its forward pass.

    A block that changes its input on the way past the residual (by a convolution or pooling) has
    none. Raises UsageError for a model that torch.fx cannot follow.
    """
    traced = _traced(model)
    return tuple(
        Junction("sum" if site.sum_node is not None else "join", site.residual.name)
        for site in _sites(traced.graph)
    )


def skip_gradient(
    model: nn.Module, gamma: float | Sequence[float], *, skip: float | Sequence[float] = 1.0
) -> fx.GraphModule:
    """A copy of `model`, in evaluation mode, that answers alike and has Wu 2020's skip gradient.

    At every junction of `skip_junctions` the gradient through the residual is multiplied by gamma
    in [0, 1]: 1 is the true gradient, 0 leaves the way past all residuals. Nothing is told by
    names: a sum z + f, one term of which is computed from the other, is a residual block, and a
    concatenation of z and f is a dense layer.

    gamma: one number, or one for each junction. skip: in [0, 1], what the gradient past the
    residual is multiplied by (Figure 2 of the paper takes gamma 1 and skip 0 at one junction); of
    sums only. Raises UsageError for a model without junctions, in which nothing would change.

    >>> from robustnb.models import resnet18
    >>> len(skip_junctions(resnet18())), type(skip_gradient(resnet18(), 0.2)).__name__
    (5, 'ResNet')
    """
    traced = _traced(model)
    sites = _sites(traced.graph)
    if not sites:
        raise UsageError(
            "the model has no skip connection that passes its input on unchanged, so the skip "
            "gradient would be the plain one; attack it with pgd, or choose a residual or dense "
            "network"
        )
    decays = _factors("gamma", gamma, len(sites))
    for site, decay, past in zip(sites, decays, _factors("skip", skip, len(sites)), strict=True):
        _rewire(traced.graph, site, decay, past)
    traced.graph.lint()
    traced.recompile()
    return traced


class _Site(NamedTuple):
    """A junction in a graph: the sum that makes it (None for a join), and its two terms."""

    sum_node: fx.Node | None
    residual: fx.Node
    past: fx.Node


class _Tracer(fx.Tracer):
    """Looks into every module, but takes one without children that it cannot follow as it is."""

    def call_module(
        self,
        m: nn.Module,
        forward: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        before, depth = len(self.graph.nodes), len(self.module_stack)
        try:
            return super().call_module(m, forward, args, kwargs)
        except Exception:  # whatever a forward does with a stand-in for its numbers
            if any(True for _ in m.children()):
                raise
            for node in reversed(list(self.graph.nodes)[before:]):
                self.graph.erase_node(node)
            while len(self.module_stack) > depth:
                self.module_stack.popitem()
            return self.create_proxy("call_module", self.path_of_module(m), args, kwargs)


def _traced(model: nn.Module) -> fx.GraphModule:
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {shown(model)}")
    own = copy.deepcopy(model).eval()
    try:
        graph = _Tracer().trace(own)
    except Exception as error:  # a model's own code, which may fail in any way
        raise UsageError(
            f"torch.fx cannot follow {type(model).__name__} ({type(error).__name__}: "
            f"{shown(str(error))}), so its skip connections cannot be found; take branches that "
            "depend on the images or their size out of its forward, or put `scale_gradient` around "
            "its residuals"
        ) from error
    return fx.GraphModule(own, graph, type(model).__name__).eval()


def _sites(graph: fx.Graph) -> list[_Site]:
    """The junctions, in the order of the graph, each residual of a dense block once."""
    number = {node: index for index, node in enumerate(graph.nodes)}
    above: dict[fx.Node, int] = {}  # bit k: computed from node k
    found: list[_Site] = []
    joined: set[fx.Node] = set()
    for node in graph.nodes:
        above[node] = 0
        for source in () if _asks_form(node) else node.all_input_nodes:
            above[node] |= above[source] | 1 << number[source]
        terms = _terms(node)
        for term in terms:
            others = [other for other in terms if above[term] >> number[other] & 1]
            if others and term not in joined:
                found.append(_Site(node if _is_sum(node) else None, term, others[0]))
                joined |= set() if _is_sum(node) else {term}
    return found


def _terms(node: fx.Node) -> list[fx.Node]:
    """What a node adds up or puts side by side."""
    if _is_sum(node):
        given: Iterable[Any] = node.args[:2]
    elif node.op == "call_function" and node.target in _JOINS and node.args:
        first = node.args[0]
        given = first if isinstance(first, list | tuple) else ()
    else:
        given = ()
    return [term for term in given if isinstance(term, fx.Node)]


def _is_sum(node: fx.Node) -> bool:
    named = node.op == "call_method" and node.target in ("add", "add_")
    return named or (node.op == "call_function" and node.target in _SUMS)


def _asks_form(node: fx.Node) -> bool:
    """Whether a node takes the shape of a tensor only, through which no gradient passes."""
    asked = node.args[1] if node.target is getattr and len(node.args) > 1 else node.target
    return isinstance(asked, str) and asked in ("shape", "size", "dim", "ndim")


def _factors(what: str, given: float | Sequence[float], count: int) -> list[float]:
    many = not is_scalar(given) and hasattr(given, "__iter__")
    values: Sequence[Any] = list(given) if many else [given] * count  # type: ignore[arg-type]
    if len(values) != count:
        raise ValueError(
            f"{what} lists {len(values)} numbers for {count} junctions; give one number, or one "
            "for each of skip_junctions(model)"
        )
    numbers = [finite(what, value, least=0) for value in values]
    if max(numbers) > 1:
        raise ValueError(f"{what} must lie in [0, 1], 1 for the true gradient, got {given}")
    return numbers


def _rewire(graph: fx.Graph, site: _Site, decay: float, past: float) -> None:
    """Put `scale_gradient` on the ways into a junction."""
    if site.sum_node is None:
        if past != 1:
            raise ValueError("skip must be 1 where channels are joined; only sums may cut it")
        joins = [node for node in site.residual.users if site.residual in _terms(node)]
        joins = [node for node in joins if not _is_sum(node)]
        _replace(graph, joins, site.residual, decay)
        return
    node = site.sum_node
    if node.target is operator.iadd:  # what is scaled is a view, which may not be written to
        node.target = operator.add
    elif node.target == "add_":
        node.target = "add"
    _replace(graph, [node], site.residual, decay)
    _replace(graph, [node], site.past, past)


def _replace(graph: fx.Graph, users: list[fx.Node], value: fx.Node, factor: float) -> None:
    if factor == 1:
        return
    with graph.inserting_after(value):
        scaled = graph.call_function(scale_gradient, (value, factor))
    for user in users:
        user.replace_input_with(value, scaled)
