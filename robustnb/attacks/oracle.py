"""A model as the attacks of the ensemble see it: checked logits and gradients, and their count."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from robustnb.attacks import checks
from robustnb.attacks.losses import Loss, fooled
from robustnb.models.modes import Model


class Slope(NamedTuple):
    """What one forward and one backward pass tell of each example."""

    loss: Tensor
    fooled: Tensor
    grad: Tensor


class Oracle:
    """Counts passes in examples, and gradients that were not finite, or zero without a mistake.

    A gradient that is not finite (a root at 0, an overflow) is taken as no gradient, because one
    NaN would carry an image out of the ball; the counts let an evaluation tell of it.
    """

    def __init__(self, model: Model) -> None:
        """Ask nothing yet."""
        self.model = model
        self.forward = self.backward = self.zero = self.broken = 0

    @torch.no_grad()
    def logits(self, x: Tensor) -> Tensor:
        """Finite logits (N, classes) or scores (N,); ValueError otherwise."""
        logits = self.model(x.detach())
        self.forward += len(x)
        checks.check_logits(logits, len(x))
        return logits

    def verdict(self, x: Tensor, y: Tensor, loss: Loss) -> tuple[Tensor, Tensor]:
        """The loss and whether each is misclassified, without a gradient."""
        logits = self.logits(x)
        return loss(logits, y), fooled(logits, y)

    def slope(self, x: Tensor, y: Tensor, loss: Loss) -> Slope:
        """The loss, the verdict and the gradient of the loss towards x."""
        leaf = x.detach().requires_grad_()
        with torch.enable_grad():
            logits = self.model(leaf)
            checks.check_logits(logits, len(x))
            value = loss(logits, y)
        if value.shape != (len(x),):
            raise ValueError(
                f"the loss must give one value per example ({len(x)},), got shape "
                f'{tuple(value.shape)}; use reduction="none"'
            )
        grad = None
        if value.requires_grad:
            (grad,) = torch.autograd.grad(value.sum(), leaf, allow_unused=True)
        if grad is None:
            raise ValueError(
                "the loss has no gradient with respect to the images; the model detaches them "
                "(no_grad, .detach(), .argmax(), numpy). Attack it with square, which asks for none"
            )
        self.forward += len(x)
        self.backward += len(x)
        with torch.no_grad():
            hit = fooled(logits, y)
            return Slope(value.detach(), hit, self._usable(grad, hit))

    def _usable(self, grad: Tensor, hit: Tensor) -> Tensor:
        flat = grad.flatten(1)
        finite = flat.isfinite().all(1)
        self.broken += int((~finite).sum())
        self.zero += int(((flat == 0).all(1) & ~hit).sum())
        return grad if bool(finite.all()) else grad.nan_to_num(0.0, 0.0, 0.0)
