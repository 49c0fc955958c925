"""What every evaluation reports: passes, the three errors, and the answers to clean images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from robustnb.attacks import checks, masking
from robustnb.attacks.losses import fooled
from robustnb.attacks.rates import Rate, rate
from robustnb.models.ask import ask, check_finite
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
        parts.append(ask(model, images).clone())  # a model may answer in memory that it reuses
        check_finite(parts[-1])
    logits = torch.cat(parts) if parts else x.new_zeros(0, 1)
    if len(x):
        checks.check_classes(y, logits)
    return logits


class Clean(NamedTuple):
    """The answers to clean images: logits, who is correct (N,), and passes in examples."""

    logits: Tensor
    correct: Tensor
    passes: Passes


def clean_answers(model: Model, x: Tensor, y: Tensor, *, batch_size: int) -> Clean:
    """Ask once for all that an evaluation needs of the clean images; modes are the caller's.

    A model's own randomness is seeded, and the global generator is left alone. ValueError if
    answers depend on the other images of a batch.
    """
    with masking.seeded(0, x.device):
        logits = clean_logits(model, x, y, batch_size=batch_size)
        asked = masking.check_company(model, x, logits)
    correct = ~fooled(logits, y) if len(x) else torch.ones_like(y, dtype=torch.bool)
    return Clean(logits, correct, Passes(len(x) + asked, 0))
