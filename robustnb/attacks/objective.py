"""What PGD climbs on a model: a loss with its labels and targets, and the best iterates so far."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from robustnb.attacks import validation
from robustnb.attacks.attack import Known
from robustnb.attacks.losses import LOSSES, Loss, kl, margin, misclassified
from robustnb.attacks.queries import Aimed, ModelQueries

LossName = Literal["ce", "margin", "kl"]


class Value(NamedTuple):
    """Loss of each example (N,), the verdict if there is one, and the gradient if asked for."""

    loss: Tensor
    misclassified: Tensor | None
    grad: Tensor | None


class Record:
    """Of each example the first misclassified iterate, and until then the one of highest margin."""

    def __init__(self, known: Known, *, first: int) -> None:
        """Go on from what is known so far, in place; the next iterate is number `first`."""
        self.known = known
        self._now = first - 1

    @torch.no_grad()
    def note(self, x_adv: Tensor, logits: Tensor, y: Tensor, hit: Tensor) -> None:
        """Take in the model's answers to the present iterate."""
        self._now += 1
        value, known = margin(logits, y), self.known
        robust = known.step < 0
        better = (robust & (hit | (value > known.margin))).nonzero()[:, 0]
        known.x_adv[better] = x_adv.detach()[better]
        known.margin[better] = value[better]
        known.step[robust & hit] = self._now


class ModelObjective:
    """Maps x_adv to its loss, the verdict and the gradient, by one pass each way.

    With `targets` the loss is minus the loss towards them, and fooled means the target is hit.
    For "kl" the clean logits come from `prepare(x)`, one pass for all restarts.
    """

    def __init__(
        self,
        queries: ModelQueries,
        y: Tensor,
        *,
        loss: LossName | Loss = "ce",
        targets: Tensor | None = None,
    ) -> None:
        """Refuse a loss and targets that do not go together."""
        if isinstance(loss, str):
            validation.check_choice("loss", loss, tuple(LOSSES))
        if targets is not None and loss == "kl":
            raise ValueError('the loss "kl" knows no labels, so no targets; use loss="ce"')
        if targets is not None and targets.shape != y.shape:
            raise ValueError(f"targets must have y's shape {tuple(y.shape)}, got {targets.shape}")
        self.queries, self.y, self.loss, self.targets = queries, y, loss, targets
        self.clean: Tensor | None = None
        self.ever_misclassified = torch.zeros_like(y, dtype=torch.bool)  # at any iterate so far
        self.record: Record | None = None
        queries.check_labels(y, targets)

    def prepare(self, x: Tensor) -> ModelObjective:
        """Take the clean logits if the loss needs them."""
        if self.loss == "kl":
            self.clean = self.queries.logits(x)
        return self

    def __call__(self, x_adv: Tensor, *, grad: bool) -> Value:
        """The loss, the verdict of each example at x_adv, and the gradient of the loss."""
        ask = self.queries.loss_and_grad if grad else self.queries.loss_and_misclassified
        loss, beside = self._loss()
        found = ask(x_adv, self.y, loss, beside)
        hit = (
            found.misclassified
            if self.targets is None
            else ~misclassified(found.logits, self.targets)
        )
        self.ever_misclassified |= hit
        if self.record is not None:
            self.record.note(x_adv, found.logits, self.y, hit)
        return Value(found.loss, hit, found.grad)

    def _loss(self) -> tuple[Loss | Aimed, Tensor | None]:
        """The loss and what it is given beside logits and labels."""
        if self.loss == "kl":
            assert self.clean is not None
            return (lambda logits, y, clean: kl(clean, logits)), self.clean
        loss = self.loss if callable(self.loss) else LOSSES[self.loss]
        if self.targets is None:
            return loss, None
        targets = self.targets
        if callable(self.loss):  # the whole batch at once, as such a loss may want
            return (lambda logits, y: -loss(logits, targets)), None
        return (lambda logits, y, target: -loss(logits, target)), targets
