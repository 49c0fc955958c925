"""What an attack asks of a model at every iterate: the loss and the verdict, from one pass."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from robustnb.attacks import checks
from robustnb.attacks.losses import LOSSES, Loss, fooled, kl, margin
from robustnb.models.modes import Model

LossName = Literal["ce", "margin", "kl"]
_PART, _WHOLE = 100, 128


def parts(x: Tensor) -> list[slice]:
    """The rows of a batch of over 128 in equal parts of at most 100 on a CPU; else in one part.

    The activations of a part stay in the cache: 250 images at a time cost 1.2 to 1.4 times as much
    (medians for LightCNN and WRN-10-1 on one thread of a busy machine).
    """
    split = x.device.type == "cpu" and len(x) > _WHOLE
    size = -(-len(x) // -(-len(x) // _PART)) if split else max(len(x), 1)
    return [slice(first, first + size) for first in range(0, max(len(x), 1), size)]


class Record:
    """Of each example the first misclassified iterate, and until then the one of highest margin."""

    def __init__(self, x_adv: Tensor, found: Tensor, step: Tensor, *, first: int) -> None:
        """Go on from the images, margins and steps so far; the next iterate is number `first`."""
        self.x_adv, self.margin, self.step = x_adv, found, step
        self._now = first - 1

    @torch.no_grad()
    def note(self, rows: slice, x_adv: Tensor, logits: Tensor, y: Tensor, hit: Tensor) -> None:
        """Take in the model's answers to some rows of the present iterate, which come in order."""
        self._now += rows.start == 0
        value = margin(logits, y)
        stands = self.step[rows] < 0
        better = (stands & (hit | (value > self.margin[rows]))).nonzero()[:, 0]
        self.x_adv[rows][better] = x_adv.detach()[better]
        self.margin[rows][better] = value[better]
        self.step[rows][stands & hit] = self._now


class Judge:
    """Maps x_adv to (loss (N,), fooled (N,)) by one forward pass, and counts the passes.

    With `targets` the loss is minus the loss towards them, and fooled means the target is hit.
    For "kl" the clean logits come from `prepare(x)`, one pass for all restarts.
    """

    def __init__(
        self,
        model: Model,
        y: Tensor,
        *,
        loss: LossName | Loss = "ce",
        targets: Tensor | None = None,
    ) -> None:
        """Refuse a loss and targets that do not go together."""
        if isinstance(loss, str):
            checks.check_choice("loss", loss, tuple(LOSSES))
        if targets is not None and loss == "kl":
            raise ValueError('the loss "kl" knows no labels, so no targets; use loss="ce"')
        if targets is not None and targets.shape != y.shape:
            raise ValueError(f"targets must have y's shape {tuple(y.shape)}, got {targets.shape}")
        self.model, self.y, self.loss, self.targets = model, y, loss, targets
        self.clean: Tensor | None = None
        self.forwards = self.backwards = 0  # in examples
        self.fallen = torch.zeros_like(y, dtype=torch.bool)  # at any iterate so far
        self.record: Record | None = None
        self._checked = False

    def prepare(self, x: Tensor) -> Judge:
        """Take the clean logits if the loss needs them."""
        if self.loss == "kl":
            with torch.no_grad():
                self.clean = self.model(x)
            self.forwards += len(x)
        return self

    def parts(self, x_adv: Tensor) -> list[slice]:
        """The rows to ask about together; a loss of the caller's own sees the whole batch."""
        return [slice(0, len(x_adv))] if callable(self.loss) else parts(x_adv)

    def __call__(self, x_adv: Tensor) -> tuple[Tensor, Tensor]:
        """The loss and the verdict of each example at x_adv."""
        found = [self.of(rows, x_adv[rows]) for rows in self.parts(x_adv)]
        loss, hit = zip(*found, strict=True)
        return (loss[0], hit[0]) if len(found) == 1 else (torch.cat(loss), torch.cat(hit))

    def of(self, rows: slice, x_adv: Tensor) -> tuple[Tensor, Tensor]:
        """The same of some rows, whose images `x_adv` are."""
        logits, y = self.model(x_adv), self.y[rows]
        targets = None if self.targets is None else self.targets[rows]
        self.forwards += len(x_adv)
        self.backwards += len(x_adv) if torch.is_grad_enabled() else 0
        checks.check_logits(logits, len(x_adv))
        if not self._checked:
            for labels in (self.y, self.targets):
                if labels is not None:
                    checks.check_classes(labels, logits)
            self._checked = True
        with torch.no_grad():
            hit = fooled(logits, y) if targets is None else ~fooled(logits, targets)
            self.fallen[rows] |= hit
            if self.record is not None:
                self.record.note(rows, x_adv, logits, y, hit)
        return self._value(logits, y, targets, rows), hit

    def _value(self, logits: Tensor, y: Tensor, targets: Tensor | None, rows: slice) -> Tensor:
        if self.loss == "kl":
            assert self.clean is not None
            return kl(self.clean[rows], logits)
        loss = self.loss if callable(self.loss) else LOSSES[self.loss]
        value = loss(logits, y) if targets is None else -loss(logits, targets)
        if value.shape != (len(logits),):
            raise ValueError(
                f"the loss must give one value per example ({len(logits)},), got shape "
                f'{tuple(value.shape)}; use reduction="none"'
            )
        return value
