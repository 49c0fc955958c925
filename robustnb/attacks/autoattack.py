"""The strongest-attack ensemble: APGD, FAB and Square in turn, on examples still robust.

AutoAttack's composition (Croce & Hein 2020a, section 6) with both ratio losses. An example is
broken by the first image within the ball that is misclassified, and is not attacked further. This
changes no verdict, as every run draws its randomness for the whole set from its own seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from robustnb._deprecated import renamed
from robustnb.attacks import projections, sanity_checks, validation
from robustnb.attacks.apgd_attack import APGDResult, apgd_single_run, is_local
from robustnb.attacks.attack import AttackRun, Batch, Part, found
from robustnb.attacks.engine import Subject, check_evaluation, run_attack
from robustnb.attacks.fab_attack import MinimalAdversarial, fab_targeted
from robustnb.attacks.losses import cross_entropy, dlr, margin, misclassified, other_classes
from robustnb.attacks.projections import Clip, Norm
from robustnb.attacks.queries import ModelQueries
from robustnb.attacks.results import ErrorRates, Passes, clean_answers, clean_logits
from robustnb.attacks.square_attack import random_search
from robustnb.attacks.state import EvaluationState
from robustnb.models.layout import fastest_layout
from robustnb.models.modes import Model, eval_mode
from robustnb.resume import path_of
from robustnb.scalars import whole

Member = Literal["apgd-ce", "apgd-dlr", "apgd-t", "fab-t", "square"]
MEMBERS: tuple[Member, ...] = get_args(Member)
_TARGETED = ("apgd-t", "fab-t")


@dataclass(frozen=True)
class AttackEnsemble:
    """Which attacks run, in which order, and how long. `eps` is in pixel units."""

    eps: float
    norm: Norm = "linf"
    attacks: tuple[Member, ...] = MEMBERS
    steps: int = 100
    targets: int = 9
    restarts: int = 1
    queries: int = 5000
    clip: Clip = (0.0, 1.0)

    def __post_init__(self) -> None:
        """Refuse settings that no ensemble can have."""
        object.__setattr__(self, "eps", validation.check_radius(self.eps))
        object.__setattr__(self, "clip", projections.check_box(self.clip))
        projections.check_norm(self.norm)
        for what in ("steps", "targets", "restarts", "queries"):
            object.__setattr__(self, what, whole(what, getattr(self, what)))
        object.__setattr__(self, "attacks", tuple(self.attacks))
        if not self.attacks or len(set(self.attacks)) < len(self.attacks):
            raise ValueError(f"attacks must name some of {', '.join(MEMBERS)}, each once")
        for attack in self.attacks:
            validation.check_choice("attack", attack, MEMBERS)

    @property
    def needs_gradients(self) -> bool:
        """Whether any attack but Square runs."""
        return set(self.attacks) != {"square"}

    @property
    def name(self) -> str:
        """What a table calls it: "ensemble", and in what it differs from the standard one.

        >>> AttackEnsemble(0.1, targets=2, queries=200).name
        'ensemble (targets 2, queries 200)'
        """
        standard = AttackEnsemble(self.eps)
        other = [
            f"{what} {getattr(self, what)}"
            for what in ("steps", "targets", "restarts", "queries")
            if getattr(self, what) != getattr(standard, what)
        ]
        only = [] if self.attacks == MEMBERS else ["+".join(self.attacks)]
        return f"ensemble ({', '.join(only + other)})" if only or other else "ensemble"

    def runs(self, classes: int) -> tuple[MemberRun, ...]:
        """Restart by restart, so that fewer restarts are a prefix.

        >>> len(AttackEnsemble(0.1).runs(10)), len(AttackEnsemble(0.1).runs(2))
        (21, 5)
        """
        ranks = range(min(self.targets, classes - 1))
        return tuple(
            MemberRun(self, member, restart, rank)
            for restart in range(self.restarts)
            for member in self.attacks
            for rank in (ranks if member in _TARGETED else (None,))
        )

    def to_json(self) -> dict[str, Any]:
        """All settings, JSON-able."""
        return {**asdict(self), "attacks": list(self.attacks), "clip": self.clip and [*self.clip]}


class MemberRun(AttackRun):
    """One member from one start, towards the `rank`-th likeliest other class if it is targeted."""

    def __init__(
        self, ensemble: AttackEnsemble, member: Member, restart: int, rank: int | None = None
    ) -> None:
        """Attack as the ensemble says."""
        self.ensemble, self.label, self.restart, self.rank = ensemble, member, restart, rank

    def starts(self, x: Tensor, seed: int) -> Tensor:
        """x itself, or uniform in the ball (for FAB in half of it)."""
        if self.label == "square" or (self.restart == 0 and self.label != "apgd-ce"):
            return x
        generator, own = torch.Generator().manual_seed(seed), self.ensemble
        reach = own.eps / 2 if self.label == "fab-t" else own.eps
        return x + projections.sample(x, eps=reach, norm=own.norm, generator=generator)

    def attack(self, queries: ModelQueries, batch: Batch, part: int) -> Part:
        """The whole run, dropping the misclassified on the way."""
        if self.label == "fab-t":
            near = self._fab(queries, batch, within=self.ensemble.eps)
            return found(batch, near.size.isfinite(), near.x_adv)
        worst = self._search(queries, batch, stop=True)
        return found(batch, worst.misclassified, worst.x_adv)

    def craft(self, queries: ModelQueries, batch: Batch) -> Tensor:
        """The worst image; of FAB, which looks for the nearest, x where that lies outside."""
        if self.label != "fab-t":
            return self._search(queries, batch, stop=False).x_adv
        near = self._fab(queries, batch, within=None)
        inside = (near.size.double() <= self.ensemble.eps).reshape(-1, *[1] * (batch.x.ndim - 1))
        return torch.where(inside, near.x_adv, batch.x)

    def _target(self, batch: Batch) -> Tensor | None:
        if self.rank is None:
            return None
        return other_classes(batch.logits, batch.y, self.ensemble.targets)[:, self.rank]

    def _fab(
        self, queries: ModelQueries, batch: Batch, *, within: float | None
    ) -> MinimalAdversarial:
        target, own = self._target(batch), self.ensemble
        assert target is not None
        return fab_targeted(
            queries, batch.x, batch.y, target, steps=own.steps, norm=own.norm, begin=batch.at,
            clip=own.clip, within=within,
        )  # fmt: skip

    def _search(self, queries: ModelQueries, batch: Batch, *, stop: bool) -> APGDResult:
        own = self.ensemble
        if self.label == "square":
            return random_search(
                queries, batch.x, batch.y, eps=own.eps, queries=own.queries, norm=own.norm,
                clip=own.clip, seed=batch.seed, stop=stop,
            )  # fmt: skip
        return apgd_single_run(
            queries, batch.x, batch.y, eps=own.eps, steps=own.steps, norm=own.norm,
            begin=batch.at, target=self._target(batch),
            loss=cross_entropy if self.label == "apgd-ce" else dlr, clip=own.clip,
            local=is_local(self.restart, own.norm), stop=stop,
        )  # fmt: skip


def standard_ensemble(
    eps: float,
    *,
    norm: Norm = "linf",
    steps: int = 100,
    targets: int = 9,
    queries: int = 5000,
    restarts: int = 1,
) -> AttackEnsemble:
    """Our strongest attack: all members; by default as long as AutoAttack's standard version.

    >>> standard_ensemble(8 / 255).name
    'ensemble'
    """
    return AttackEnsemble(
        eps, norm=norm, steps=steps, targets=targets, queries=queries, restarts=restarts
    )


@dataclass(frozen=True, eq=False)
class EnsembleEvaluation:
    """Per-example outcomes (N,): correct when clean, and under all attacks.

    `broken_by` is the index in `runs` of the run that broke an example, -1 if none did; `x_adv`
    holds the images that did it, and x elsewhere; `margin` is the best other logit less the true
    one there, asked for once more. `n_robust` counts who is robust after each run; `passes`
    are in examples, by attack. `findings` tell signs of masking: {check: {ok, value, why}}.
    """

    natural_correct: Tensor
    robust: Tensor
    broken_by: Tensor
    margin: Tensor
    x_adv: Tensor
    runs: tuple[AttackRun, ...]
    n_robust: tuple[int, ...]
    passes: dict[str, Passes]
    findings: dict[str, sanity_checks.Finding]
    ensemble: AttackEnsemble

    strongest = renamed("robust")

    def broken_under(self, attack: str) -> Tensor:
        """Whether that attack broke each example, (N,) bool."""
        validation.check_choice("attack", attack, self.ensemble.attacks)
        own = [number for number, run in enumerate(self.runs) if run.label == attack]
        return torch.isin(self.broken_by, torch.tensor(own, device=self.broken_by.device))

    def error_rates(self, *, level: float = 0.95) -> ErrorRates:
        """Natural, robust and boundary error with intervals."""
        return ErrorRates.of(self.natural_correct, self.robust, level=level)

    def to_json(self) -> dict[str, Any]:
        """Settings, error rates, who was broken by what, passes and findings."""
        return {
            "ensemble": self.ensemble.to_json(),
            "error_rates": self.error_rates().to_json(),
            "broken_under": {a: int(self.broken_under(a).sum()) for a in self.ensemble.attacks},
            "n_robust": list(self.n_robust),
            "passes": {name: spent._asdict() for name, spent in self.passes.items()},
            "findings": self.findings,
        }


def run_ensemble(
    model: Model,
    x: Tensor,
    y: Tensor,
    *,
    ensemble: AttackEnsemble,
    batch_size: int = 256,
    generator: torch.Generator | None = None,
    checkpoint: Path | str | None = None,
) -> EnsembleEvaluation:
    """Attack every correctly classified example until it is misclassified.

    x: (N, ...) in the box; y: (N,). With `checkpoint` the outcomes so far are saved there now and
    then, and on an interruption; the same call then goes on from the file, and a finished file
    gives its result at once. Without a `generator` it goes on with the file's own seeds.
    Guarantee: verdicts are those of every run in full on every example and do not depend on
    `batch_size`; an image counts only if it lies in ball and box; modes are restored. A model's
    own randomness is seeded as well, and the global generator is left alone.
    """
    batch_size = check_evaluation(model, x, y, [ensemble], batch_size, generator)
    x = x.detach()
    with eval_mode(model), fastest_layout(model):
        clean = clean_answers(model, x, y, batch_size=batch_size)
        state = run_attack(
            Subject(model, x, y, clean, batch_size), ensemble, generator=generator,
            checkpoint=path_of(checkpoint),
        )  # fmt: skip
        return conclude(Subject(model, x, y, clean, batch_size), ensemble, state)


def conclude(
    subject: Subject, ensemble: AttackEnsemble, state: EvaluationState
) -> EnsembleEvaluation:
    """Ask once more about the images that were found, and look for signs of masking."""
    model, x, y, clean, size = subject
    lost, value = state.lost(), state.known.margin.clone()
    with sanity_checks.seeded(2, x.device):
        again = clean_logits(model, state.known.x_adv[lost], y[lost], batch_size=size)
    wrong = misclassified(again, y[lost]) if len(lost) else lost > 0
    if len(lost):
        value[lost] = margin(again, y[lost])
    runs = ensemble.runs(subject.classes)
    findings = sanity_checks.findings(model, x, state, runs, wrong, batch_size=size)
    return EnsembleEvaluation(
        state.natural, state.robust, state.broken_by, value, state.known.x_adv, runs,
        tuple(state.n_robust), _passes(state, runs, clean.passes.forward), findings, ensemble,
    )  # fmt: skip


def _passes(state: EvaluationState, runs: Sequence[AttackRun], clean: int) -> dict[str, Passes]:
    total = {"natural": Passes(clean, 0)}
    for run, (forward, backward, _, _) in zip(runs, state.passes, strict=True):
        before = total.get(run.label, Passes(0, 0))
        total[run.label] = Passes(before.forward + forward, before.backward + backward)
    return total
