"""What an attack is to the engine: settings, and runs that attack a batch of examples.

A new attack is one file: a class with the attributes of `Attack`, whose `runs` give `AttackRun`s.
`robustnb.attacks.engine` then batches, drops the misclassified, seeds, saves, goes on after an
interruption, and shows progress; `evaluate`, `craft` and `transfer` take it as they take PGD.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from robustnb.attacks.projections import Clip, Norm
from robustnb.attacks.queries import ModelQueries


class Known(NamedTuple):
    """What is known of each example so far.

    `x_adv` (N, ...): the first misclassified image; until then x, or the image of highest margin if
    the attack looks at margins. `margin` (N,): of that image, NaN where it was not asked for.
    `step` (N,): the step of the first mistake, -1 without one or where steps are not counted.
    """

    x_adv: Tensor
    margin: Tensor
    step: Tensor

    def of(self, rows: Tensor) -> Known:
        """Copies of some rows."""
        return Known(self.x_adv[rows], self.margin[rows], self.step[rows])


class Batch(NamedTuple):
    """Examples that are attacked together.

    x (N, ...), y (N,), and the model's logits at x. `at` (N, ...): where each begins: the run's
    start, or where its last part ended. `seed`: of the run's own draws, the same for all batches.
    """

    x: Tensor
    y: Tensor
    logits: Tensor
    at: Tensor
    known: Known
    seed: int


class Part(NamedTuple):
    """What a part of a run did: who was misclassified (N,), where each is, and what is known."""

    misclassified: Tensor
    at: Tensor
    known: Known


class AttackRun(ABC):
    """One attack from one start: a small object that the engine drives.

    `label` is the name under which passes are counted. `parts`: into how many calls a run is cut
    so that the misclassified can be dropped and the rest packed into full batches between them.
    """

    label: str
    parts: int = 1

    def starts(self, x: Tensor, seed: int) -> Tensor:
        """Where the run begins for a block of examples, drawn before anything is dropped."""
        return x

    @abstractmethod
    def attack(self, queries: ModelQueries, batch: Batch, part: int) -> Part:
        """Attack until each example is misclassified or the part ends."""

    @abstractmethod
    def craft(self, queries: ModelQueries, batch: Batch) -> Tensor:
        """The worst image of each example, however soon it is misclassified, (N, ...)."""


@runtime_checkable
class Attack(Protocol):
    """Settings of an attack. `eps` is in pixel units; several runs of it are one column."""

    @property
    def name(self) -> str:
        """What a table calls it."""

    @property
    def eps(self) -> float:
        """The radius."""

    @property
    def norm(self) -> Norm:
        """The norm of the radius."""

    @property
    def clip(self) -> Clip:
        """The box of the images."""

    @property
    def needs_gradients(self) -> bool:
        """Whether it asks the model for gradients."""

    def runs(self, classes: int) -> Sequence[AttackRun]:
        """The runs in order, for a model of so many classes; fewer restarts are a prefix."""

    def to_json(self) -> dict[str, Any]:
        """All settings, JSON-able."""


def found(batch: Batch, misclassified: Tensor, x_adv: Tensor) -> Part:
    """A part that ended at x_adv (N, ...), where nobody asked for margins or counted steps."""
    take = misclassified.reshape(-1, *[1] * (x_adv.ndim - 1))
    image = torch.where(take, x_adv, batch.known.x_adv)
    margin = torch.where(misclassified, torch.nan, batch.known.margin)
    return Part(misclassified, x_adv, Known(image, margin, batch.known.step))
