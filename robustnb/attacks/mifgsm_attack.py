"""MI-FGSM (Dong 2018, Algorithm 1): projected gradient ascent along an accumulated gradient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from robustnb.attacks.attack import AttackRun, Batch, Part
from robustnb.attacks.config import PGDConfig, PGDRun
from robustnb.attacks.losses import Loss
from robustnb.attacks.objective import LossName, Record, Value
from robustnb.attacks.projected_gradient import (
    Keep,
    Objective,
    PGDResult,
    Start,
    Step,
    climb_model,
)
from robustnb.attacks.projections import Clip, Norm
from robustnb.attacks.queries import ModelQueries
from robustnb.models.modes import Model
from robustnb.scalars import finite


class AccumulatedGradient:
    """An objective for one climb, whose gradient is decay * (the last one) + g / ||g||_1.

    The norm is of each example; a zero gradient adds nothing.
    """

    def __init__(self, objective: Objective, decay: float) -> None:
        """Climb `objective`; decay 0 forgets all but the present gradient."""
        self.objective, self.decay = objective, decay
        self._sum: Tensor | None = None

    def __call__(self, x_adv: Tensor, *, grad: bool) -> Value:
        """The value at x_adv, with the accumulated gradient if one is asked for."""
        found = self.objective(x_adv, grad=grad)
        if found.grad is None:
            return found
        size = found.grad.abs().flatten(1).sum(1).reshape(-1, *[1] * (x_adv.ndim - 1))
        own = torch.where(size > 0, found.grad / size, 0)
        self._sum = own if self._sum is None else self.decay * self._sum + own
        return found._replace(grad=self._sum)


def mifgsm(
    model: Model,
    x: Tensor,
    y: Tensor,
    *,
    eps: float | Tensor,
    step: Step,
    steps: int,
    decay: float = 1.0,
    norm: Norm = "linf",
    loss: LossName | Loss = "ce",
    start: Start = "zero",
    keep: Keep = "last",
    clip: Clip = (0.0, 1.0),
    generator: torch.Generator | None = None,
) -> Tensor:
    """MI-FGSM from x itself, its last iterate (Dong 2018, Algorithm 1); returns x_adv (N, ...).

    Arguments and guarantee as of `pgd`. decay >= 0: what is kept of the accumulated gradient at
    each step; at 0 it is PGD.
    """
    along = partial(AccumulatedGradient, decay=finite("decay", decay, least=0))
    return climb_model(
        model, x, y, eps=eps, step=step, steps=steps, norm=norm, loss=loss, start=start,
        keep=keep, clip=clip, generator=generator, along=along,
    )  # fmt: skip


@dataclass(frozen=True)
class MIFGSMConfig(PGDConfig):
    """MI-FGSM as an evaluation runs it: `PGDConfig` with the decay of the accumulated gradient."""

    decay: float = 1.0

    def __post_init__(self) -> None:
        """Refuse settings that no attack can have."""
        super().__post_init__()
        object.__setattr__(self, "decay", finite("decay", self.decay, least=0))

    def runs(self, classes: int) -> Sequence[AttackRun]:
        """A run for each loss, restart by restart."""
        return [_MIFGSMRun(self, loss) for _ in range(self.restarts) for loss in self.losses]


class _MIFGSMRun(PGDRun):
    """All steps in one part, since the accumulated gradient belongs to the batch."""

    config: MIFGSMConfig

    def __init__(self, config: MIFGSMConfig, loss: LossName) -> None:
        super().__init__(config, loss)
        self.parts = 1

    def attack(self, queries: ModelQueries, batch: Batch, part: int) -> Part:
        objective = self._objective(queries, batch)
        objective.record = Record(batch.known, first=0)
        ended = self._loop(objective, batch, self.config.sizes(), "last", True)
        return Part(objective.ever_misclassified, ended.last, objective.record.known)

    def _loop(
        self, objective: Objective, batch: Batch, sizes: list[float], keep: Keep, last: bool
    ) -> PGDResult:
        climbed = AccumulatedGradient(objective, self.config.decay)
        return super()._loop(climbed, batch, sizes, keep, last)
