"""Projected gradient ascent (Madry 2018, eq. 2): one loop for attacks and for adversarial training.

The loop takes one forward and one backward pass per step. The forward pass that gives a step its
gradient also scores the iterate it starts from, so keeping the worst iterate costs one pass more
in all: that of the last iterate.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, Protocol, get_args

import torch
from torch import Tensor

from robustnb.attacks import projections, validation
from robustnb.attacks.losses import Loss
from robustnb.attacks.objective import LossName, ModelObjective, Value
from robustnb.attacks.projections import Clip, Norm
from robustnb.attacks.queries import ModelQueries, gradient, usable
from robustnb.generators import check_generator
from robustnb.models.layout import fastest_layout
from robustnb.models.modes import Model, eval_mode

Keep = Literal["worst", "last"]
Start = Literal["uniform", "zero", "gaussian"]
Step = float | Tensor | Sequence[float]
KEEPS: tuple[Keep, ...] = get_args(Keep)
_TRADES_NOISE = 0.001  # standard deviation of the start in Zhang 2019's code


class Objective(Protocol):
    """What the loop climbs: x_adv (N, ...) to a loss for each example, with its gradient if asked.

    `fooled` may be None where there is no verdict.
    """

    def __call__(self, x_adv: Tensor, *, grad: bool) -> Value:
        """The value at x_adv."""


class PGDResult(NamedTuple):
    """Where a climb ended: the iterate it keeps with its loss and verdict, and the last iterate."""

    x_adv: Tensor
    loss: Tensor | None
    misclassified: Tensor | None
    last: Tensor


def pgd(
    model: Model,
    x: Tensor,
    y: Tensor,
    *,
    eps: float | Tensor,
    step: Step,
    steps: int,
    norm: Norm = "linf",
    loss: LossName | Loss = "ce",
    start: Start = "uniform",
    restarts: int = 1,
    keep: Keep = "worst",
    targets: Tensor | None = None,
    clip: Clip = (0.0, 1.0),
    generator: torch.Generator | None = None,
) -> Tensor:
    """Projected gradient ascent on a loss of the model (Madry 2018, eq. 2); returns x_adv.

    x: (N, ...) in `clip`; y: (N,). `eps` and `step` are in pixel units; `step` may be one number,
    one per example (a tensor), or one per step (a list). `loss`: "ce", "margin", "kl" (from the
    clean prediction, Zhang 2019) or a function (logits, y) -> (N,). With `targets` the loss
    towards them is lowered instead. With several restarts the worst is kept per example.

    keep="worst": of all iterates, start and last included, the one that is misclassified, and
    among equals the one of highest loss. keep="last": the last iterate of each restart.
    Guarantee: norm(x_adv - x) <= eps and x_adv in `clip`, in x's dtype; eps = 0 returns x to the
    bit; the model's modes are restored and its parameters get no gradient.
    """
    return climb_model(
        model, x, y, eps=eps, step=step, steps=steps, norm=norm, loss=loss, start=start,
        restarts=restarts, keep=keep, targets=targets, clip=clip, generator=generator,
    )  # fmt: skip


def climb_model(
    model: Model,
    x: Tensor,
    y: Tensor,
    *,
    eps: float | Tensor,
    step: Step,
    steps: int,
    norm: Norm,
    loss: LossName | Loss,
    start: Start,
    keep: Keep,
    clip: Clip,
    generator: torch.Generator | None,
    restarts: int = 1,
    targets: Tensor | None = None,
    along: Callable[[Objective], Objective] | None = None,
) -> Tensor:
    """`pgd`, with its arguments checked; `along` makes each restart's objective of the model's."""
    clip = projections.check_box(clip)
    eps, step, steps = validation.check_attack(
        model, x, y, eps=eps, step=step, steps=steps, norm=norm, clip=clip
    )
    restarts = validation.check_restarts(restarts, start)
    validation.check_choice("keep", keep, KEEPS)
    check_generator(generator)
    if len(x) == 0 or not bool((torch.as_tensor(eps) > 0).any()):
        return x.detach().clone()
    best: PGDResult | None = None
    with eval_mode(model), fastest_layout(model):
        objective = ModelObjective(ModelQueries(model), y, loss=loss, targets=targets).prepare(x)
        for _ in range(restarts):
            begin = initial_point(x, start, eps=eps, norm=norm, generator=generator)
            if keep == "worst":
                begin = projections.project(begin, x, eps=eps, norm=norm, clip=clip)
            found = pgd_loop(
                objective if along is None else along(objective), x, eps=eps, step=step,
                steps=steps, norm=norm, begin=begin, keep=keep, clip=clip,
                score_last=keep == "worst" or restarts > 1,
            )  # fmt: skip
            best = found if best is None else _merge_worst(best, found)
    assert best is not None
    return best.x_adv


def fgsm(
    model: Model,
    x: Tensor,
    y: Tensor,
    *,
    eps: float | Tensor,
    norm: Norm = "linf",
    loss: LossName | Loss = "ce",
    targets: Tensor | None = None,
    clip: Clip = (0.0, 1.0),
) -> Tensor:
    """One step of size `eps` from x itself (Goodfellow 2015, section 4); returns x_adv.

    The paper's point, so the last iterate is returned even where x itself is worse.
    """
    eps = validation.check_eps(eps, len(x))
    return pgd(
        model, x, y, eps=eps, step=eps, steps=1, norm=norm, loss=loss, start="zero", keep="last",
        targets=targets, clip=clip,
    )  # fmt: skip


def maximize(
    objective: Callable[[Tensor], Tensor],
    x: Tensor,
    *,
    eps: float | Tensor,
    step: Step,
    steps: int,
    norm: Norm = "linf",
    initial_point: Tensor,
    keep: Keep = "last",
    clip: Clip = (0.0, 1.0),
) -> Tensor:
    """Climb `objective` (x_adv -> loss per example (N,)) within `eps` of x; returns x_adv.

    The loop under `pgd`, for an objective of your own. keep="last" visits `start_point` as given
    (Zhang 2019's code does not clip its noise); keep="worst" projects it first, since it may be
    kept. Guarantee: as `pgd`, except that modes are the caller's business.
    """
    step, steps = validation.check_steps(step, steps)
    eps, clip = validation.check_eps(eps, len(x)), projections.check_box(clip)
    validation.check_choice("keep", keep, KEEPS)
    validation.check_alike("initial_point", initial_point, x)
    if keep == "worst":
        initial_point = projections.project(initial_point, x, eps=eps, norm=norm, clip=clip)
    return pgd_loop(
        _Plain(objective), x, eps=eps, step=step, steps=steps, norm=norm,
        begin=initial_point, keep=keep, clip=clip, score_last=keep == "worst",
    ).x_adv  # fmt: skip


def initial_point(
    x: Tensor,
    start: Start,
    *,
    eps: float | Tensor,
    norm: Norm,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Where a climb begins, not yet projected: x, a point of the ball, or x + 0.001 N(0, I)."""
    if start == "zero":
        return x.detach()
    if start == "uniform":
        return x.detach() + projections.sample(x, eps=eps, norm=norm, generator=generator)
    device = check_generator(generator, place=x.device)
    noise = torch.randn(x.shape, generator=generator, dtype=x.dtype, device=device)
    return x.detach() + _TRADES_NOISE * noise.to(x.device)


class _Plain:
    """A function of x_adv alone as the loop wants it."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        self.function = function

    def __call__(self, x_adv: Tensor, *, grad: bool) -> Value:
        leaf = (x_adv.clone() if x_adv.is_inference() else x_adv.detach()).requires_grad_(grad)
        with torch.set_grad_enabled(grad):
            loss = self.function(leaf.clone())  # which may work in place
            validation.check_loss(loss, len(leaf))
        slope = usable(gradient(loss, leaf))[0] if grad else None
        return Value(loss.detach(), None, slope)


def pgd_loop(
    objective: Objective,
    x: Tensor,
    *,
    eps: float | Tensor,
    step: Step,
    steps: int,
    norm: Norm,
    begin: Tensor,
    keep: Keep,
    clip: Clip,
    score_last: bool,
) -> PGDResult:
    """The loop; nothing is checked. Gradients that are not finite move nothing (`usable`)."""
    x = x.detach()
    project = projections.projector(x, eps=eps, norm=norm, clip=clip)
    best: PGDResult | None = None
    at = begin.detach()
    for size in _step_sizes(step, steps, x):
        loss, hit, grad = objective(at, grad=True)
        best = _better(best, PGDResult(at, loss, hit, at), keep)
        assert grad is not None
        if norm == "l1" and clip is not None:
            grad = _unblocked(grad, at, clip)
        move = projections.direction(grad, norm)
        at = project(at + size * move if isinstance(size, Tensor) else at.add(move, alpha=size))
    if score_last:
        loss, hit, _ = objective(at, grad=False)
        best = _better(best, PGDResult(at, loss, hit, at), keep)
    assert best is not None
    kept = best.x_adv if keep == "worst" else at
    return best._replace(x_adv=kept, last=at)


def _better(best: PGDResult | None, new: PGDResult, keep: Keep) -> PGDResult:
    return new if best is None or keep == "last" else _merge_worst(best, new)


def _merge_worst(best: PGDResult, new: PGDResult) -> PGDResult:
    """Per example the fooled one of the two, and among equals the one of higher loss."""
    assert best.loss is not None and new.loss is not None
    take = new.loss > best.loss
    misclassified = None
    if best.misclassified is not None and new.misclassified is not None:
        take = torch.where(new.misclassified == best.misclassified, take, new.misclassified)
        misclassified = best.misclassified | new.misclassified
    column = take.reshape(-1, *[1] * (new.x_adv.ndim - 1))
    return PGDResult(
        torch.where(column, new.x_adv, best.x_adv),
        torch.where(take, new.loss, best.loss),
        misclassified,
        new.last,
    )


def _step_sizes(step: Step, steps: int, x: Tensor) -> list[float] | list[Tensor]:
    if isinstance(step, Tensor):
        column = step.to(x).expand(len(x)).reshape(-1, *[1] * (x.ndim - 1))
        return [column] * steps
    return [step] * steps if isinstance(step, float) else [float(size) for size in step]


def _unblocked(grad: Tensor, x_adv: Tensor, clip: tuple[float, float]) -> Tensor:
    """No gradient where the box stops the way: a sparse l1 step would be spent on nothing."""
    blocked = ((x_adv >= clip[1]) & (grad > 0)) | ((x_adv <= clip[0]) & (grad < 0))
    return grad.masked_fill(blocked, 0)
