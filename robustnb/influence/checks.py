"""Checks of examples, indices, losses and solvers; every message says how to mend it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.func import functional_call

from robustnb.attacks.losses import cross_entropy
from robustnb.attacks.validation import (
    check_classes,
    check_gradients_allowed,
    check_loss,
    check_place,
    check_tensor,
)
from robustnb.influence.losses import is_hinge
from robustnb.influence.risk import EmpiricalRisk
from robustnb.models.ask import check_form
from robustnb.models.modes import eval_mode

PROBED = 4  # examples on which a model and its loss are tried
_CHECKED = 1_000  # examples at once; to check all of them together would hold them twice
_ROUNDING = 1e-3  # of the largest output; batches of other sizes round differently
_Made = TypeVar("_Made")


def check_examples(x: Tensor, y: Tensor, *, like: Tensor | None = None) -> None:
    """Refuse what is not x (n, ...) of finite floats with y (n, ...), at least one.

    `like` are training points, whose dtype, device and shape x must have.
    """
    for name, given in (("x", x), ("y", y)):
        check_tensor(name, given)
    if x.ndim < 2 or y.ndim < 1:
        raise ValueError(
            f"x must be (n, ...) and y (n,) or (n, ...), got {tuple(x.shape)} and "
            f"{tuple(y.shape)}; use x[None] and y[None] for one example"
        )
    if len(x) != len(y) or len(y) == 0:
        raise ValueError(
            f"x and y must hold as many examples, at least one; got {len(x)} and {len(y)}"
        )
    if not x.dtype.is_floating_point:
        raise TypeError(f"x must hold floats, got {x.dtype}; use robustnb.data.to_unit(x)")
    if x.dtype not in (torch.float32, torch.float64):
        raise TypeError(
            f"x must be float32 or float64, got {x.dtype}, in which no matrix is factored; use "
            "x.double() and model.double()"
        )
    if not all(bool(torch.isfinite(part).all()) for part in torch.split(x, _CHECKED)):
        raise ValueError("x holds NaN or infinite values; leave those examples out")
    if y.dtype.is_floating_point and not bool(torch.isfinite(y).all()):
        raise ValueError("y holds NaN or infinite values; leave those examples out")
    if like is None:
        return
    if (x.dtype, x.device) != (like.dtype, like.device):
        raise ValueError(
            f"x is {x.dtype} on {x.device}, the training points are {like.dtype} on {like.device}; "
            "use x.to(device, dtype)"
        )
    if x.shape[1:] != like.shape[1:]:
        raise ValueError(
            f"an example of x has shape {tuple(x.shape[1:])}, a training point "
            f"{tuple(like.shape[1:])}"
        )


def check_answers(
    model: nn.Module,
    loss: Callable[[Tensor, Tensor], Tensor],
    x: Tensor,
    y: Tensor,
    *,
    names: Sequence[str],
) -> None:
    """Refuse a model and a loss without a differentiable loss (n,) of each example by itself.

    names: the parameters that vary, in which the outputs must have derivatives.
    """
    check_gradients_allowed(model)
    check_place(model, x)
    images, labels = x[:PROBED], y[:PROBED]
    with eval_mode(model), torch.enable_grad():
        outputs = _differentiable(model, names, images)
    _check_outputs(outputs, y, loss)
    with eval_mode(model), torch.no_grad():
        check_own_answers(model, images)
    _check_loss(loss, outputs, labels)


def check_products(risk: EmpiricalRisk) -> None:
    """ValueError for a model that torch.func cannot differentiate twice, or example by example."""
    v = torch.ones(risk.p, 2, dtype=risk.theta.dtype, device=risk.theta.device)
    try:
        risk.data_product(v, torch.arange(1, device=risk.y.device), "hessian")
        risk.data_gradients(risk.x[:2], risk.y[:2])
    except (RuntimeError, NotImplementedError) as error:
        said = str(error).partition("\n")[0]
        raise ValueError(
            f"torch.func cannot take the second derivatives of this model and loss ({said}); write "
            "the layer in plain operations (nn.LSTMCell for nn.LSTM), leave it frozen "
            "(params='last'), or take another loss"
        ) from error


def check_own_answers(answer: Callable[[Tensor], Tensor], x: Tensor) -> None:
    """ValueError if the answer to an example is drawn, or depends on the examples beside it."""
    together = answer(x.clone())
    for part in (x.flip(0), x[: max(1, len(x) // 2)]):
        other = answer(part.clone())
        other = other.flip(0) if len(part) == len(x) else other
        if not _agree(together[: len(other)], other):
            raise ValueError(
                "the model answers the same examples otherwise in another batch; make its answer "
                "to an example its own: no batch statistics that eval mode does not replace "
                "(BatchNorm with track_running_stats=False), no mean over the batch, no "
                "randomness such as F.dropout without training=self.training"
            )


def _differentiable(model: nn.Module, names: Sequence[str], x: Tensor) -> Tensor:
    """The outputs for x; ValueError for parameters `names` that have no derivative in them."""
    every = dict(model.named_parameters())
    chosen = {name: every[name].detach().clone().requires_grad_() for name in names}
    outputs = functional_call(model, chosen, (x.clone(),))
    if not isinstance(outputs, Tensor) or len(outputs) != len(x):
        raise TypeError(
            "the model must return one tensor with a row for each example, got "
            f"{type(outputs).__name__}; wrap it in a module that returns its logits"
        )
    lost = list(names)
    if outputs.requires_grad:
        slopes = torch.autograd.grad(outputs.sum(), list(chosen.values()), allow_unused=True)
        lost = [name for name, slope in zip(names, slopes, strict=True) if slope is None]
    if lost:
        raise ValueError(
            f"the outputs have no derivative in {', '.join(lost)}: unused, detached or under "
            "torch.no_grad() in forward, so their influence would be zero; take that out, or name "
            "the parameters that vary: params=[...]"
        )
    return outputs.detach()


def _check_outputs(outputs: Tensor, y: Tensor, loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Refuse outputs that are not finite, or not those that a loss of the library is for."""
    if not bool(torch.isfinite(outputs).all()):
        raise ValueError(
            "the model returns NaN or infinite outputs; check its parameters (training diverged?)"
        )
    if loss is cross_entropy or is_hinge(loss):
        _check_labels(y)
    if loss is cross_entropy:
        check_form(outputs, len(outputs))
        check_classes(y, outputs)
    if is_hinge(loss):
        if outputs.ndim != 1:
            raise ValueError(
                f"a hinge is for scores (n,), got outputs {tuple(outputs.shape)}; return one "
                "score for each example, or use cross_entropy"
            )
        check_classes(y, outputs)


def _check_labels(y: Tensor) -> None:
    if y.ndim != 1:
        raise ValueError(
            f"y must be (n,) for this loss, got {tuple(y.shape)}; use class numbers, not one-hot "
            "rows, or a loss of your own for targets of several numbers"
        )


def _check_loss(loss: Callable[[Tensor, Tensor], Tensor], outputs: Tensor, y: Tensor) -> None:
    """Refuse a loss that is not differentiable, or not that of each example by itself."""
    leaf = outputs.clone().requires_grad_()
    with torch.enable_grad():
        value = loss(leaf, y)
        if len(y) > 1 and isinstance(value, Tensor) and value.shape == (len(y), len(y)):
            raise ValueError(
                f"outputs {tuple(leaf.shape)} and y {tuple(y.shape)} were spread over each other; "
                "give both one shape: return outputs[:, 0] from the model"
            )
        check_loss(value, len(leaf))
        if not value.requires_grad:
            raise ValueError(
                "the loss has no derivative in the outputs of the model (it counts, rounds or "
                "detaches), so influence would be zero; use one that is twice differentiable"
            )
        (slope,) = torch.autograd.grad(value.sum(), leaf)
    if not bool(torch.isfinite(value).all() and torch.isfinite(slope).all()):
        raise ValueError(
            "the loss or its derivative is NaN or infinite for training points; use one that is "
            "finite there (no sqrt or log of zero)"
        )
    if not _agree(value[:1], loss(outputs[:1], y[:1])):
        raise ValueError(
            "the loss of an example changes with the examples beside it; return one value for "
            'each, undivided: reduction="none", no mean and no 1 / len(y)'
        )


def _agree(one: Tensor, other: Tensor) -> bool:
    """Whether two answers are the same but for rounding."""
    with torch.no_grad():
        apart = (one - other).abs().amax()
        return bool(apart <= _ROUNDING * one.abs().amax().clamp_min(1e-30))


def check_test(risk: EmpiricalRisk, x: Tensor, y: Tensor) -> None:
    """Refuse examples that are unlike the training points of a risk, or labels without a class."""
    check_examples(x, y, like=risk.x)
    if y.shape[1:] != risk.y.shape[1:]:
        raise ValueError(
            f"y of an example has shape {tuple(y.shape[1:])}, of a training point "
            f"{tuple(risk.y.shape[1:])}"
        )
    if risk.loss is cross_entropy or is_hinge(risk.loss):
        with eval_mode(risk.model), torch.no_grad():
            check_classes(y, risk.model(x[:1].clone()))


def check_index(index: Tensor | Sequence[int], n: int, *, device: torch.device) -> Tensor:
    """The numbers of training points, (k,) int64 in [0, n); ValueError for others."""
    rows = torch.as_tensor(index, device=device)
    if rows.dtype == torch.bool and rows.shape == (n,):
        rows = rows.nonzero()[:, 0]
    if rows.ndim != 1 or rows.dtype not in (torch.int64, torch.int32) or not len(rows):
        raise ValueError(
            f"index must hold numbers of training points, (k,) with k >= 1, got {rows.dtype} of "
            f"shape {tuple(rows.shape)}"
        )
    low, high = int(rows.min()), int(rows.max())
    if low < 0 or high >= n:
        raise ValueError(
            f"index must lie in [0, {n - 1}], the {n} training points, got {low} to {high}"
        )
    return rows.long()


def chosen(solver: Any, default: Callable[[], _Made]) -> _Made:
    """The solver, or the default where there is none; TypeError for what is not one."""
    if solver is None:
        return default()
    if isinstance(solver, type) or not hasattr(solver, "solve"):
        raise TypeError(
            f"solver must be made, such as CG(), Cholesky() or LiSSA(generator=...), got {solver!r}"
        )
    made: _Made = solver
    return made


def check_columns(risk: EmpiricalRisk, s: Tensor) -> None:
    """Refuse what is not finite columns (p, m) in the parameters of a risk."""
    if s.ndim != 2 or len(s) != risk.p or s.dtype != risk.theta.dtype:
        raise ValueError(
            f"s_test must be ({risk.p}, m) of {risk.theta.dtype}, a row a parameter, got "
            f"{tuple(s.shape)} of {s.dtype}; use inverse_hvp(...).x"
        )
    if not bool(torch.isfinite(s).all()):
        raise ValueError("s_test holds NaN or infinite values; solve for it again")


def check_theta(risk: EmpiricalRisk, theta: Tensor) -> None:
    """Refuse parameters that are not (p,) of the risk's dtype, on its device."""
    like = risk.theta
    if (theta.shape, theta.dtype, theta.device) != (like.shape, like.dtype, like.device):
        raise ValueError(
            f"theta must be {tuple(like.shape)} of {like.dtype} on {like.device}, got "
            f"{tuple(theta.shape)} of {theta.dtype} on {theta.device}; use theta.to(risk.theta)"
        )
