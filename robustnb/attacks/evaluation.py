"""Robust accuracy: which examples stay correct under which attack.

Every attack runs on its own, and never on an example that has fallen to it (see `pursuit` and
`ensemble`). This changes no verdict, on a given machine: a batch of another size may be rounded
differently in its last bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from robustnb.attacks import checks
from robustnb.attacks.ensemble import Ensemble, EnsembleEvaluation, ensemble_evaluate
from robustnb.attacks.losses import fooled
from robustnb.attacks.masking import Finding, check_company
from robustnb.attacks.outcome import Counts, Outcome, Passes, clean_logits
from robustnb.attacks.protocol import Attack
from robustnb.attacks.pursuit import pursue, run_seeds
from robustnb.models.modes import Model, evaluating
from robustnb.progress import progress


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Who is correct on the clean image and under each attack by its name, (N,) bool.

    `outcomes` holds what each attack did to every example: first mistake, margin and image.
    `survivors` says how many stand after each run of an attack, in the order of `Attack.runs`, so
    one evaluation holds the whole curve over restarts. `ensembles` keeps all that an ensemble told.
    """

    natural_correct: Tensor
    robust: dict[str, Tensor]
    outcomes: dict[str, Outcome]
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
    checkpoint: Path | str | None = None,
) -> Evaluation:
    """Attack every correctly classified example with each attack on its own; see `Evaluation`.

    x: (N, ...); y: (N,). With `checkpoint` an ensemble keeps its outcomes so far in that file, and
    the same call goes on from there (`ensemble_evaluate`); it takes one ensemble among `attacks`.
    Guarantee: the verdicts are those of running every attack in full on every example, and do not
    depend on `batch_size`; the model's modes are restored. ValueError if answers depend on the
    other images of a batch.
    """
    _check(model, x, y, attacks, batch_size, checkpoint)
    runs = [attack for attack in attacks if isinstance(attack, Attack)]
    total = sum(len(attack.runs()) * attack.steps for attack in runs)
    with evaluating(model), progress("evaluate", total=total) as bar:
        logits = clean_logits(model, x, y, batch_size=batch_size)
        asked = check_company(model, x, logits)
        natural = ~fooled(logits, y) if len(x) else torch.ones_like(y, dtype=torch.bool)
        spent = {"natural": Passes(len(x) + asked, 0)}
        found = Evaluation(natural, {}, {}, {}, spent, tuple(attacks), {})
        for attack in attacks:
            if isinstance(attack, Ensemble):
                own = ensemble_evaluate(
                    model, x, y, ensemble=attack, batch_size=batch_size, generator=generator,
                    checkpoint=checkpoint,
                )  # fmt: skip
                _enter_ensemble(found, own)
                continue
            seeds = run_seeds(attack, generator)
            outcome, survivors, passes = pursue(
                model, x, y, logits, natural, attack, seeds, batch_size=batch_size
            )
            found.outcomes[attack.name], found.passes[attack.name] = outcome, passes
            found.robust[attack.name] = natural & (outcome.run < 0)
            found.survivors[attack.name] = survivors
            left = int(found.robust[attack.name].sum())
            bar.advance(attack.steps * len(seeds), note=f"{attack.name}: {left} stand")
    return found


def _enter_ensemble(found: Evaluation, own: EnsembleEvaluation) -> None:
    """Enter the column of an ensemble."""
    name = own.ensemble.name
    found.robust[name], found.ensembles[name] = own.strongest, own
    found.outcomes[name] = Outcome(
        own.felled_by, torch.full_like(own.felled_by, -1), own.margin, own.x_adv
    )
    found.survivors[name] = own.survivors
    spent = [counted for attack, counted in own.passes.items() if attack != "natural"]
    found.passes[name] = Passes(*map(sum, zip(*spent, strict=True)))


def _check(
    model: Model, x: Tensor, y: Tensor, attacks: Sequence[Attack | Ensemble], batch_size: int,
    checkpoint: Path | str | None,
) -> None:  # fmt: skip
    checks.check_batch_size(batch_size)
    ensembles = sum(isinstance(attack, Ensemble) for attack in attacks)
    if checkpoint is not None and ensembles != 1:
        raise ValueError(
            f"checkpoint keeps one ensemble, and attacks holds {ensembles}; "
            "evaluate them one by one"
        )
    names = [attack.name for attack in attacks]
    if len(set(names)) < len(names):
        raise ValueError(f"attacks must have different names, got {names}; set Attack(name=...)")
    for clip in {attack.clip for attack in attacks} or {None}:
        checks.check_images(x, clip)
    checks.check_labels(y, x)
    checks.check_place(model, x)
