"""Checks of examples, indices, losses and solvers; every message says how to mend it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from robustnb.attacks.losses import cross_entropy
from robustnb.attacks.validation import check_classes, check_loss, check_place
from robustnb.influence.risk import EmpiricalRisk
from robustnb.models.ask import check_model
from robustnb.models.modes import eval_mode

PROBED = 4  # examples on which a model and its loss are tried
_Made = TypeVar("_Made")


def check_examples(x: Tensor, y: Tensor, *, like: Tensor | None = None) -> None:
    """Refuse what is not x (n, ...) of finite floats with y (n,), at least one.

    `like` are training points, whose dtype, device and shape x must have.
    """
    for name, given in (("x", x), ("y", y)):
        if not isinstance(given, Tensor):
            kind = type(given).__name__
            raise TypeError(
                f"{name} must be a torch tensor, got {kind}; use torch.as_tensor({name})"
            )
    if x.ndim < 2 or y.ndim != 1:
        raise ValueError(
            f"x must be (n, ...) and y (n,), got {tuple(x.shape)} and {tuple(y.shape)}; use "
            "x[None] for one example, and class numbers, not one-hot rows"
        )
    if len(x) != len(y) or len(y) == 0:
        raise ValueError(
            f"x and y must hold as many examples, at least one; got {len(x)} and {len(y)}"
        )
    if not x.dtype.is_floating_point:
        raise TypeError(f"x must hold floats, got {x.dtype}; use robustnb.data.to_unit(x)")
    if not bool(torch.isfinite(x).all()):
        raise ValueError("x holds NaN or infinite values; leave those examples out")
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
    model: nn.Module, loss: Callable[[Tensor, Tensor], Tensor], x: Tensor, y: Tensor
) -> None:
    """Refuse a model and a loss that do not give a differentiable loss (n,) for these examples."""
    check_model(model)
    check_place(model, x)
    with eval_mode(model), torch.no_grad():
        outputs = model(x[:PROBED].clone())
    if not isinstance(outputs, Tensor) or len(outputs) != len(x[:PROBED]):
        raise TypeError(
            "the model must return one tensor with a row for each example, got "
            f"{type(outputs).__name__}; wrap it in a module that returns its logits"
        )
    if loss is cross_entropy:
        if outputs.ndim == 2 and outputs.shape[1] == 1:
            raise ValueError(
                "cross-entropy of one column is always 0; return scores (n,) with labels -1 and +1"
            )
        check_classes(y, outputs)
    leaf = outputs.detach().clone().requires_grad_()
    value = loss(leaf, y[:PROBED])
    check_loss(value, len(leaf))
    if not value.requires_grad:
        raise ValueError(
            "the loss has no derivative in the outputs of the model (it counts, rounds or "
            "detaches), so influence would be zero; use one that is twice differentiable"
        )


def check_test(risk: EmpiricalRisk, x: Tensor, y: Tensor) -> None:
    """Refuse examples that are unlike the training points of a risk, or labels without a class."""
    check_examples(x, y, like=risk.x)
    if risk.loss is cross_entropy:
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
