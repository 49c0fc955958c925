"""A model as the attacks of the ensemble see it: checked logits and gradients, and their count."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from robustnb.attacks import checks
from robustnb.attacks.judge import parts
from robustnb.attacks.losses import Loss, cross_entropy, fooled, margin
from robustnb.attacks.ratio import dlr
from robustnb.models.modes import Model

Aimed = Callable[[Tensor, Tensor, Tensor], Tensor]
_BY_EXAMPLE = (cross_entropy, margin, dlr)


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
        found = []
        for rows in parts(x):
            found.append(self.model(x[rows].detach()))
            checks.check_logits(found[-1], len(x[rows]))
        self.forward += len(x)
        return found[0] if len(found) == 1 else torch.cat(found)

    def verdict(
        self, x: Tensor, y: Tensor, loss: Loss | Aimed, aim: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The loss and whether each is misclassified, without a gradient."""
        logits = self.logits(x)
        return _value(loss, logits, y, aim), fooled(logits, y)

    def slope(self, x: Tensor, y: Tensor, loss: Loss | Aimed, aim: Tensor | None = None) -> Slope:
        """The loss, the verdict and the gradient of the loss towards x.

        With `aim` (N,) the loss is given it as well. A loss of the caller's own sees the whole
        batch; ours are asked in parts.
        """
        own = aim is not None or loss in _BY_EXAMPLE
        rows = parts(x) if own else [slice(0, len(x))]
        found = [
            self._slope(x[part], y[part], loss, None if aim is None else aim[part]) for part in rows
        ]
        return found[0] if len(found) == 1 else Slope(*map(torch.cat, zip(*found, strict=True)))

    def _slope(self, x: Tensor, y: Tensor, loss: Loss | Aimed, aim: Tensor | None) -> Slope:
        leaf = x.detach().requires_grad_()
        with torch.enable_grad():
            logits = self.model(leaf)
            checks.check_logits(logits, len(x))
            value = _value(loss, logits, y, aim)
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
        largest = grad.abs().flatten(1).amax(1)  # NaN and infinity come through
        finite = largest.isfinite()
        self.broken += int((~finite).sum())
        self.zero += int(((largest == 0) & ~hit).sum())
        return grad if bool(finite.all()) else grad.nan_to_num(0.0, 0.0, 0.0)


def _value(loss: Loss | Aimed, logits: Tensor, y: Tensor, aim: Tensor | None) -> Tensor:
    value: Tensor = loss(logits, y) if aim is None else loss(logits, y, aim)  # type: ignore[call-arg]
    return value
