"""Auto-PGD (Croce & Hein 2020a, Algorithm 1; in l1 2021, Algorithm 1): no step size to choose.

The step starts at twice the radius and is halved where it no longer raises the loss; the ascent
then goes on from its best point. Two things are ours. The first move goes to the point of ball
and box that maximises the linearised loss, so that a linear model is solved in one step; in linf
this is the paper's first step. And the last iterate is scored.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from robustnb.attacks import projections, validation
from robustnb.attacks.losses import Loss, cross_entropy, dlr, margin, targeted_dlr
from robustnb.attacks.projections import Clip, Norm
from robustnb.attacks.queries import Aimed, ModelQueries
from robustnb.generators import check_generator
from robustnb.models.layout import fastest_layout
from robustnb.models.modes import Model, eval_mode

AutoLoss = Literal["ce", "dlr", "margin"]
LOSSES: dict[str, Loss] = {"ce": cross_entropy, "dlr": dlr, "margin": margin}
_ALPHA = 0.75  # alpha: weight of the new step against the last move
_RHO = 0.75  # rho: share of steps that must raise the loss for the step to stay
_FAR = 1e6  # a step in units of the box after which only the direction matters
_LOCAL = 1 / 8
_PACK = 5  # steps between two removals of the misclassified
_L1_SHARE = 0.2  # of the coordinates that the first l1 steps change
_L1_RADII = ((3.0, 0.3), (2.0, 0.3), (1.0, 0.4))  # (times eps, share of steps), 2021, section 4.3


class APGDResult(NamedTuple):
    """The image kept for each example, with its loss and whether it is misclassified."""

    x_adv: Tensor
    loss: Tensor
    misclassified: Tensor

    def merge_worst(self, other: APGDResult) -> APGDResult:
        """Per example the misclassified one of the two, and among equals that of higher loss."""
        take = self.is_weaker(other)
        return APGDResult(
            torch.where(_column(take, other.x_adv), other.x_adv, self.x_adv),
            torch.where(take, other.loss, self.loss),
            self.misclassified | other.misclassified,
        )

    def is_weaker(self, other: APGDResult) -> Tensor:
        """Whether each gives way to the other, (N,) bool."""
        return torch.where(
            other.misclassified == self.misclassified, other.loss > self.loss, other.misclassified
        )


def apgd(
    model: Model,
    x: Tensor,
    y: Tensor,
    *,
    eps: float | Tensor,
    steps: int = 100,
    norm: Norm = "linf",
    loss: AutoLoss | Loss = "ce",
    targets: Tensor | None = None,
    restarts: int = 1,
    clip: Clip = (0.0, 1.0),
    generator: torch.Generator | None = None,
) -> Tensor:
    """Auto-PGD; returns per example the misclassified iterate, else the one of highest loss.

    x: (N, ...) in `clip`; y: (N,); `eps` in pixel units, one or one each (N,). `loss`: "ce",
    "dlr", "margin" or a function (logits, y) -> (N,). With `targets` (N,) the loss is the
    targeted ratio, whatever class the image is then taken for. The first start is x, the others
    are uniform and climb in small steps (`is_local`).
    Guarantee: norm(x_adv - x) <= eps and x_adv in `clip`, in x's dtype; eps = 0 returns x to the
    bit; more restarts never give a weaker image; modes are restored.
    """
    clip = projections.check_box(clip)
    eps, _, steps = validation.check_attack(
        model, x, y, eps=eps, step=1.0, steps=steps, norm=norm, clip=clip
    )
    restarts = validation.check_restarts(restarts, "uniform")
    check_generator(generator)
    if isinstance(loss, str):
        validation.check_choice("loss", loss, tuple(LOSSES))
        loss = LOSSES[loss]
    if len(x) == 0 or not bool((torch.as_tensor(eps) > 0).any()):
        return x.detach().clone()
    queries, x, best = ModelQueries(model), x.detach(), None
    if targets is not None:
        validation.check_labels(targets, x)
    queries.check_labels(y, targets)
    with eval_mode(model), fastest_layout(model):
        for restart in range(restarts):
            noise = projections.sample(x, eps=eps, norm=norm, generator=generator) if restart else 0
            found = apgd_single_run(
                queries, x, y, eps=eps, steps=steps, norm=norm, loss=loss, target=targets,
                begin=x + noise, clip=clip, local=is_local(restart, norm),
            )  # fmt: skip
            best = found if best is None else best.merge_worst(found)
    assert best is not None
    return best.x_adv


def apgd_single_run(
    queries: ModelQueries,
    x: Tensor,
    y: Tensor,
    *,
    eps: float | Tensor,
    steps: int,
    norm: Norm,
    loss: Loss,
    begin: Tensor,
    target: Tensor | None = None,
    clip: Clip = (0.0, 1.0),
    local: bool = False,
    stop: bool = False,
) -> APGDResult:
    """One run from `begin`; nothing is checked. With `stop` the misclassified are dropped.

    With `local` the first step is an eighth of the usual and no jump precedes it, so that the
    climb ends on the hill where it began.

    In l1 the run starts in larger balls and shrinks them, as there its steps are sparse; only
    images of the last, true ball count.
    """
    x = x.detach()
    radii = torch.as_tensor(eps, dtype=torch.float64, device=x.device).expand(len(x))
    for times, count in _phases(steps, norm):
        last = times == 1.0
        pgd_loop = _Climb(queries, norm, clip, loss, count, local=local, stop=stop and last)
        found = pgd_loop(x, y, target, radii * times, begin)
        begin = pgd_loop.highest
    return found


def _phases(steps: int, norm: Norm) -> list[tuple[float, int]]:
    if norm != "l1":
        return [(1.0, steps)]
    early = [(times, int(share * steps)) for times, share in _L1_RADII[:-1]]
    done = sum(count for _, count in early)
    return [phase for phase in early if phase[1]] + [(1.0, steps - done)]


@dataclass
class _Rows:
    """All that a climb knows of the examples still climbing; every field has one row for each."""

    row: Tensor
    x: Tensor
    y: Tensor
    target: Tensor | None
    eps: Tensor
    at: Tensor
    before: Tensor
    grad: Tensor
    last_loss: Tensor
    best: Tensor  # highest loss, from which the climb goes on
    best_loss: Tensor
    best_grad: Tensor
    kept: Tensor  # misclassified if any is, which the attack returns
    kept_loss: Tensor
    misclassified: Tensor
    step: Tensor  # in units of eps
    halved: Tensor
    rises: Tensor  # since the last checkpoint
    mark: Tensor  # best_loss at the last checkpoint
    share: Tensor  # of the coordinates that an l1 step changes
    support: Tensor

    def keep(self, which: Tensor) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            setattr(self, field.name, None if value is None else value[which])


class _Climb:
    """Algorithm 1 for a batch; each example has its own step size and its own checkpoints' fate."""

    def __init__(
        self, queries: ModelQueries, norm: Norm, clip: Clip, loss: Loss, steps: int, *,
        local: bool, stop: bool,
    ) -> None:  # fmt: skip
        self.queries, self.norm, self.clip, self.loss = queries, norm, clip, loss
        self.steps, self.local, self.stop = steps, local, stop
        self.first = (1.0 if norm == "l1" else 2.0) * (_LOCAL if local else 1.0)
        self.checkpoints = _every(steps) if norm == "l1" else _checkpoints(steps)

    def __call__(
        self, x: Tensor, y: Tensor, target: Tensor | None, eps: Tensor, begin: Tensor
    ) -> APGDResult:
        project = projections.projector(x, eps=eps, norm=self.norm, clip=self.clip)
        rows = self._start(x, y, target, eps, project(begin))
        found = APGDResult(rows.kept.clone(), rows.kept_loss.clone(), rows.misclassified.clone())
        self.highest = rows.best.clone()
        passed = 0
        for k in range(1, self.steps + 1):
            if self.stop and k % _PACK == 1 and bool(rows.misclassified.any()):
                self._report(rows, found)
                rows.keep(~rows.misclassified)
                if len(rows.row) == 0:
                    return found
                project = projections.projector(
                    rows.x, eps=rows.eps, norm=self.norm, clip=self.clip
                )
            jump = k == 1 and not self.local
            to = self._opening(rows) if jump else self._proposal(rows, project)
            rows.before, rows.at = rows.at, project(to)
            self._look(rows, final=k == self.steps)
            if k in self.checkpoints:
                self._adapt(rows, k - passed)
                passed = k
        self._report(rows, found)
        return found

    def _start(self, x: Tensor, y: Tensor, target: Tensor | None, eps: Tensor, at: Tensor) -> _Rows:
        found = self.queries.loss_and_grad(at, y, self._aimed(target), target)
        loss, hit, grad = found.loss, found.misclassified, found.grad
        assert grad is not None
        nonzero = (at != x).flatten(1).sum(1)
        share = torch.where(nonzero > 0, nonzero / (1.5 * x[0].numel()), _L1_SHARE)
        return _Rows(
            row=torch.arange(len(x), device=x.device), x=x, y=y, target=target, eps=eps, at=at,
            before=at, grad=grad, last_loss=loss, best=at.clone(), best_loss=loss,
            best_grad=grad.clone(), kept=at.clone(), kept_loss=loss, misclassified=hit,
            step=torch.full_like(loss, self.first), halved=hit & False,
            rises=torch.zeros_like(y), mark=loss, share=share,
            support=torch.where(nonzero > 0, nonzero, x[0].numel()),
        )  # fmt: skip

    def _aimed(self, target: Tensor | None) -> Loss | Aimed:
        return self.loss if target is None else targeted_dlr

    def _opening(self, rows: _Rows) -> Tensor:
        """Far along the gradient: projected, the maximiser of the linearised loss."""
        grad = rows.grad
        if self.norm == "linf":
            return rows.at + 2 * _column(rows.eps.to(grad.dtype), grad) * grad.sign()
        size = grad.flatten(1).abs().amax(1).clamp_min(torch.finfo(grad.dtype).tiny)
        return torch.where(grad == 0, rows.at, rows.x + _FAR * (grad / _column(size, grad)))

    def _proposal(self, rows: _Rows, project: Callable[[Tensor], Tensor]) -> Tensor:
        step = _column(rows.step * rows.eps.to(rows.x.dtype), rows.x)
        if self.norm == "l1":
            return rows.at + step * l1_step(rows.grad, rows.at, rows.share, self.clip)
        ahead = project((step * projections.direction(rows.grad, self.norm)).add_(rows.at))
        move = (ahead - rows.at).mul_(_ALPHA).add_(rows.at)
        return move.add_((rows.at - rows.before).mul_(1 - _ALPHA))

    def _look(self, rows: _Rows, *, final: bool) -> None:
        """Ask the model about the new iterates and remember the best of each kind."""
        aimed = self._aimed(rows.target)
        ask = self.queries.loss_and_misclassified if final else self.queries.loss_and_grad
        loss, hit, grad, _ = ask(rows.at, rows.y, aimed, rows.target)
        rows.grad = rows.grad if grad is None else grad
        rows.rises = rows.rises + (loss > rows.last_loss)
        rows.last_loss = loss
        higher = loss > rows.best_loss
        rows.best_loss = torch.where(higher, loss, rows.best_loss)
        _copy(rows.at, rows.best, higher)
        _copy(rows.grad, rows.best_grad, higher)
        take = APGDResult(rows.kept, rows.kept_loss, rows.misclassified).is_weaker(
            APGDResult(rows.at, loss, hit)
        )
        rows.kept_loss = torch.where(take, loss, rows.kept_loss)
        rows.misclassified = rows.misclassified | hit
        _copy(rows.at, rows.kept, take)

    def _adapt(self, rows: _Rows, since: int) -> None:
        """Line 13 on: where a step no longer raises the loss, halve it; back to the best."""
        if self.norm == "l1":
            back = self._adapt_sparsity(rows)
        else:
            back = rows.rises < _RHO * since
            back = back | (~rows.halved & (rows.mark >= rows.best_loss))
            rows.step = torch.where(back, rows.step / 2, rows.step)
            rows.halved = back
        rows.rises, rows.mark = torch.zeros_like(rows.rises), rows.best_loss
        wide = _column(back, rows.at)
        rows.at = torch.where(wide, rows.best, rows.at)
        rows.before = torch.where(wide, rows.best, rows.before)
        rows.grad = torch.where(wide, rows.best_grad, rows.grad)
        rows.last_loss = torch.where(back, rows.best_loss, rows.last_loss)

    def _adapt_sparsity(self, rows: _Rows) -> Tensor:
        """2021, Algorithm 1: sparser than the best point by 1.5; shorter if that is steady."""
        support = (rows.best != rows.x).flatten(1).sum(1)
        sparser = support < 0.95 * rows.support
        rows.share, rows.support = support / (1.5 * rows.x[0].numel()), support
        shorter = (rows.step / 1.5).clamp_min(0.1 * self.first)
        rows.step = torch.where(sparser, torch.full_like(shorter, self.first), shorter)
        return sparser

    def _report(self, rows: _Rows, found: APGDResult) -> None:
        found.x_adv[rows.row] = rows.kept
        found.loss[rows.row] = rows.kept_loss
        found.misclassified[rows.row] = rows.misclassified
        self.highest[rows.row] = rows.best


def is_local(restart: int, norm: Norm) -> bool:
    """Whether a restart climbs in small steps: large ones take most starts to the same corner.

    In l1 only every second does, as there the larger balls of the first phases lead elsewhere.
    """
    return restart > 0 and (norm != "l1" or restart % 2 == 1)


def l1_step(grad: Tensor, at: Tensor, share: Tensor, clip: Clip) -> Tensor:
    """Signs of each example's `share` largest gradients that the box does not block, of l1 norm 1.

    >>> grad, at = torch.tensor([[3.0, -2.0, 1.0, 0.5]]), torch.tensor([[1.0, 0.5, 0.5, 0.5]])
    >>> l1_step(grad, at, torch.tensor([0.5]), (0.0, 1.0)).tolist()
    [[0.0, -0.5, 0.5, 0.0]]
    """
    if clip is not None:
        blocked = ((at >= clip[1]) & (grad > 0)) | ((at <= clip[0]) & (grad < 0))
        grad = grad.masked_fill(blocked, 0)
    flat = grad.flatten(1)
    count = (share * flat.shape[1]).round().long().clamp(1, flat.shape[1])
    order = flat.abs().argsort(dim=1, descending=True, stable=True)
    rank = torch.empty_like(order).scatter(1, order, torch.arange(flat.shape[1], device=flat.device)
                                           .expand_as(order))  # fmt: skip
    signs = flat.sign() * (rank < count[:, None])
    return (signs / signs.abs().sum(1, keepdim=True).clamp_min(1)).reshape(grad.shape)


def _checkpoints(steps: int) -> frozenset[int]:
    """w_j = ceil(p_j steps): p = 0, 0.22, and then gaps that shrink by 0.03 down to 0.06."""
    ends, gap, at = set(), 0.22, 0.22
    while at < 1:
        ends.add(math.ceil(at * steps - 1e-9))  # 0.22 + 0.19 + 0.16 is not 0.57 in floats
        gap = max(gap - 0.03, 0.06)
        at += gap
    return frozenset(ends)


def _every(steps: int) -> frozenset[int]:
    every = max(math.ceil(0.04 * steps), 1)
    return frozenset(range(every, steps + 1, every))


def _copy(source: Tensor, target: Tensor, which: Tensor) -> None:
    """Write some rows: of a large batch mostly few, and `where` would write them all."""
    rows = which.nonzero()[:, 0]
    if len(rows):
        target[rows] = source[rows]


def _column(value: Tensor, like: Tensor) -> Tensor:
    return value.to(like.device).reshape(-1, *[1] * (like.ndim - 1))
