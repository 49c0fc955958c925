"""What every evaluation reports: passes, the three errors, and the answers to clean images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from robustnb.attacks import sanity_checks, validation
from robustnb.attacks.losses import misclassified
from robustnb.attacks.rates import Rate, rate
from robustnb.models.ask import ask, check_finite, no_finer
from robustnb.models.modes import Model


class Passes(NamedTuple):
    """Forward and backward passes, counted in examples."""

    forward: int
    backward: int


@dataclass(frozen=True)
class ErrorRates:
    """The three errors of Zhang 2019: robust = natural + boundary, by their definition."""

    n: int
    natural: Rate
    robust: Rate
    boundary: Rate

    @classmethod
    def of(cls, natural: Tensor, robust: Tensor, *, level: float = 0.95) -> ErrorRates:
        """From who is correct when clean, and who is correct under attack as well, (N,) bool."""
        return cls(
            n=len(robust),
            natural=rate(~natural, level=level),
            robust=rate(~robust, level=level),
            boundary=rate(natural & ~robust, level=level),
        )

    def to_json(self) -> dict[str, Any]:
        """n and the three rates."""
        rates = {"natural": self.natural, "robust": self.robust, "boundary": self.boundary}
        return {"n": self.n, **{name: value.to_json() for name, value in rates.items()}}


@dataclass(frozen=True, eq=False)
class AttackResult:
    """What one attack did to each example.

    `run` (N,): the run that broke it, -1 if it is robust or was wrong when clean. `step` (N,): the
    steps that run had taken, 0 for its start; -1 also where an attack counts no steps.
    `x_adv` (N, ...): the first image that was misclassified; of the robust the one of highest
    margin that the attack met, or x if it looks at no margins. `margin` (N,): the best other logit
    less the true one at x_adv.
    """

    run: Tensor
    step: Tensor
    margin: Tensor
    x_adv: Tensor

    def perturbation(self, x: Tensor) -> Tensor:
        """x_adv - x, the shape of x."""
        return self.x_adv - x


@torch.no_grad()
def clean_logits(model: Model, x: Tensor, y: Tensor, *, batch_size: int) -> Tensor:
    """The checked logits of all images, in batches."""
    parts = []
    for images in torch.split(x, batch_size) if len(x) else ():
        answer = ask(model, images).clone()  # a model may answer in memory that it reuses
        parts.append(no_finer(answer, images))
        check_finite(parts[-1])
    logits = torch.cat(parts) if parts else x.new_zeros(0, 1)
    if len(x):
        validation.check_classes(y, logits)
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
    with sanity_checks.seeded(0, x.device):
        logits = clean_logits(model, x, y, batch_size=batch_size)
        asked = sanity_checks.check_batch_independence(model, x, logits)
    correct = ~misclassified(logits, y) if len(x) else torch.ones_like(y, dtype=torch.bool)
    return Clean(logits, correct, Passes(len(x) + asked, 0))
