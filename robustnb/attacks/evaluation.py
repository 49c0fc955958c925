"""Robust accuracy: which examples stay correct under which attack.

An example falls as soon as one iterate of one run is misclassified, and is not attacked further:
the rest are packed into full batches every few steps. This changes no verdict, because each run
draws its random starts for the whole set from its own seed before anything is dropped. (On a
given machine; a batch of another size may be rounded differently in its last bit.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from robustnb.attacks import checks, geometry
from robustnb.attacks.ascent import climb, start_point
from robustnb.attacks.ensemble import Ensemble, EnsembleEvaluation, ensemble_evaluate
from robustnb.attacks.judge import Judge, LossName
from robustnb.attacks.losses import fooled
from robustnb.attacks.masking import Finding
from robustnb.attacks.outcome import Counts, Passes, clean_logits
from robustnb.attacks.protocol import Attack
from robustnb.models.modes import Model, evaluating
from robustnb.progress import progress

_BLOCK = 512  # examples whose starts are drawn at once
_SEGMENT = 5  # steps between two packings; a segment's border costs no pass


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Per-example outcomes: correct on the clean image, and under each attack by its name.

    `survivors` says how many examples stand after each run of an attack, in the order of
    `Attack.runs`, so one evaluation holds the whole curve over restarts. `ensembles` keeps the
    whole outcome of each attack that was an ensemble.
    """

    natural_correct: Tensor
    robust: dict[str, Tensor]
    survivors: dict[str, tuple[int, ...]]
    passes: dict[str, Passes]
    attacks: tuple[Attack | Ensemble, ...]
    ensembles: dict[str, EnsembleEvaluation]

    def column(self, name: str) -> Tensor:
        """Correct on the clean image and under that attack, (N,) bool."""
        checks.check_choice("attack", name, tuple(self.robust))
        return self.robust[name]

    @property
    def findings(self) -> dict[str, Finding]:
        """The signs of masking that the ensembles met, {check: {ok, value, why}}."""
        return {
            check: finding
            for found in self.ensembles.values()
            for check, finding in found.findings.items()
        }

    @property
    def strongest(self) -> Tensor:
        """Correct on the clean image and under every attack, (N,) bool."""
        return torch.stack([self.natural_correct, *self.robust.values()]).all(0)

    def counts(self, name: str | None = None, *, level: float = 0.95) -> Counts:
        """Natural, robust and boundary error with intervals, under one attack or under all."""
        standing = self.strongest if name is None else self.column(name)
        return Counts.of(self.natural_correct, standing, level=level)


def evaluate(
    model: Model,
    x: Tensor,
    y: Tensor,
    *,
    attacks: Sequence[Attack | Ensemble],
    batch_size: int = 256,
    generator: torch.Generator | None = None,
) -> Evaluation:
    """Attack every correctly classified example with each attack on its own; see `Evaluation`.

    x: (N, ...); y: (N,). Guarantee: the verdicts are those of running every attack in full on
    every example, and do not depend on `batch_size`; the model's modes are restored.
    """
    _check(model, x, y, attacks, batch_size)
    runs = [attack for attack in attacks if isinstance(attack, Attack)]
    total = sum(len(attack.runs()) * attack.steps for attack in runs)
    with evaluating(model), progress("evaluate", total=total) as bar:
        logits = clean_logits(model, x, y, batch_size=batch_size)
        natural = ~fooled(logits, y) if len(x) else torch.ones_like(y, dtype=torch.bool)
        found = Evaluation(natural, {}, {}, {"natural": Passes(len(x), 0)}, tuple(attacks), {})
        for attack in attacks:
            if isinstance(attack, Ensemble):
                _run_ensemble(found, model, x, y, attack, batch_size, generator)
            else:
                _run_attack(found, model, x, y, logits, attack, batch_size, generator)
                left = int(found.robust[attack.name].sum())
                bar.advance(attack.steps * len(attack.runs()), note=f"{attack.name}: {left} stand")
    return found


def _run_attack(
    found: Evaluation, model: Model, x: Tensor, y: Tensor, logits: Tensor, attack: Attack,
    batch_size: int, generator: torch.Generator | None,
) -> None:  # fmt: skip
    """Enter the column of projected gradient ascent."""
    standing, spent, left = found.natural_correct.clone(), Passes(0, 0), []
    for loss, seed in zip(attack.runs(), run_seeds(attack, generator), strict=True):
        run = _Run(model, x, y, logits, attack, loss, batch_size)
        alive = run(standing.nonzero()[:, 0], seed)
        standing = torch.zeros_like(standing).index_fill_(0, alive, True)
        spent = Passes(spent.forward + run.forward, spent.backward + run.backward)
        left.append(len(alive))
    found.robust[attack.name], found.passes[attack.name] = standing, spent
    found.survivors[attack.name] = tuple(left)


def _run_ensemble(
    found: Evaluation, model: Model, x: Tensor, y: Tensor, ensemble: Ensemble, batch_size: int,
    generator: torch.Generator | None,
) -> None:  # fmt: skip
    """Enter the column of an ensemble."""
    own = ensemble_evaluate(
        model, x, y, ensemble=ensemble, batch_size=batch_size, generator=generator
    )
    found.robust[ensemble.name], found.ensembles[ensemble.name] = own.strongest, own
    found.survivors[ensemble.name] = own.survivors
    spent = [counted for name, counted in own.passes.items() if name != "natural"]
    found.passes[ensemble.name] = Passes(*map(sum, zip(*spent, strict=True)))


def run_seeds(attack: Attack, generator: torch.Generator | None) -> list[int]:
    """A seed for each run, drawn one by one, so that fewer restarts have a prefix of the seeds."""
    device = None if generator is None else generator.device
    return [
        int(torch.randint(2**62, (1,), generator=generator, device=device)) for _ in attack.runs()
    ]


def starts(x: Tensor, attack: Attack, seed: int) -> Tensor:
    """The projected starts of one run for the whole set: a function of x, attack and seed."""
    generator, eps, norm = torch.Generator().manual_seed(seed), attack.eps, attack.norm

    def of(rows: Tensor) -> Tensor:
        begin = start_point(rows, attack.start, eps=eps, norm=norm, generator=generator)
        return geometry.project(begin, rows, eps=eps, norm=norm, clip=attack.clip)

    return torch.cat([of(rows) for rows in torch.split(x, _BLOCK)])  # blocks bound the memory


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


def _check(
    model: Model, x: Tensor, y: Tensor, attacks: Sequence[Attack | Ensemble], batch_size: int
) -> None:
    checks.check_batch_size(batch_size)
    names = [attack.name for attack in attacks]
    if len(set(names)) < len(names):
        raise ValueError(f"attacks must have different names, got {names}; set Attack(name=...)")
    for clip in {attack.clip for attack in attacks} or {None}:
        checks.check_images(x, clip)
    checks.check_labels(y, x)
    checks.check_place(model, x)
