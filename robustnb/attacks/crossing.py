"""Transfer: adversarial examples made on one model, tried on another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from robustnb.attacks import checks
from robustnb.attacks.ascent import climb
from robustnb.attacks.losses import fooled, margin
from robustnb.attacks.objective import ModelObjective
from robustnb.attacks.outcome import clean_logits
from robustnb.attacks.protocol import Attack
from robustnb.attacks.pursuit import run_seeds, starts
from robustnb.attacks.queries import ModelQueries
from robustnb.attacks.rates import Rate, rate
from robustnb.models.modes import Model, eval_mode


@dataclass(frozen=True, eq=False)
class Transfer:
    """Per-example outcomes (N,) bool, and the error rate over both denominators.

    `clean_correct` and `adv_correct`: the target on x and on x_adv. `source_fooled`: the source
    on x_adv.
    """

    clean_correct: Tensor
    adv_correct: Tensor
    source_fooled: Tensor

    def of_all(self, *, level: float = 0.95) -> Rate:
        """The target's errors on x_adv among all examples."""
        return rate(~self.adv_correct, level=level)

    def of_correct(self, *, level: float = 0.95) -> Rate:
        """The target's errors on x_adv among the examples it classifies correctly when clean."""
        return rate(~self.adv_correct, self.clean_correct, level=level)

    def to_json(self) -> dict[str, Any]:
        """Both rates."""
        return {"of_all": self.of_all().to_json(), "of_correct": self.of_correct().to_json()}


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

    Unlike `evaluate` it goes on after an example has fallen. Guarantee: as `pgd`.
    """
    checks.check_attack(
        model, x, y, eps=attack.eps, step=attack.step, steps=attack.steps, norm=attack.norm,
        clip=attack.clip,
    )  # fmt: skip
    batch_size = checks.check_batch_size(batch_size)
    if attack.eps == 0 or len(x) == 0:
        return x.detach().clone()
    best, worst = x.detach().clone(), x.new_full((len(x),), -torch.inf)
    queries = ModelQueries(model)
    with eval_mode(model):
        for loss, seed in zip(attack.runs(), run_seeds(attack, generator), strict=True):
            begin = starts(x, attack, seed)
            for first in range(0, len(x), batch_size):
                rows = slice(first, first + batch_size)
                objective = ModelObjective(queries, y[rows], loss=loss).prepare(x[rows])
                found = climb(
                    objective, x[rows], eps=attack.eps, step=attack.sizes(), steps=attack.steps,
                    norm=attack.norm, begin=begin[rows], keep="worst", clip=attack.clip,
                    score_last=True,
                ).x_adv  # fmt: skip
                # the margin, since values of two losses do not compare
                score = margin(queries.logits(found), y[rows])
                take = score > worst[rows]
                best[rows] = torch.where(take.reshape(-1, *[1] * (x.ndim - 1)), found, best[rows])
                worst[rows] = torch.where(take, score, worst[rows])
    return best


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

    def correct(model: Model, images: Tensor) -> Tensor:
        if len(x) == 0:
            return torch.ones_like(y, dtype=torch.bool)
        with eval_mode(model):
            return ~fooled(clean_logits(model, images, y, batch_size=batch_size), y)

    checks.check_place(target, x)
    return Transfer(correct(target, x), correct(target, x_adv), ~correct(source, x_adv))
