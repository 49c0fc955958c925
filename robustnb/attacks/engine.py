"""The one loop under every evaluation and every crafted image.

An example is done as soon as one image of one run is misclassified, and is not attacked further:
the rest are packed into full batches. This changes no verdict, because a run draws its starts from
its own seed before anything is dropped. Sets are taken block by block, so that memory does not grow
with their size, except by what is returned.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from robustnb.attacks import projections, validation
from robustnb.attacks import state as saved_state
from robustnb.attacks.attack import Attack, AttackRun, Batch, Known
from robustnb.attacks.losses import margin
from robustnb.attacks.queries import ModelQueries
from robustnb.attacks.results import Clean
from robustnb.attacks.sanity_checks import seeded
from robustnb.attacks.state import Checkpointer, EvaluationState
from robustnb.generators import check_generator
from robustnb.models.modes import Model
from robustnb.progress import Progress, progress

_BLOCK = 1024  # examples that are attacked together
_SEEDS = 2**62


class Subject(NamedTuple):
    """A model, the images it is attacked at, its answers to them, and how many go in a batch."""

    model: Model
    x: Tensor
    y: Tensor
    clean: Clean
    batch_size: int

    @property
    def classes(self) -> int:
        """How many classes the model tells apart; scores (N,) are of two."""
        return self.clean.logits.shape[1] if self.clean.logits.ndim == 2 else 2


def check_evaluation(
    model: Model,
    x: Tensor,
    y: Tensor,
    attacks: Sequence[Attack],
    batch_size: int,
    generator: torch.Generator | None,
) -> int:
    """All the checks of an evaluation that need no pass; the batch size as an int."""
    if isinstance(attacks, Attack) or not all(isinstance(attack, Attack) for attack in attacks):
        raise TypeError(
            f"attacks must be a list of attacks such as pgd_attack(...) and "
            f"standard_ensemble(...), got {attacks!r}"
        )
    names = [attack.name for attack in attacks]
    if len(set(names)) < len(names):
        raise ValueError(f"attacks must have different names, got {names}; set PGDConfig(name=...)")
    for clip in {attack.clip for attack in attacks} or {None}:
        validation.check_images(x, clip)
    validation.check_labels(y, x)
    validation.check_place(model, x)
    for attack in attacks:
        validation.warn_of_bytes(attack.eps, attack.norm, attack.clip, x[:1].numel())
        if attack.needs_gradients:
            validation.check_gradients_allowed(model)
    check_generator(generator)
    return validation.check_batch_size(batch_size)


def run_attack(
    subject: Subject,
    attack: Attack,
    *,
    generator: torch.Generator | None,
    checkpoint: Path | None = None,
) -> EvaluationState:
    """All runs of an attack on the examples that are correct when clean; nothing is checked.

    With `checkpoint` the state is saved there now and then, and on an interruption; the same call
    then goes on from the file, without a `generator` with the file's own seeds.
    """
    runs = attack.runs(subject.classes)
    state, keeper, seeds = _begin(subject, attack, runs, generator, checkpoint)
    with progress(attack.name, total=len(runs)) as bar:
        bar.advance(state.run, note="taken up again" if state.run else "")
        try:
            for run in runs[state.run :]:
                for number, block in enumerate(blocks(len(subject.x))):
                    if attack.eps > 0:
                        seed = (seeds[state.run] + number) % _SEEDS
                        _attack_block(subject, attack, run, state, block, seed, keeper, bar)
                state.next_run()
                bar.advance(1, note=f"{run.label}: {state.n_robust[-1]} robust")
        finally:
            keeper.save(state)
    return state


def craft_images(subject: Subject, attack: Attack, *, generator: torch.Generator | None) -> Tensor:
    """The worst image of every example over all runs: misclassified by the most, (N, ...)."""
    x, y = subject.x, subject.y
    best, worst = x.detach().clone(), x.new_full((len(x),), -torch.inf)
    queries, runs = ModelQueries(subject.model), attack.runs(subject.classes)
    with progress(f"craft {attack.name}", total=len(runs)) as bar:
        for run, seed in zip(runs, run_seeds(len(runs), generator), strict=True):
            for number, block in enumerate(blocks(len(x))):
                own = (seed + number) % _SEEDS
                starts = run.starts(x[block], own)
                every = torch.arange(len(x), device=x.device)[block]
                for rows in _batches(every, subject.batch_size):
                    batch = _batch(
                        subject, rows, starts[rows - block.start], _nothing(x[rows]), own
                    )
                    images = run.craft(queries, batch)
                    # the margin, since values of two losses do not compare
                    score = margin(queries.logits(images), y[rows])
                    take = rows[score > worst[rows]]
                    best[take] = images[score > worst[rows]]
                    worst[rows] = torch.maximum(score, worst[rows])
                    bar.advance(0)
            bar.advance(1)
    return best


def run_seeds(count: int, generator: torch.Generator | None) -> list[int]:
    """A seed for each run, drawn one by one, so that fewer restarts have a prefix of the seeds."""
    device = check_generator(generator)
    return [
        int(torch.randint(_SEEDS, (1,), generator=generator, device=device)) for _ in range(count)
    ]


def blocks(count: int) -> Iterator[slice]:
    """The examples that are attacked together."""
    for first in range(0, max(count, 1), _BLOCK):
        yield slice(first, min(first + _BLOCK, count))


def _begin(
    subject: Subject,
    attack: Attack,
    runs: Sequence[AttackRun],
    generator: torch.Generator | None,
    path: Path | None,
) -> tuple[EvaluationState, Checkpointer, list[int]]:
    """Where the evaluation stands, who saves it, and a seed for each run."""
    x, y, clean = subject.x, subject.y, subject.clean
    saved = None if path is None else saved_state.load(path)
    if generator is None and saved is not None:
        seeds = list(saved[1]["facts"]["the seeds"])
    else:
        seeds = run_seeds(len(runs), generator)
    facts: dict[str, Any] = {}
    if path is not None:
        facts = {"the attack": json.loads(json.dumps(attack.to_json())), "the seeds": seeds}
        facts |= saved_state.facts(subject.model, x, y, attack.clip)
    if saved is not None and path is not None:
        state = saved_state.resumed(saved, facts, x, path)
    else:
        value = margin(clean.logits, y) if len(x) else x.new_zeros(0)
        state = EvaluationState.begin(x, clean.correct, value, len(runs))
    return state, Checkpointer(path, facts, x), seeds


def _attack_block(
    subject: Subject,
    attack: Attack,
    run: AttackRun,
    state: EvaluationState,
    block: slice,
    seed: int,
    keeper: Checkpointer,
    bar: Progress,
) -> None:
    """One run on those of a block who are still robust."""
    todo = state.todo(block)
    if len(todo) == 0:
        return
    alive, at = todo, run.starts(subject.x[block], seed)[todo - block.start]
    for part in range(run.parts):
        moved, sizes = [], subject.batch_size
        for rows, begin in zip(_batches(alive, sizes), _batches(at, sizes), strict=True):
            batch = _batch(subject, rows, begin, state.known.of(rows), seed)
            queries = ModelQueries(subject.model)
            with seeded((seed + int(rows[0])) % _SEEDS, rows.device):
                done = run.attack(queries, batch, part)
            size = projections.lp_distance(done.known.x_adv, batch.x, attack.norm).double()
            broken = done.misclassified & (size <= attack.eps)
            state.enter(rows, done, broken, queries)
            moved.append((~broken, done.at))
            if part == run.parts - 1:
                state.done[rows] = True
                keeper.maybe_save(state)
            bar.advance(0, note=f"{run.label}: {int(state.robust.sum())} robust")
        robust = torch.cat([stays for stays, _ in moved])
        alive, at = alive[robust], torch.cat([last for _, last in moved])[robust]
        if len(alive) == 0:
            return


def _batch(subject: Subject, rows: Tensor, at: Tensor, known: Known, seed: int) -> Batch:
    logits = subject.clean.logits
    return Batch(subject.x[rows], subject.y[rows], logits[rows], at, known, seed)


def _batches(values: Tensor, size: int) -> Sequence[Tensor]:
    return torch.split(values, size) if len(values) else ()


def _nothing(x: Tensor) -> Known:
    nobody = torch.full((len(x),), -1, dtype=torch.int64, device=x.device)
    return Known(x, x.new_full((len(x),), torch.nan), nobody)
