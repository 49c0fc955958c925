"""Training a substitute for a black box (Papernot 2016, section 4)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from robustnb.attacks.projections import Clip, check_box
from robustnb.attacks.validation import check_images
from robustnb.blackbox.augmentation import (
    check_reservoir,
    jacobian_augmentation,
    periodic_step,
    reservoir_sample,
)
from robustnb.blackbox.oracle import LabelFunction, check_answers, labels_of
from robustnb.generators import check_cpu_generator
from robustnb.scalars import whole

Fit = Callable[[Tensor, Tensor, int], nn.Module]


@dataclass(frozen=True, eq=False)
class Substitute:
    """The last model with the examples (M, ...) it was trained on, their labels, and all models.

    `models[r]` was trained after r augmentations on the first `sizes[r]` examples; as each example
    is asked once, sizes[r] is also what had been asked by then.
    """

    images: Tensor
    labels: Tensor
    models: tuple[nn.Module, ...]
    sizes: tuple[int, ...]

    @property
    def model(self) -> nn.Module:
        """The model of the last round."""
        return self.models[-1]

    def agreement(self, oracle: LabelFunction, x: Tensor) -> Tensor:
        """Whether the last model answers as the oracle does, (N,) bool, on the CPU.

        Ask an oracle that does not count, or count these questions, too.
        """
        own = check_answers(labels_of(self.model)(x), len(x))
        return own == check_answers(oracle(x.detach().clone()), len(x))


def train_substitute(
    oracle: LabelFunction,
    seeds: Tensor,
    *,
    fit: Fit,
    rounds: int,
    step: float = 0.1,
    period: int | None = None,
    doubling: int | None = None,
    size: int | None = None,
    clip: Clip = (0.0, 1.0),
    generator: torch.Generator | None = None,
) -> Substitute:
    """Label, train, augment, `rounds` times, then label and train once more.

    oracle: examples to labels. seeds: (n, ...), the attacker's own. fit(examples, labels, round):
    a new model, trained (the paper trains a new instance in each round). `step` is lambda of
    equation 4 and `period` tau of equation 5 (None: no change of sign). From round `doubling`
    (sigma) on only `size` (kappa) examples, drawn by `reservoir_sample`, spawn a new one each.
    Each example is asked once: `query_budget` says how many that is.
    """
    rounds = whole("rounds", rounds, least=0)
    doubling, size = check_reservoir(doubling, size)
    periodic_step(step, 0, period=period)
    check_images(seeds, check_box(clip))
    check_cpu_generator(generator)
    if len(seeds) == 0:
        raise ValueError("seeds must hold at least one example")

    def ask(examples: Tensor) -> Tensor:
        return check_answers(oracle(examples.clone()), len(examples)).to(examples.device)

    images = seeds.detach().clone()
    labels = ask(images)
    models: list[nn.Module] = []
    sizes: list[int] = []
    for round in range(rounds + 1):
        model = fit(images, labels, round)
        if not isinstance(model, nn.Module):
            raise TypeError(f"fit must return a trained torch module, got {type(model).__name__}")
        models.append(model)
        sizes.append(len(images))
        if round == rounds:
            break
        chosen = torch.arange(len(images))
        if doubling is not None and size is not None and round >= doubling:
            chosen = reservoir_sample(len(images), size, generator=generator)
        chosen = chosen.to(images.device)
        signed = periodic_step(step, round, period=period)
        new = jacobian_augmentation(model, images[chosen], labels[chosen], step=signed, clip=clip)
        images, labels = torch.cat([images, new]), torch.cat([labels, ask(new)])
    return Substitute(images, labels, tuple(models), tuple(sizes))
