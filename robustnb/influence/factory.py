"""`empirical_risk`: the risk of a module on its training set, in closed form where it is linear."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call

from robustnb.influence.autodiff import ModelRisk, fixed_tensors
from robustnb.influence.checks import (
    PROBED,
    check_answers,
    check_examples,
    check_own_answers,
    check_products,
)
from robustnb.influence.linear import LinearRisk
from robustnb.influence.losses import Loss
from robustnb.influence.risk import Decay, EmpiricalRisk, check_choice
from robustnb.models.ask import check_layers, check_model
from robustnb.models.modes import eval_mode
from robustnb.scalars import finite, whole

_FEATURE_CHUNK = 256
_SHARED = "; a tensor that layers share goes by its first name, so name that one: params=[...]"


def empirical_risk(
    model: nn.Module,
    loss: Loss,
    x: Tensor,
    y: Tensor,
    *,
    l2: float = 0.0,
    decay: Decay = "inside",
    decayed: Literal["all", "weights"] = "all",
    params: Literal["all", "last"] | Sequence[str] = "all",
    linear: Literal["auto", "yes", "no"] = "auto",
    chunk_size: int | None = None,
) -> EmpiricalRisk:
    """The mean loss on x (n, ...), y (n, ...) + l2/2 |theta|^2, at the model's present parameters.

    loss: (outputs, y) -> (n,), twice differentiable. decay: see `robustnb.influence.risk`.
    decayed: to "all" parameters, or to "weights" of two axes and more. params: "all" that require a
    gradient (every one where none does), the "last" linear layer, or names; the others are frozen.
    linear: "auto" finds out whether the outputs are those of one linear layer in the chosen
    parameters, and then uses the closed form; "yes" refuses a model where they are not, "no"
    differentiates always. The model is asked in evaluation mode.
    """
    check_examples(x, y)
    check_choice("decay", decay, ("inside", "outside"))
    check_choice("decayed", decayed, ("all", "weights"))
    check_choice("linear", linear, ("auto", "yes", "no"))
    l2 = finite("l2", l2, least=0)
    if chunk_size is not None:
        chunk_size = whole("chunk_size", chunk_size)
    if not isinstance(model, nn.Module):
        check_model(model)
        raise TypeError("the model must be a torch module, whose parameters vary, not a function")
    check_layers(model, "a risk")
    x, y = x.detach(), y.clone()
    names = _names(model, params)
    check_answers(model, loss, x, y, names=names)
    marks = {
        name: decayed == "all" or parameter.ndim > 1
        for name, parameter in model.named_parameters() if name in names
    }  # fmt: skip
    fixed = fixed_tensors(model, names)
    layer = _linear_layer(model, names, x) if linear != "no" else None
    if layer is None and linear == "yes":
        raise ValueError(
            "the outputs are not those of one linear layer in the chosen parameters; choose "
            "params='last', or linear='auto' to differentiate"
        )
    if layer is None:
        risk = ModelRisk(
            model, loss, x, y, names=names, decayed=marks, l2=l2, decay=decay,
            chunk_size=chunk_size, fixed=fixed,
        )  # fmt: skip
        check_products(risk)
        return risk
    return _linear_risk(model, layer, fixed, loss, x, y, l2, decay, decayed, chunk_size)


def _names(model: nn.Module, params: str | Sequence[str]) -> list[str]:
    known = [name for name, _ in model.named_parameters()]
    free = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    if isinstance(params, str) and params not in ("all", "last"):
        raise ValueError(f"params must be 'all', 'last' or a list of names such as [{params!r}]")
    if params == "all":
        chosen = free or known
    elif params == "last":
        layers = [name for name, part in model.named_modules() if isinstance(part, nn.Linear)]
        if not layers:
            raise ValueError("the model has no linear layer; name the parameters: params=[...]")
        inside = f"{layers[-1]}." if layers[-1] else ""
        chosen = [name for name in known if name.rpartition(".")[0] + "." == (inside or ".")]
    else:
        chosen = [name for name in known if name in params]
        missing = sorted(set(params) - set(known))
        if missing:
            shared = _SHARED if _tied(model) & set(missing) else ""
            raise ValueError(f"the model has no parameter {missing}; it has {known}{shared}")
    if not chosen and known:
        raise ValueError(f"the last linear layer has no parameter of its own{_SHARED}")
    if not chosen:
        raise ValueError("the model has no parameters to vary")
    return chosen


def _tied(model: nn.Module) -> set[str]:
    """The second and further names of parameters that have several."""
    every = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    return every - {name for name, _ in model.named_parameters()}


def _linear_layer(model: nn.Module, names: Sequence[str], x: Tensor) -> nn.Linear | None:
    """The linear layer that holds just these parameters and gives the outputs, if there is one."""
    homes = {name.rpartition(".")[0] for name in names}
    if len(homes) != 1:
        return None
    layer = model.get_submodule(homes.pop())
    if not isinstance(layer, nn.Linear) or len(names) != len(list(layer.parameters())):
        return None
    calls, outputs = _seen(model, layer, x[:PROBED])
    if len(calls) != 1 or calls[0].ndim != 2:
        return None
    with torch.no_grad():
        check_own_answers(lambda part: _seen(model, layer, part)[0][0], x[:PROBED])
        expected = layer(calls[0])
    if outputs.ndim == 1 and expected.shape[1] == 1:
        expected = expected[:, 0]
    same = outputs.shape == expected.shape and torch.allclose(outputs, expected)
    return layer if same else None


def _seen(
    model: nn.Module, layer: nn.Linear, x: Tensor, fixed: Mapping[str, Tensor] | None = None
) -> tuple[list[Tensor], Tensor]:
    """What the layer was given when the model, with tensors `fixed`, answered x; and the answer."""
    calls: list[Tensor] = []
    handle = layer.register_forward_pre_hook(lambda _, given: calls.append(given[0]))
    try:
        with eval_mode(model):
            outputs: Tensor = functional_call(model, dict(fixed or {}), (x.clone(),))
    finally:
        handle.remove()
    return calls, outputs


def _linear_risk(
    model: nn.Module,
    layer: nn.Linear,
    fixed: Mapping[str, Tensor],
    loss: Loss,
    x: Tensor,
    y: Tensor,
    l2: float,
    decay: Decay,
    decayed: str,
    chunk_size: int | None,
) -> LinearRisk:
    def featurize(examples: Tensor) -> Tensor:
        return _seen(model, layer, examples, fixed)[0][0]

    with torch.no_grad():
        one = _seen(model, layer, x[:1], fixed)[1]
    theta = torch.cat([part.detach().reshape(-1) for part in layer.parameters()])
    marks = torch.ones_like(theta)
    if decayed == "weights":
        marks[layer.weight.numel() :] = 0
    return LinearRisk(
        _features(featurize, x), loss, x, y, theta=theta,
        classes=None if one.ndim == 1 else layer.out_features, bias=layer.bias is not None,
        decayed=marks, featurize=featurize, l2=l2, decay=decay, chunk_size=chunk_size,
    )  # fmt: skip


def _features(featurize: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """The features (n, d) of all examples; x itself where the layer is given nothing else."""
    with torch.no_grad():
        if torch.equal(featurize(x[:PROBED]), x[:PROBED].flatten(1)):
            return x.flatten(1)
        return torch.cat([featurize(part) for part in torch.split(x, _FEATURE_CHUNK)])
