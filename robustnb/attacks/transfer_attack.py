"""Transfer: adversarial examples made on one model, tried on another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from robustnb._deprecated import renamed
from robustnb.attacks import validation
from robustnb.attacks.attack import Attack
from robustnb.attacks.engine import Subject, check_evaluation, craft_images
from robustnb.attacks.losses import misclassified
from robustnb.attacks.rates import Rate, rate
from robustnb.attacks.results import clean_answers, clean_logits
from robustnb.models.layout import fastest_layout
from robustnb.models.modes import Model, eval_mode


@dataclass(frozen=True, eq=False)
class Transfer:
    """Per-example outcomes (N,) bool, and the error rate over both denominators.

    `clean_correct` and `adv_correct`: the target on x and on x_adv. `source_misclassified`: the
    source on x_adv.
    """

    clean_correct: Tensor
    adv_correct: Tensor
    source_misclassified: Tensor

    of_all = renamed("error_rate")
    of_correct = renamed("success_rate")
    source_fooled = renamed("source_misclassified")

    def error_rate(self, *, level: float = 0.95) -> Rate:
        """The target's errors on x_adv among all examples."""
        return rate(~self.adv_correct, level=level)

    def success_rate(self, *, level: float = 0.95) -> Rate:
        """The target's errors on x_adv among the examples it classifies correctly when clean."""
        return rate(~self.adv_correct, self.clean_correct, level=level)

    def to_json(self) -> dict[str, Any]:
        """Both rates."""
        return {
            "error_rate": self.error_rate().to_json(),
            "success_rate": self.success_rate().to_json(),
        }


def craft(
    model: Model,
    x: Tensor,
    y: Tensor,
    *,
    attack: Attack,
    batch_size: int = 256,
    generator: torch.Generator | None = None,
) -> Tensor:
    """The worst image of every example over all runs of an attack: misclassified by the most.

    Unlike `evaluate` it goes on after an example is misclassified. Guarantee: as `pgd`.
    """
    batch_size = check_evaluation(model, x, y, [attack], batch_size, generator)
    x = x.detach()
    if attack.eps == 0 or len(x) == 0:
        return x.clone()
    with eval_mode(model), fastest_layout(model):
        clean = clean_answers(model, x, y, batch_size=batch_size)
        subject = Subject(model, x, y, clean, batch_size)
        return craft_images(subject, attack, generator=generator)


def transfer(
    source: Model,
    target: Model,
    x: Tensor,
    y: Tensor,
    *,
    attack: Attack,
    batch_size: int = 256,
    generator: torch.Generator | None = None,
) -> Transfer:
    """Craft on `source`, try on `target`; outcomes per example, rates over both denominators."""
    x_adv = craft(source, x, y, attack=attack, batch_size=batch_size, generator=generator)
    validation.check_place(target, x)

    def correct(model: Model, images: Tensor) -> Tensor:
        if len(x) == 0:
            return torch.ones_like(y, dtype=torch.bool)
        with eval_mode(model):
            return ~misclassified(clean_logits(model, images, y, batch_size=batch_size), y)

    return Transfer(correct(target, x), correct(target, x_adv), ~correct(source, x_adv))
