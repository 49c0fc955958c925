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
from robustnb.attacks.ensemble import Ensemble, EnsembleEvaluation, run_ensemble
from robustnb.attacks.masking import Finding, gradients
from robustnb.attacks.outcome import Counts, Outcome, Passes, clean_answers
from robustnb.attacks.protocol import Attack
from robustnb.attacks.pursuit import pursue, run_seeds
from robustnb.models.modes import Model, eval_mode
from robustnb.progress import progress
from robustnb.resume import path_of


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
    gradients: dict[str, Finding]

    def column(self, name: str) -> Tensor:
        """Correct on the clean image and under that attack, (N,) bool."""
        checks.check_choice("attack", name, tuple(self.robust))
        return self.robust[name]

    @property
    def findings(self) -> dict[str, Finding]:
        """The signs of masking that the attacks met, {check: {ok, value, why}}.

        An ensemble's own checks, and "gradients under NAME" for every other attack.
        """
        met = dict(self.gradients)
        for found in self.ensembles.values():
            met |= found.findings
        return met

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
    batch_size = _check(model, x, y, attacks, batch_size, checkpoint)
    runs = [attack for attack in attacks if isinstance(attack, Attack)]
    total = sum(len(attack.runs()) * attack.steps for attack in runs)
    x = x.detach()
    with eval_mode(model), progress("evaluate", total=total) as bar:
        clean = clean_answers(model, x, y, batch_size=batch_size)
        spent = {"natural": clean.passes}
        found = Evaluation(clean.correct, {}, {}, {}, spent, tuple(attacks), {}, {})
        for attack in attacks:
            if isinstance(attack, Ensemble):
                own = run_ensemble(
                    model, x, y, clean, attack, batch_size=batch_size, generator=generator,
                    checkpoint=path_of(checkpoint),
                )  # fmt: skip
                _enter_ensemble(found, own)
                continue
            seeds = run_seeds(attack, generator)
            outcome, survivors, asked = pursue(
                model, x, y, clean.logits, clean.correct, attack, seeds, batch_size=batch_size
            )
            found.outcomes[attack.name] = outcome
            found.passes[attack.name] = Passes(asked.forward, asked.backward)
            found.robust[attack.name] = clean.correct & (outcome.run < 0)
            found.survivors[attack.name] = survivors
            found.gradients[f"gradients under {attack.name}"] = gradients(
                asked.forward, asked.backward, asked.zero, asked.broken
            )
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
) -> int:  # fmt: skip
    if isinstance(attacks, Attack | Ensemble) or not all(
        isinstance(attack, Attack | Ensemble) for attack in attacks
    ):
        raise TypeError(f"attacks must be a list of Attack and Ensemble, got {attacks!r}")
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
    for attack in attacks:
        checks.warn_of_bytes(attack.eps, attack.norm, attack.clip, x[:1].numel())
        if isinstance(attack, Attack) or attack.needs_gradients:
            checks.check_gradients_allowed(model)
    return checks.check_batch_size(batch_size)
