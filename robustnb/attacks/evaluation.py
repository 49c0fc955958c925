"""Robust accuracy: which examples stay correct under which attack.

Every attack runs on its own, and never on an example that it has broken (see `engine`). This
changes no verdict, on a given machine: a batch of another size may be rounded differently in its
last bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from robustnb._deprecated import renamed
from robustnb.attacks import validation
from robustnb.attacks.attack import Attack
from robustnb.attacks.autoattack import AttackEnsemble, EnsembleEvaluation, conclude
from robustnb.attacks.engine import Subject, check_evaluation, run_attack
from robustnb.attacks.results import AttackResult, ErrorRates, Passes, clean_answers
from robustnb.attacks.sanity_checks import Finding, gradients
from robustnb.attacks.state import EvaluationState
from robustnb.models.layout import fastest_layout
from robustnb.models.modes import Model, eval_mode
from robustnb.resume import path_of


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Which examples are correct when clean and under each attack by its name, (N,) bool.

    `results` holds what each attack did to every example: first mistake, margin and image.
    `n_robust` counts who is robust after each run of an attack, in the order of its `runs`, so one
    evaluation holds the whole curve over restarts. `ensembles` keeps all that an ensemble told.
    """

    natural_correct: Tensor
    robust_by_attack: dict[str, Tensor]
    results: dict[str, AttackResult]
    n_robust: dict[str, tuple[int, ...]]
    passes: dict[str, Passes]
    attacks: tuple[Attack, ...]
    ensembles: dict[str, EnsembleEvaluation]
    gradients: dict[str, Finding]

    strongest = renamed("robust")
    outcomes = renamed("results")
    column = renamed("robust_under")
    counts = renamed("error_rates")

    def robust_under(self, name: str) -> Tensor:
        """Correct on the clean image and under that attack, (N,) bool."""
        validation.check_choice("attack", name, tuple(self.robust_by_attack))
        return self.robust_by_attack[name]

    @property
    def findings(self) -> dict[str, Finding]:
        """The signs of masking that the attacks met, {check: {ok, value, why}}.

        An ensemble's own checks, and "gradients under NAME" for every other attack whose gradients
        failed; `gradients` has all of them.
        """
        met = {check: found for check, found in self.gradients.items() if not found["ok"]}
        for found in self.ensembles.values():
            met |= found.findings
        return met

    @property
    def robust(self) -> Tensor:
        """Correct on the clean image and under every attack, (N,) bool."""
        return torch.stack([self.natural_correct, *self.robust_by_attack.values()]).all(0)

    def error_rates(self, name: str | None = None, *, level: float = 0.95) -> ErrorRates:
        """Natural, robust and boundary error with intervals, under one attack or under all."""
        robust = self.robust if name is None else self.robust_under(name)
        return ErrorRates.of(self.natural_correct, robust, level=level)


def evaluate(
    model: Model,
    x: Tensor,
    y: Tensor,
    *,
    attacks: Sequence[Attack],
    batch_size: int = 256,
    generator: torch.Generator | None = None,
    checkpoint: Path | str | None = None,
) -> Evaluation:
    """Attack every correctly classified example with each attack on its own; see `Evaluation`.

    x: (N, ...); y: (N,). With `checkpoint`, a file for one attack, the outcomes so far are saved
    there now and then, and on an interruption; the same call then goes on from the file.
    Guarantee: the verdicts are those of running every attack in full on every example, and do not
    depend on `batch_size`; an image counts only if it lies in ball and box; the model's modes are
    restored. ValueError if answers depend on the other images of a batch.
    """
    batch_size = check_evaluation(model, x, y, attacks, batch_size, generator)
    path, saved = path_of(checkpoint), _saved_attack(attacks, checkpoint)
    x = x.detach()
    with eval_mode(model), fastest_layout(model):
        clean = clean_answers(model, x, y, batch_size=batch_size)
        subject = Subject(model, x, y, clean, batch_size)
        spent = {"natural": clean.passes}
        found = Evaluation(clean.correct, {}, {}, {}, spent, tuple(attacks), {}, {})
        for attack in attacks:
            state = run_attack(
                subject, attack, generator=generator, checkpoint=path if attack is saved else None
            )
            _enter(found, subject, attack, state)
    return found


def _enter(found: Evaluation, subject: Subject, attack: Attack, state: EvaluationState) -> None:
    """Enter the column of an attack."""
    name, known = attack.name, state.known
    margin = known.margin
    forward, backward, zero, broken = map(sum, zip(*state.passes, strict=True))
    if isinstance(attack, AttackEnsemble):
        own = conclude(subject, attack, state)
        found.ensembles[name], margin = own, own.margin
    else:
        found.gradients[f"gradients under {name}"] = gradients(forward, backward, zero, broken)
    found.results[name] = AttackResult(state.broken_by, known.step, margin, known.x_adv)
    found.robust_by_attack[name] = state.robust
    found.n_robust[name] = tuple(state.n_robust)
    found.passes[name] = Passes(forward, backward)


def _saved_attack(attacks: Sequence[Attack], checkpoint: Path | str | None) -> Attack | None:
    """The attack that a checkpoint is for: the one ensemble, or the only attack."""
    if checkpoint is None:
        return None
    ensembles: list[Attack] = [own for own in attacks if isinstance(own, AttackEnsemble)]
    chosen = ensembles or list(attacks)
    if len(chosen) != 1:
        raise ValueError(
            f"checkpoint keeps one ensemble, or one attack, and attacks holds {len(chosen)}; "
            "evaluate them one by one"
        )
    return chosen[0]
