"""Accuracies of a network of the zoo on test images: clean, under PGD and under the ensemble."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from robustnb import data
from robustnb.attacks import evaluate, pgd_attack, standard_ensemble
from robustnb.attacks.results import clean_answers
from robustnb.models.modes import eval_mode
from robustnb.stats import clopper_pearson
from robustnb.training.validation import unit
from robustnb.zoo.accuracy import Count
from robustnb.zoo.recipes import Recipe, Threat, manifest

_PGD_STEPS = 20
_PGD_REACH = 2.5  # all steps together, in radii, as in Madry 2018
_SEED = 0
_LEVEL = 0.999


def threats(recipe: Recipe) -> list[tuple[Threat, float]]:
    """Norm and radius of each attack: that of its training, or all that others trained against."""
    recipes = [recipe] if recipe.adversary else [entry.recipe for entry in manifest().values()]
    return sorted({(own.norm, own.eps) for own in (r.adversary for r in recipes) if own})


def measure(
    model: nn.Module,
    recipe: Recipe,
    *,
    images: int,
    clean: int,
    against: Sequence[tuple[Threat, float]],
) -> dict[str, Any]:
    """Counts of right answers to the first test images: `clean` as they are, `images` attacked.

    `against`: norms and radii, such as `threats(recipe)`. The natural count under each is of the
    attacked images, so that both are comparable.
    """
    x, y = data.load(recipe.dataset, "test", limit=max(images, clean))
    x = unit(x, torch.float32)
    with eval_mode(model):
        right = clean_answers(model, x[:clean], y[:clean], batch_size=256).correct
    return {
        "clean": {"right": int(right.sum()), "images": clean},
        "attacked": [
            attacked(model, x[:images], y[:images], norm=norm, eps=eps) for norm, eps in against
        ],
    }


def attacked(model: nn.Module, x: Tensor, y: Tensor, *, norm: Threat, eps: float) -> dict[str, Any]:
    """Who of x (N, ...) is right when clean, under PGD, and under the standard ensemble too."""
    step = _PGD_REACH * eps / _PGD_STEPS
    quick = pgd_attack(eps=eps, step=step, steps=_PGD_STEPS, norm=norm)
    strong = standard_ensemble(eps, norm=norm)
    found = evaluate(
        model, x, y, attacks=[quick, strong], generator=torch.Generator().manual_seed(_SEED)
    )
    return {
        "norm": norm,
        "eps": eps,
        "images": len(y),
        "natural": int(found.natural_correct.sum()),
        "pgd": {"name": quick.name, "step": step, "right": _count(found.robust_under(quick.name))},
        "ensemble": {**strong.to_json(), "right": _count(found.robust)},
        "failed_checks": sorted(name for name, told in found.findings.items() if not told["ok"]),
    }


def _count(right: Tensor) -> int:
    return int(right.sum())


def agrees(recorded: Count, measured: Count) -> bool:
    """Whether the recorded share lies in the 99.9 % interval of the measured one."""
    return recorded.share in clopper_pearson(measured.right, measured.images, level=_LEVEL)
