"""Where a long evaluation stands: outcomes per example so far, kept in a file to go on from."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from robustnb import resume, tensorfile
from robustnb.attacks.geometry import Clip
from robustnb.models.fingerprint import facts_of
from robustnb.models.modes import Model

_SAVE_SECONDS = 10.0
_SAVE_SHARE = 0.05  # of the time that saving may take
_WHAT = "evaluation"


@dataclass
class Tally:
    """Outcomes (N,) so far. `run` is the run in progress and `done` who has had it."""

    natural: Tensor
    standing: Tensor
    felled_by: Tensor
    x_adv: Tensor
    done: Tensor
    run: int = 0
    survivors: list[int] = field(default_factory=list)
    passes: list[list[int]] = field(default_factory=list)  # forward, backward, zero, broken

    @classmethod
    def begin(cls, x: Tensor, natural: Tensor, runs: int) -> Tally:
        """Nothing attacked yet."""
        nobody = torch.full_like(natural, -1, dtype=torch.int64)
        return cls(
            natural, natural.clone(), nobody, x.detach().clone(), torch.zeros_like(natural),
            passes=[[0, 0, 0, 0] for _ in range(runs)],
        )  # fmt: skip

    def todo(self) -> Tensor:
        """The examples that stand and have not had the present run."""
        return (self.standing & ~self.done).nonzero()[:, 0]

    def enter(self, rows: Tensor, fallen: Tensor, x_adv: Tensor, spent: list[int]) -> None:
        """What the present run did to `rows`."""
        lost = rows[fallen]
        self.x_adv[lost] = x_adv[fallen]
        self.standing[lost] = False
        self.felled_by[lost] = self.run
        self.done[rows] = True
        self.passes[self.run] = [a + b for a, b in zip(self.passes[self.run], spent, strict=True)]

    def next_run(self) -> None:
        """The present run is over."""
        self.survivors.append(int(self.standing.sum()))
        self.done = torch.zeros_like(self.done)
        self.run += 1


class Keeper:
    """Writes a tally to a file now and then, so that saving costs a twentieth of the time."""

    def __init__(self, path: Path | None, facts: Mapping[str, Any]) -> None:
        """Keep nothing when there is no path."""
        self.path, self.facts = path, facts
        self._next = time.monotonic() + _SAVE_SECONDS
        self._last: tuple[int, int] | None = None

    def offer(self, tally: Tally) -> None:
        """Save if the last time is long enough ago."""
        if time.monotonic() >= self._next:
            self.save(tally)

    def save(self, tally: Tally) -> None:
        """Replace the file in one step, unless it holds this already."""
        now = (tally.run, int(tally.done.sum()))
        if self.path is None or now == self._last:
            return
        started = time.monotonic()
        lost = (tally.felled_by >= 0).nonzero()[:, 0]
        tensors = {
            "natural": tally.natural, "standing": tally.standing, "felled_by": tally.felled_by,
            "done": tally.done, "images": tally.x_adv[lost],
        }  # fmt: skip
        counts = {"run": tally.run, "survivors": tally.survivors, "passes": tally.passes}
        resume.save(self.path, tensors, self.facts, counts=counts)
        self._last, ended = now, time.monotonic()
        self._next = ended + max(_SAVE_SECONDS, (ended - started) / _SAVE_SHARE)


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """What a Keeper wrote, None if there is no file; ValueError if it is damaged."""
    return resume.load(path, what=_WHAT)


def resumed(
    saved: tuple[dict[str, Tensor], dict[str, Any]], facts: Mapping[str, Any], x: Tensor, path: Path
) -> Tally:
    """The tally that `load` read; ValueError if it comes from another evaluation."""
    tensors, record = saved
    resume.refuse_other(path, record, facts, what=_WHAT)
    here = {name: tensor.to(x.device) for name, tensor in tensors.items()}
    x_adv = x.detach().clone()
    x_adv[here["felled_by"] >= 0] = here.pop("images")
    counts = record["counts"]
    return Tally(
        here["natural"], here["standing"], here["felled_by"], x_adv, here["done"],
        counts["run"], counts["survivors"], counts["passes"],
    )  # fmt: skip


def facts(model: Model, x: Tensor, y: Tensor, clip: Clip) -> dict[str, Any]:
    """What a saved evaluation must have in common with the one that goes on."""
    return {
        "the data": tensorfile.weights_digest({"x": x, "y": y}),
        "the torch version": torch.__version__,
        **facts_of(model, x, clip=clip),
    }
