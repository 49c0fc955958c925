"""Where an evaluation stands: what is known of each example, kept in a file to go on from."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from robustnb import resume, tensorfile
from robustnb.attacks.attack import Known, Part
from robustnb.attacks.projections import Clip
from robustnb.attacks.queries import ModelQueries
from robustnb.models.fingerprint import facts_of
from robustnb.models.modes import Model

_SAVE_SECONDS = 10.0
_SAVE_SHARE = 0.05  # of the time that saving may take
_WHAT = "evaluation"


@dataclass
class EvaluationState:
    """Verdicts (N,) so far. `run` is the run in progress and `done` who has had it.

    `natural`: correct when clean. `robust`: and not misclassified since. `broken_by`: the run that
    did it, -1 for none. `passes`: of each run the forward and backward passes in examples, and how
    many gradients were zero, or not finite.
    """

    natural: Tensor
    robust: Tensor
    broken_by: Tensor
    known: Known
    done: Tensor
    run: int = 0
    n_robust: list[int] = field(default_factory=list)
    passes: list[list[int]] = field(default_factory=list)

    @classmethod
    def begin(cls, x: Tensor, natural: Tensor, margin: Tensor, runs: int) -> EvaluationState:
        """Nothing attacked yet."""
        nobody = torch.full_like(natural, -1, dtype=torch.int64)
        return cls(
            natural, natural.clone(), nobody, Known(x.detach().clone(), margin, nobody.clone()),
            torch.zeros_like(natural), passes=[[0, 0, 0, 0] for _ in range(runs)],
        )  # fmt: skip

    def todo(self, block: slice) -> Tensor:
        """The examples of a block that are robust so far and have not had the present run."""
        rows: Tensor = (self.robust & ~self.done)[block].nonzero()[:, 0] + block.start
        return rows

    def enter(self, rows: Tensor, part: Part, broken: Tensor, queries: ModelQueries) -> None:
        """What a part of the present run did to `rows`.

        `broken`: who was misclassified inside the ball. An image outside it is no mistake and is
        not kept.
        """
        keep = broken | ~part.misclassified
        for mine, found in zip(self.known, part.known, strict=True):
            mine[rows[keep]] = found[keep]
        lost = rows[broken]
        self.robust[lost] = False
        self.broken_by[lost] = self.run
        spent = (queries.forward, queries.backward, queries.zero, queries.broken)
        self.passes[self.run] = [a + b for a, b in zip(self.passes[self.run], spent, strict=True)]

    def next_run(self) -> None:
        """The present run is over."""
        self.n_robust.append(int(self.robust.sum()))
        self.done = torch.zeros_like(self.done)
        self.run += 1

    def lost(self) -> Tensor:
        """The examples that some run broke, as row numbers."""
        return (self.broken_by >= 0).nonzero()[:, 0]


class Checkpointer:
    """Writes a state to a file now and then, so that saving costs a twentieth of the time."""

    def __init__(self, path: Path | None, facts: Mapping[str, Any], x: Tensor) -> None:
        """Keep nothing when there is no path; of images only those that differ from x."""
        self.path, self.facts, self.x = path, facts, x
        self._next = time.monotonic() + _SAVE_SECONDS
        self._last: tuple[int, int] | None = None

    def maybe_save(self, state: EvaluationState) -> None:
        """Save if the last time is long enough ago."""
        if time.monotonic() >= self._next:
            self.save(state)

    def save(self, state: EvaluationState) -> None:
        """Replace the file in one step, unless it holds this already."""
        now = (state.run, int(state.done.sum()))
        if self.path is None or now == self._last:
            return
        started = time.monotonic()
        changed = (state.known.x_adv != self.x).flatten(1).any(1)
        tensors = {
            "natural": state.natural, "robust": state.robust, "broken_by": state.broken_by,
            "done": state.done, "margin": state.known.margin, "step": state.known.step,
            "changed": changed, "images": state.known.x_adv[changed],
        }  # fmt: skip
        counts = {"run": state.run, "n_robust": state.n_robust, "passes": state.passes}
        resume.save(self.path, tensors, self.facts, counts=counts)
        self._last, ended = now, time.monotonic()
        self._next = ended + max(_SAVE_SECONDS, (ended - started) / _SAVE_SHARE)


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """What a Checkpointer wrote, None if there is no file; ValueError if it is damaged."""
    return resume.load(path, what=_WHAT)


def resumed(
    saved: tuple[dict[str, Tensor], dict[str, Any]], facts: Mapping[str, Any], x: Tensor, path: Path
) -> EvaluationState:
    """The state that `load` read; ValueError if it comes from another evaluation."""
    tensors, record = saved
    resume.refuse_other(path, record, facts, what=_WHAT)
    here = {name: tensor.to(x.device) for name, tensor in tensors.items()}
    x_adv, counts = x.detach().clone(), record["counts"]
    x_adv[here["changed"]] = here["images"]
    known = Known(x_adv, here["margin"], here["step"])
    return EvaluationState(
        here["natural"], here["robust"], here["broken_by"], known, here["done"],
        counts["run"], counts["n_robust"], counts["passes"],
    )  # fmt: skip


def facts(model: Model, x: Tensor, y: Tensor, clip: Clip) -> dict[str, Any]:
    """What a saved evaluation must have in common with the one that goes on."""
    return {
        "the data": tensorfile.weights_digest({"x": x, "y": y}),
        "the torch version": torch.__version__,
        **facts_of(model, x, clip=clip),
    }
