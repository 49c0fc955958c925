"""Projected gradient ascent on those who still stand, with the first mistake of each kept.

An example falls as soon as one iterate of one run is misclassified, and is not attacked further:
the rest are packed into full batches every few steps. This changes no verdict, because a run draws
its random starts from its own seed before anything is dropped. Sets are taken block by block, so
that memory does not grow with their size, except by what is returned.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from robustnb.attacks import geometry
from robustnb.attacks.ascent import climb, start_point
from robustnb.attacks.losses import margin
from robustnb.attacks.objective import LossName, ModelObjective, Record
from robustnb.attacks.outcome import Outcome
from robustnb.attacks.protocol import Attack
from robustnb.attacks.queries import ModelQueries
from robustnb.models.modes import Model

_BLOCK = 1024  # examples that are pursued together
_SEGMENT = 5  # steps between two packings; a segment's border costs no pass


def pursue(
    model: Model,
    x: Tensor,
    y: Tensor,
    logits: Tensor,
    natural: Tensor,
    attack: Attack,
    seeds: Sequence[int],
    *,
    batch_size: int,
) -> tuple[Outcome, tuple[int, ...], ModelQueries]:
    """All runs of an attack on the examples that are correct when clean; nothing is checked.

    logits, natural: of the clean images. Returns the outcome of every example, how many stand
    after each run, and what was asked of the model.
    """
    nobody = torch.full_like(natural, -1, dtype=torch.int64)
    value = margin(logits, y) if len(x) else x.new_zeros(0)
    found = Outcome(nobody, nobody.clone(), value, x.detach().clone())
    survivors, queries = [0] * len(seeds), ModelQueries(model)
    for number, rows in enumerate(_blocks(len(x))):
        hunt = _Hunt(
            queries,
            x[rows],
            y[rows],
            logits[rows],
            natural[rows],
            attack,
            batch_size,
            found.of(rows),
        )
        for run, (loss, seed) in enumerate(zip(attack.runs(), seeds, strict=True)):
            hunt(run, loss, _block_seed(seed, number))
            survivors[run] += len(hunt.alive)
    return found, tuple(survivors), queries


def run_seeds(attack: Attack, generator: torch.Generator | None) -> list[int]:
    """A seed for each run, drawn one by one, so that fewer restarts have a prefix of the seeds."""
    device = None if generator is None else generator.device
    return [
        int(torch.randint(2**62, (1,), generator=generator, device=device)) for _ in attack.runs()
    ]


def starts(x: Tensor, attack: Attack, seed: int) -> Tensor:
    """The projected starts of one run for the whole set: a function of x, attack and seed."""
    parts = [
        _starts(x[rows], attack, _block_seed(seed, number))
        for number, rows in enumerate(_blocks(len(x)))
    ]
    return torch.cat(parts)


def _starts(x: Tensor, attack: Attack, seed: int) -> Tensor:
    generator, eps, norm = torch.Generator().manual_seed(seed), attack.eps, attack.norm
    begin = start_point(x, attack.start, eps=eps, norm=norm, generator=generator)
    return geometry.project(begin, x, eps=eps, norm=norm, clip=attack.clip)


def _blocks(count: int) -> Iterator[slice]:
    for first in range(0, max(count, 1), _BLOCK):
        yield slice(first, first + _BLOCK)


def _block_seed(seed: int, number: int) -> int:
    return (seed + number) % 2**62


class _Hunt:
    """One block of examples: who stands, and what is known of each."""

    def __init__(
        self, queries: ModelQueries, x: Tensor, y: Tensor, logits: Tensor, natural: Tensor,
        attack: Attack, batch_size: int, outcome: Outcome,
    ) -> None:  # fmt: skip
        self.queries, self.x, self.y, self.logits = queries, x, y, logits
        self.attack, self.batch_size = attack, batch_size
        self.outcome = outcome  # written in place
        self.alive = natural.nonzero()[:, 0]

    def __call__(self, run: int, loss: LossName, seed: int) -> None:
        """One loss from one random start, on those who still stand."""
        if self.attack.eps > 0 and len(self.alive):
            before = self.alive
            self._ascend(loss, _starts(self.x, self.attack, seed)[before])
            fell = before[~torch.isin(before, self.alive)]
            self.outcome.run[fell] = run

    def _ascend(self, loss: LossName, at: Tensor) -> None:
        sizes = self.attack.sizes()
        for first in range(0, len(sizes), _SEGMENT):
            batches = zip(
                torch.split(self.alive, self.batch_size), torch.split(at, self.batch_size),
                strict=True,
            )  # fmt: skip
            moved = [self._climb(loss, ids, begin, first) for ids, begin in batches]
            stands = torch.cat([stand for stand, _ in moved])
            self.alive, at = self.alive[stands], torch.cat([last for _, last in moved])[stands]
            if len(self.alive) == 0:
                return

    def _climb(
        self, loss: LossName, ids: Tensor, begin: Tensor, first: int
    ) -> tuple[Tensor, Tensor]:
        """One segment for one batch: who stands after it, and where each is."""
        attack, known = self.attack, self.outcome
        sizes = attack.sizes()
        part = sizes[first : first + _SEGMENT]
        objective = ModelObjective(self.queries, self.y[ids], loss=loss)
        objective.clean = self.logits[ids]
        record = Record(known.x_adv[ids], known.margin[ids], known.step[ids], first=first)
        objective.record = record
        found = climb(
            objective, self.x[ids], eps=attack.eps, step=part, steps=len(part), norm=attack.norm,
            begin=begin, keep="last", clip=attack.clip, score_last=first + _SEGMENT >= len(sizes),
        )  # fmt: skip
        known.x_adv[ids], known.margin[ids], known.step[ids] = (
            record.x_adv, record.margin, record.step,
        )  # fmt: skip
        return ~objective.fallen, found.last
