"""The one way the library asks a model: with a copy of the images, refusing what is no answer."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from robustnb.models.layout import format_in_use
from robustnb.models.modes import Model


def ask(model: Model, x: Tensor) -> Tensor:
    """The model's logits (N, classes) or scores (N,) for x (N, ...), with autograd's graph.

    The model gets a copy, so that one that works in place changes nothing of the caller's. Raises
    TypeError or ValueError, with the way to mend it, unless it answers with one tensor of floats:
    a row of at least two logits, or one score, for each image.
    """
    check_model(model)
    logits = model(x.clone(memory_format=format_in_use(model, x)))
    check_form(logits, len(x))
    return logits


def ask_features(extractor: Model, x: Tensor) -> Tensor:
    """The extractor's features (N, k) for x (N, ...), with autograd's graph; it gets a copy of x.

    TypeError or ValueError, with the way to mend it, unless it answers with one tensor of finite
    floats that has a row for each image.
    """
    check_model(extractor)
    found = extractor(x.clone())
    check_feature_form(found, len(x))
    if not bool(torch.isfinite(found).all()):
        raise ValueError(
            "the extractor returned NaN or infinite features; check its weights (did training "
            "diverge?)"
        )
    return found


def check_feature_form(found: Any, count: int) -> None:
    """Refuse features that are not one tensor of floats (count, k)."""
    if not isinstance(found, Tensor):
        raise TypeError(
            f"the extractor must return a tensor of features (N, k), got {_kind(found)}; wrap it "
            "in a module that returns one of them"
        )
    if found.ndim != 2 or len(found) != count:
        raise ValueError(
            f"the extractor must give a row of features for each image, got {tuple(found.shape)} "
            f"for {count} images; flatten its output"
        )
    if not found.dtype.is_floating_point:
        raise TypeError(f"the extractor must return float features, got {found.dtype}")


def check_model(model: Any) -> None:
    """Refuse what is no model: a class, a file's weights, nothing at all."""
    if isinstance(model, type):
        raise TypeError(
            f"model is the class {model.__name__}, not a network; make one: {model.__name__}(...)"
        )
    if isinstance(model, Mapping):
        raise TypeError(
            f"model is a {type(model).__name__} of weights; load them into a network first: "
            "net.load_state_dict(weights)"
        )
    if not callable(model):
        raise TypeError(
            f"model must be a module or a function of images, got {type(model).__name__}"
        )


def check_layers(model: Any, what: str) -> None:
    """Refuse what is no module with layers of its own, such as a function, or one of torch.jit."""
    check_model(model)
    if not isinstance(model, nn.Module):
        raise TypeError(f"{what} needs a torch module, got {type(model).__name__}")
    if isinstance(model, torch.jit.ScriptModule):
        raise TypeError(
            f"{what} needs the layers of the model, and one compiled by torch.jit shows none; pass "
            "the module that it was made from"
        )


def check_form(logits: Any, count: int) -> None:
    """Refuse a model's output unless it is float logits (count, classes) or scores (count,)."""
    if not isinstance(logits, Tensor):
        raise TypeError(
            f"the model must return a tensor of logits, got {_kind(logits)}; {_unpacked(logits)}"
        )
    if not logits.dtype.is_floating_point:
        raise TypeError(
            f"the model must return float logits, got {logits.dtype}; return the scores of the "
            "classes themselves, not their argmax"
        )
    if logits.ndim == 2 and logits.shape[1] == 1 and len(logits) == count:
        raise ValueError(
            f"the model returned one column, shape {tuple(logits.shape)}, so no class can be "
            "mistaken for another; for scores s (N, 1) return torch.cat([-s, s], 1) and use labels "
            "0 and 1, or return s[:, 0] and use labels -1 and +1"
        )
    if logits.ndim not in (1, 2) or len(logits) != count:
        raise ValueError(
            f"the model must return logits ({count}, classes) or scores ({count},), got shape "
            f"{tuple(logits.shape)}; flatten its output"
        )


def no_finer(logits: Tensor, x: Tensor) -> Tensor:
    """The logits in x's precision where the model answered in a finer one."""
    finer = torch.finfo(logits.dtype).bits > torch.finfo(x.dtype).bits
    return logits.to(x.dtype) if finer else logits


def check_finite(logits: Tensor) -> None:
    """Refuse logits that are NaN or infinite."""
    if math.isfinite(float(logits.detach().sum())):  # in one operation; a sum may overflow
        return
    if not bool(torch.isfinite(logits).all()):
        raise ValueError(
            "the model returned NaN or infinite logits; a NaN never counts as misclassified, so "
            "the attack would overstate robustness. Check the weights (training diverged?)"
        )


def tensors_of(model: Model) -> Iterator[Tensor]:
    """The parameters and buffers of a module; none of a plain function."""
    if isinstance(model, nn.Module):
        yield from chain(model.parameters(), model.buffers())


def check_has_values(weight: Tensor) -> None:
    """Refuse a weight of a model that was made on the meta device."""
    if weight.device.type == "meta":
        raise ValueError(
            "the model is on the meta device, where weights have no values; give it some: "
            'model.to_empty(device="cpu"), then load or draw them'
        )


def place_of(model: Model, x: Tensor) -> tuple[torch.device, torch.dtype]:
    """Where images must be for a model, and in which dtype.

    That of its first floating-point parameter or buffer; of a model without any, x's own device and
    x's dtype if it is a float, else float32.
    """
    for tensor in tensors_of(model):
        if tensor.dtype.is_floating_point:
            check_has_values(tensor)
            return tensor.device, tensor.dtype
    return x.device, x.dtype if x.dtype.is_floating_point else torch.float32


def _kind(value: Any) -> str:
    name = type(value).__name__
    return f"a {name} with the keys {list(value)}" if isinstance(value, Mapping) else f"a {name}"


def _unpacked(value: Any) -> str:
    if getattr(value, "logits", None) is not None:
        return "attack `lambda x: model(x).logits`"
    if isinstance(value, Mapping) and value:
        key = "logits" if "logits" in value else next(iter(value))
        return f"attack `lambda x: model(x)[{key!r}]`"
    if isinstance(value, tuple | list) and value:
        return "attack `lambda x: model(x)[0]`, or whichever entry holds the logits"
    return "return its logits, a torch tensor (N, classes)"
