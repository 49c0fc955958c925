"""Robust accuracy: which examples stay correct under which attack.

An example falls as soon as one iterate of one run is misclassified, and is not attacked further:
the rest are packed into full batches every few steps. This changes no verdict, because each run
draws its random starts for the whole set from its own seed before anything is dropped. (On a
given machine; a batch of another size may be rounded differently in its last bit.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from robustnb.attacks import checks, geometry
from robustnb.attacks.ascent import climb, start_point
from robustnb.attacks.judge import Judge, LossName
from robustnb.attacks.losses import fooled
from robustnb.attacks.protocol import Attack
from robustnb.attacks.rates import Rate, rate
from robustnb.models.modes import Model, evaluating
from robustnb.progress import progress

_SEGMENT = 5  # steps between two packings; a segment's border costs no pass


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

    def to_json(self) -> dict[str, Any]:
        """n and the three rates."""
        rates = {"natural": self.natural, "robust": self.robust, "boundary": self.boundary}
        return {"n": self.n, **{name: value.to_json() for name, value in rates.items()}}


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Per-example outcomes: correct on the clean image, and under each attack by its name.

    `survivors` says how many examples stand after each run of an attack, in the order of
    `Attack.runs`, so one evaluation holds the whole curve over restarts.
    """

    natural_correct: Tensor
    robust: dict[str, Tensor]
    survivors: dict[str, tuple[int, ...]]
    passes: dict[str, Passes]
    attacks: tuple[Attack, ...]

    def column(self, name: str) -> Tensor:
        """Correct on the clean image and under that attack, (N,) bool."""
        checks.check_choice("attack", name, tuple(self.robust))
        return self.robust[name]

    @property
    def strongest(self) -> Tensor:
        """Correct on the clean image and under every attack, (N,) bool."""
        return torch.stack([self.natural_correct, *self.robust.values()]).all(0)

    def counts(self, name: str | None = None, *, level: float = 0.95) -> Counts:
        """Natural, robust and boundary error with intervals, under one attack or under all."""
        standing = self.strongest if name is None else self.column(name)
        return Counts(
            n=len(standing),
            natural=rate(~self.natural_correct, level=level),
            robust=rate(~standing, level=level),
            boundary=rate(self.natural_correct & ~standing, level=level),
        )


def evaluate(
    model: Model,
    x: Tensor,
    y: Tensor,
    *,
    attacks: Sequence[Attack],
    batch_size: int = 256,
    generator: torch.Generator | None = None,
) -> Evaluation:
    """Attack every correctly classified example with each attack on its own; see `Evaluation`.

    x: (N, ...); y: (N,). Guarantee: the verdicts are those of running every attack in full on
    every example, and do not depend on `batch_size`; the model's modes are restored.
    """
    _check(model, x, y, attacks, batch_size)
    total = sum(len(attack.runs()) * attack.steps for attack in attacks)
    robust: dict[str, Tensor] = {}
    survivors: dict[str, tuple[int, ...]] = {}
    passes: dict[str, Passes] = {}
    with evaluating(model), progress("evaluate", total=total) as bar:
        logits = clean_logits(model, x, y, batch_size=batch_size)
        natural = ~fooled(logits, y) if len(x) else torch.ones_like(y, dtype=torch.bool)
        passes["natural"] = Passes(len(x), 0)
        for attack in attacks:
            standing, spent, left = natural.clone(), Passes(0, 0), []
            for loss, seed in zip(attack.runs(), run_seeds(attack, generator), strict=True):
                run = _Run(model, x, y, logits, attack, loss, batch_size)
                alive = run(standing.nonzero()[:, 0], seed)
                standing = torch.zeros_like(standing).index_fill_(0, alive, True)
                spent = Passes(spent.forward + run.forward, spent.backward + run.backward)
                left.append(len(alive))
                bar.advance(attack.steps, note=f"{attack.name}: {len(alive)} stand")
            robust[attack.name], passes[attack.name] = standing, spent
            survivors[attack.name] = tuple(left)
    return Evaluation(natural, robust, survivors, passes, tuple(attacks))


def run_seeds(attack: Attack, generator: torch.Generator | None) -> list[int]:
    """A seed for each run, drawn one by one, so that fewer restarts have a prefix of the seeds."""
    device = None if generator is None else generator.device
    return [
        int(torch.randint(2**62, (1,), generator=generator, device=device)) for _ in attack.runs()
    ]


def starts(x: Tensor, attack: Attack, seed: int) -> Tensor:
    """The projected starts of one run for the whole set: a function of x, attack and seed."""
    generator = torch.Generator().manual_seed(seed)
    begin = start_point(x, attack.start, eps=attack.eps, norm=attack.norm, generator=generator)
    return geometry.project(begin, x, eps=attack.eps, norm=attack.norm, clip=attack.clip)


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


class _Run:
    """One loss from one random start, on those who still stand; counts its passes."""

    def __init__(
        self,
        model: Model,
        x: Tensor,
        y: Tensor,
        logits: Tensor,
        attack: Attack,
        loss: LossName,
        batch_size: int,
    ) -> None:
        self.model, self.x, self.y, self.logits = model, x, y, logits
        self.attack, self.loss, self.batch_size = attack, loss, batch_size
        self.forward = self.backward = 0

    def __call__(self, alive: Tensor, seed: int) -> Tensor:
        """Those of `alive` (indices) that no iterate fools."""
        if self.attack.eps == 0 or len(alive) == 0:
            return alive
        at = starts(self.x, self.attack, seed)[alive]
        sizes = self.attack.sizes()
        for first in range(0, len(sizes), _SEGMENT):
            part, final = sizes[first : first + _SEGMENT], first + _SEGMENT >= len(sizes)
            moved = [
                self._climb(ids, begin, part, final)
                for ids, begin in zip(
                    torch.split(alive, self.batch_size),
                    torch.split(at, self.batch_size),
                    strict=True,
                )
            ]
            stands = torch.cat([stand for stand, _ in moved])
            alive, at = alive[stands], torch.cat([last for _, last in moved])[stands]
            if len(alive) == 0:
                break
        return alive

    def _climb(
        self, ids: Tensor, begin: Tensor, sizes: list[float], final: bool
    ) -> tuple[Tensor, Tensor]:
        judge = Judge(self.model, self.y[ids], loss=self.loss)
        judge.clean = self.logits[ids]
        found = climb(
            judge, self.x[ids], eps=self.attack.eps, step=sizes, steps=len(sizes),
            norm=self.attack.norm, begin=begin, keep="last", clip=self.attack.clip,
            score_last=final,
        )  # fmt: skip
        self.forward += judge.forwards
        self.backward += judge.backwards
        return ~judge.fallen, found.last


def _check(model: Model, x: Tensor, y: Tensor, attacks: Sequence[Attack], batch_size: int) -> None:
    if batch_size < 1:
        raise ValueError(f"batch_size must be >= 1, got {batch_size}")
    names = [attack.name for attack in attacks]
    if len(set(names)) < len(names):
        raise ValueError(f"attacks must have different names, got {names}; set Attack(name=...)")
    checks.check_labels(y, x)
    checks.check_place(model, x)
    for clip in {attack.clip for attack in attacks}:
        checks.check_images(x, clip)
