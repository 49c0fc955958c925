"""What every evaluation reports: passes, the three errors, and the answers to clean images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from robustnb.attacks import checks
from robustnb.attacks.rates import Rate, rate
from robustnb.models.modes import Model


class Passes(NamedTuple):
    """Forward and backward passes, counted in examples."""

    forward: int
    backward: int


@dataclass(frozen=True)
class Counts:
    """The three errors of Zhang 2019: robust = natural + boundary, by their definition."""

    n: int
    natural: Rate
    robust: Rate
    boundary: Rate

    @classmethod
    def of(cls, natural: Tensor, standing: Tensor, *, level: float = 0.95) -> Counts:
        """From who is correct when clean, and who is correct under attack as well, (N,) bool."""
        return cls(
            n=len(standing),
            natural=rate(~natural, level=level),
            robust=rate(~standing, level=level),
            boundary=rate(natural & ~standing, level=level),
        )

    def to_json(self) -> dict[str, Any]:
        """n and the three rates."""
        rates = {"natural": self.natural, "robust": self.robust, "boundary": self.boundary}
        return {"n": self.n, **{name: value.to_json() for name, value in rates.items()}}


@dataclass(frozen=True, eq=False)
class Outcome:
    """What one attack did to each example.

    `run` (N,): the run it fell in, -1 if it stands or was wrong when clean. `step` (N,): the steps
    that run had taken, 0 for its start; -1 also for an ensemble, whose runs count no steps alike.
    `x_adv` (N, ...): the first image that was misclassified; of those who stand the one of highest
    margin that the ascent met (an ensemble gives x). `margin` (N,): the best other logit less the
    true one at x_adv.
    """

    run: Tensor
    step: Tensor
    margin: Tensor
    x_adv: Tensor

    def perturbation(self, x: Tensor) -> Tensor:
        """x_adv - x, the shape of x."""
        return self.x_adv - x

    def of(self, rows: slice) -> Outcome:
        """Views of some rows."""
        return Outcome(self.run[rows], self.step[rows], self.margin[rows], self.x_adv[rows])


@torch.no_grad()
def clean_logits(model: Model, x: Tensor, y: Tensor, *, batch_size: int) -> Tensor:
    """The checked logits of all images, in batches."""
    parts = []
    for images in torch.split(x, batch_size) if len(x) else ():
        parts.append(model(images))
        checks.check_logits(parts[-1], len(images))
    logits = torch.cat(parts) if parts else x.new_zeros(0, 1)
    if len(x):
        checks.check_classes(y, logits)
    return logits
