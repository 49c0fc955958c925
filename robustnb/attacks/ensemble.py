"""The strongest-attack ensemble: APGD, FAB and Square one after the other, on those who stand.

AutoAttack's composition (Croce & Hein 2020a, section 6) with both ratio losses. An example falls
to the first image within the ball that is misclassified, and is not attacked further. This
changes no verdict, as every run draws its randomness for the whole set from its own seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor

from robustnb.attacks import checks, geometry, masking, tally
from robustnb.attacks.blackbox import random_search
from robustnb.attacks.closest import closest_towards
from robustnb.attacks.geometry import Clip, Norm
from robustnb.attacks.losses import cross_entropy, fooled, margin
from robustnb.attacks.momentum import is_local, momentum_ascent
from robustnb.attacks.outcome import Clean, Counts, Passes, clean_answers, clean_logits
from robustnb.attacks.queries import ModelQueries
from robustnb.attacks.ratio import dlr, other_classes
from robustnb.models.modes import Model, eval_mode
from robustnb.progress import progress
from robustnb.resume import path_of
from robustnb.scalars import whole

Member = Literal["apgd-ce", "apgd-dlr", "apgd-t", "fab-t", "square"]
MEMBERS: tuple[Member, ...] = get_args(Member)
_TARGETED = ("apgd-t", "fab-t")


class Run(NamedTuple):
    """One attack from one start, towards the `aim`-th likeliest other class if it is targeted."""

    attack: Member
    restart: int
    aim: int | None = None


@dataclass(frozen=True)
class Ensemble:
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
        object.__setattr__(self, "eps", checks.check_radius(self.eps))
        checks.check_norm(self.norm)
        for what in ("steps", "targets", "restarts", "queries"):
            object.__setattr__(self, what, whole(what, getattr(self, what)))
        object.__setattr__(self, "attacks", tuple(self.attacks))
        if not self.attacks or len(set(self.attacks)) < len(self.attacks):
            raise ValueError(f"attacks must name some of {', '.join(MEMBERS)}, each once")
        for attack in self.attacks:
            checks.check_choice("attack", attack, MEMBERS)

    @property
    def needs_gradients(self) -> bool:
        """Whether any attack but Square runs."""
        return set(self.attacks) != {"square"}

    @property
    def name(self) -> str:
        """What a table calls it: "ensemble", and in what it differs from the standard one.

        >>> Ensemble(0.1, targets=2, queries=200).name
        'ensemble (targets 2, queries 200)'
        """
        standard = Ensemble(self.eps)
        other = [
            f"{what} {getattr(self, what)}"
            for what in ("steps", "targets", "restarts", "queries")
            if getattr(self, what) != getattr(standard, what)
        ]
        only = [] if self.attacks == MEMBERS else ["+".join(self.attacks)]
        return f"ensemble ({', '.join(only + other)})" if only or other else "ensemble"

    def runs(self, classes: int) -> tuple[Run, ...]:
        """Restart by restart, so that fewer restarts are a prefix.

        >>> len(Ensemble(0.1).runs(10)), len(Ensemble(0.1).runs(2))
        (21, 5)
        """
        aims = range(min(self.targets, classes - 1))
        return tuple(
            Run(attack, restart, aim)
            for restart in range(self.restarts)
            for attack in self.attacks
            for aim in (aims if attack in _TARGETED else (None,))
        )

    def to_json(self) -> dict[str, Any]:
        """All settings, JSON-able."""
        return {**asdict(self), "attacks": list(self.attacks), "clip": self.clip and [*self.clip]}


def strongest_available(
    eps: float,
    *,
    norm: Norm = "linf",
    steps: int = 100,
    targets: int = 9,
    queries: int = 5000,
    restarts: int = 1,
) -> Ensemble:
    """Our strongest attack: all members; by default as long as AutoAttack's standard version.

    >>> strongest_available(8 / 255).name
    'ensemble'
    """
    return Ensemble(
        eps, norm=norm, steps=steps, targets=targets, queries=queries, restarts=restarts
    )


@dataclass(frozen=True, eq=False)
class EnsembleEvaluation:
    """Per-example outcomes (N,): correct when clean, and under all attacks.

    `felled_by` is the index in `runs` of the run an example fell to, -1 if none did; `x_adv` holds
    the images that did it, and x elsewhere; `margin` is the best other logit less the true one
    there, asked for once more. `survivors` counts who stands after each run; `passes`
    are in examples, by attack. `findings` tell signs of masking: {check: {ok, value, why}}.
    """

    natural_correct: Tensor
    strongest: Tensor
    felled_by: Tensor
    margin: Tensor
    x_adv: Tensor
    runs: tuple[Run, ...]
    survivors: tuple[int, ...]
    passes: dict[str, Passes]
    findings: dict[str, masking.Finding]
    ensemble: Ensemble

    def fallen_to(self, attack: str) -> Tensor:
        """Whether each example fell to that attack, (N,) bool."""
        checks.check_choice("attack", attack, self.ensemble.attacks)
        own = [number for number, run in enumerate(self.runs) if run.attack == attack]
        return torch.isin(self.felled_by, torch.tensor(own, device=self.felled_by.device))

    def counts(self, *, level: float = 0.95) -> Counts:
        """Natural, robust and boundary error with intervals."""
        return Counts.of(self.natural_correct, self.strongest, level=level)

    def to_json(self) -> dict[str, Any]:
        """Settings, counts, who fell to what, passes and findings."""
        return {
            "ensemble": self.ensemble.to_json(),
            "counts": self.counts().to_json(),
            "fallen_to": {a: int(self.fallen_to(a).sum()) for a in self.ensemble.attacks},
            "survivors": list(self.survivors),
            "passes": {name: spent._asdict() for name, spent in self.passes.items()},
            "findings": self.findings,
        }


def ensemble_evaluate(
    model: Model,
    x: Tensor,
    y: Tensor,
    *,
    ensemble: Ensemble,
    batch_size: int = 256,
    generator: torch.Generator | None = None,
    checkpoint: Path | str | None = None,
) -> EnsembleEvaluation:
    """Attack every correctly classified example until it falls; see `EnsembleEvaluation`.

    x: (N, ...) in the box; y: (N,). With `checkpoint` the outcomes so far are saved there now and
    then, and on an interruption; the same call then goes on from the file, and a finished file
    gives its result at once. Without a `generator` it goes on with the file's own seeds.
    Guarantee: verdicts are those of every run in full on every example and do not depend on
    `batch_size`; an image counts only if it lies in ball and box; modes are restored. A model's
    own randomness is seeded as well, and the global generator is left alone.
    """
    batch_size = _check(model, x, y, ensemble, batch_size)
    x, path = x.detach(), path_of(checkpoint)
    with eval_mode(model):
        clean = clean_answers(model, x, y, batch_size=batch_size)
        return run_ensemble(
            model, x, y, clean, ensemble, batch_size=batch_size, generator=generator,
            checkpoint=path,
        )  # fmt: skip


def run_ensemble(
    model: Model,
    x: Tensor,
    y: Tensor,
    clean: Clean,
    ensemble: Ensemble,
    *,
    batch_size: int,
    generator: torch.Generator | None,
    checkpoint: Path | None,
) -> EnsembleEvaluation:
    """`ensemble_evaluate` with the answers to the clean images at hand; nothing is checked."""
    runs = ensemble.runs(clean.logits.shape[1] if clean.logits.ndim == 2 else 2)
    state, keeper, seeds = _begin(model, x, y, clean, ensemble, runs, generator, checkpoint)
    _Attacks(model, x, y, clean.logits, ensemble, runs, seeds, batch_size)(state, keeper)
    lost = (state.felled_by >= 0).nonzero()[:, 0]
    value = margin(clean.logits, y) if len(x) else x.new_zeros(0)
    with masking.seeded(2, x.device):
        again = clean_logits(model, state.x_adv[lost], y[lost], batch_size=batch_size)
    wrong = fooled(again, y[lost]) if len(lost) else lost > 0
    if len(lost):
        value[lost] = margin(again, y[lost])
    findings = masking.findings(model, x, state, runs, wrong, batch_size=batch_size)
    return EnsembleEvaluation(
        state.natural, state.standing, state.felled_by, value, state.x_adv, runs,
        tuple(state.survivors), _passes(state, runs, clean.passes.forward), findings, ensemble,
    )  # fmt: skip


def _begin(
    model: Model,
    x: Tensor,
    y: Tensor,
    clean: Clean,
    ensemble: Ensemble,
    runs: Sequence[Run],
    generator: torch.Generator | None,
    path: Path | None,
) -> tuple[tally.Tally, tally.Keeper, list[int]]:
    """Where the evaluation stands, who saves it, and a seed for each run."""
    saved = None if path is None else tally.load(path)
    seeds = _seeds(runs, generator, saved[1]["facts"]["the seeds"] if saved else None)
    facts: dict[str, Any] = {}
    if path is not None:
        facts = {"the ensemble": ensemble.to_json(), "the seeds": seeds}
        facts |= tally.facts(model, x, y, ensemble.clip)
    if saved is not None and path is not None:
        state = tally.resumed(saved, facts, x, path)
    else:
        state = tally.Tally.begin(x, clean.correct, len(runs))
    return state, tally.Keeper(path, facts), seeds


class _Attacks:
    """All runs of an ensemble on one set."""

    def __init__(
        self, model: Model, x: Tensor, y: Tensor, logits: Tensor, ensemble: Ensemble,
        runs: Sequence[Run], seeds: Sequence[int], batch_size: int,
    ) -> None:  # fmt: skip
        self.model, self.x, self.y, self.ensemble = model, x, y, ensemble
        self.runs, self.seeds, self.batch_size = runs, seeds, batch_size
        self.aims = other_classes(logits, y, ensemble.targets) if len(x) else None

    def __call__(self, state: tally.Tally, keeper: tally.Keeper) -> None:
        """Every run that is left, batch by batch; the state is whole between two batches."""
        with progress("ensemble", total=len(self.runs)) as bar:
            bar.advance(state.run, note="taken up again" if state.run else "")
            try:
                for run in self.runs[state.run :]:
                    begin = self._starts(run, self.seeds[state.run])
                    for rows in torch.split(state.todo(), self.batch_size):
                        self._batch(state, rows, run, None if begin is None else begin[rows])
                        bar.advance(0, note=f"{run.attack}: {int(state.standing.sum())} stand")
                        keeper.offer(state)
                    state.next_run()
                    bar.advance(1, note=f"{run.attack}: {state.survivors[-1]} stand")
            finally:
                keeper.save(state)

    def _starts(self, run: Run, seed: int) -> Tensor | None:
        """The starts of one run for the whole set, before anything is dropped."""
        if run.attack == "square" or self.ensemble.eps == 0:
            return None
        if run.restart == 0 and run.attack != "apgd-ce":
            return self.x
        generator, eps = torch.Generator().manual_seed(seed), self.ensemble.eps
        reach = eps / 2 if run.attack == "fab-t" else eps
        noise = geometry.sample(self.x, eps=reach, norm=self.ensemble.norm, generator=generator)
        return self.x + noise

    def _batch(self, state: tally.Tally, rows: Tensor, run: Run, begin: Tensor | None) -> None:
        queries = ModelQueries(self.model)
        if len(rows) == 0 or self.ensemble.eps == 0:
            return
        seed = (self.seeds[state.run] + int(rows[0])) % 2**62
        with masking.seeded(seed, self.x.device):
            x_adv, fallen = self._attack(queries, rows, run, begin, self.seeds[state.run])
        size = geometry.distance(x_adv, self.x[rows], self.ensemble.norm).double()
        spent = [queries.forward, queries.backward, queries.zero, queries.broken]
        state.enter(rows, fallen & (size <= self.ensemble.eps), x_adv, spent)

    def _attack(
        self, queries: ModelQueries, rows: Tensor, run: Run, begin: Tensor | None, seed: int
    ) -> tuple[Tensor, Tensor]:
        x, y, own = self.x[rows], self.y[rows], self.ensemble
        if run.attack == "square":
            found = random_search(
                queries, x, y, eps=own.eps, queries=own.queries, norm=own.norm, clip=own.clip,
                seed=seed, stop=True,
            )  # fmt: skip
            return found.x_adv, found.fooled
        assert self.aims is not None and begin is not None
        aim = None if run.aim is None else self.aims[rows, run.aim]
        if run.attack == "fab-t":
            assert aim is not None
            near = closest_towards(
                queries, x, y, aim, steps=own.steps, norm=own.norm, begin=begin, clip=own.clip,
                within=own.eps,
            )  # fmt: skip
            return near.x_adv, near.size.isfinite()
        ascent = momentum_ascent(
            queries, x, y, eps=own.eps, steps=own.steps, norm=own.norm, begin=begin, aim=aim,
            loss=cross_entropy if run.attack == "apgd-ce" else dlr, clip=own.clip,
            local=is_local(run.restart, own.norm), stop=True,
        )  # fmt: skip
        return ascent.x_adv, ascent.fooled


def _seeds(
    runs: Sequence[Run], generator: torch.Generator | None, saved: list[int] | None
) -> list[int]:
    """A seed for each run, drawn one by one, so that fewer restarts have a prefix of the seeds."""
    if generator is None and saved is not None:
        return saved
    device = None if generator is None else generator.device
    return [int(torch.randint(2**62, (1,), generator=generator, device=device)) for _ in runs]


def _passes(state: tally.Tally, runs: Sequence[Run], clean: int) -> dict[str, Passes]:
    total = {"natural": Passes(clean, 0)}
    for run, (forward, backward, _, _) in zip(runs, state.passes, strict=True):
        before = total.get(run.attack, Passes(0, 0))
        total[run.attack] = Passes(before.forward + forward, before.backward + backward)
    return total


def _check(model: Model, x: Tensor, y: Tensor, ensemble: Ensemble, batch_size: int) -> int:
    checks.check_images(x, ensemble.clip)
    checks.check_labels(y, x)
    checks.check_place(model, x)
    checks.warn_of_bytes(ensemble.eps, ensemble.norm, ensemble.clip, x[:1].numel())
    if ensemble.needs_gradients:
        checks.check_gradients_allowed(model)
    return checks.check_batch_size(batch_size)
