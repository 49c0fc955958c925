"""What every attack asks of a model: checked logits, losses and gradients, and their count."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from robustnb.attacks import validation
from robustnb.attacks.losses import Loss, cross_entropy, dlr, margin, misclassified
from robustnb.models.ask import ask, check_finite, no_finer
from robustnb.models.layout import in_faster_format
from robustnb.models.modes import Model

Aimed = Callable[[Tensor, Tensor, Tensor], Tensor]
_Given = TypeVar("_Given", Tensor, Tensor | None)
_BY_EXAMPLE = (cross_entropy, margin, dlr)
_PART, _WHOLE = 100, 128


class Answer(NamedTuple):
    """Of each example: loss (N,), whether it is misclassified, gradient of the loss, and logits.

    `grad` has x's shape; it is None where none was asked for.
    """

    loss: Tensor
    misclassified: Tensor
    grad: Tensor | None
    logits: Tensor


def chunks(x: Tensor) -> list[slice]:
    """The rows of a batch of over 128 in equal parts of at most 100 on a CPU; else in one part.

    The activations of a part stay in the cache: 250 images at a time cost 1.2 to 1.4 times as much
    (medians for LightCNN and WRN-10-1 on one thread of a busy machine).
    """
    split = x.device.type == "cpu" and len(x) > _WHOLE
    size = -(-len(x) // -(-len(x) // _PART)) if split else max(len(x), 1)
    return [slice(first, first + size) for first in range(0, max(len(x), 1), size)]


class ModelQueries:
    """Asks a model, checks what it answers, and counts passes in examples.

    `zero` and `broken` count gradients that were zero without a mistake, or not finite. A gradient
    that is not finite (a root at 0, an overflow) is taken as no gradient, because one NaN would
    carry an image out of the ball; the counts let an evaluation tell of it.
    """

    def __init__(self, model: Model) -> None:
        """Ask nothing yet."""
        self.model = model
        self.forward = self.backward = self.zero = self.broken = 0
        self._to_check: list[Tensor] = []

    def check_labels(self, *labels: Tensor | None) -> None:
        """Check these labels against the model's classes with its next answer."""
        self._to_check += [given for given in labels if given is not None]

    @torch.no_grad()
    def logits(self, x: Tensor) -> Tensor:
        """Finite logits (N, classes) or scores (N,); ValueError otherwise."""
        found = []
        for rows in chunks(x):
            part = x[rows].detach()
            found.append(
                in_faster_format(self.model, part, partial(self._ask, part), backward=False)
            )
        self.forward += len(x)
        return found[0] if len(found) == 1 else torch.cat(found)

    def loss_and_misclassified(
        self, x: Tensor, y: Tensor, loss: Loss | Aimed, beside: Tensor | None = None
    ) -> Answer:
        """The loss and the verdict, without a gradient; arguments as of `loss_and_grad`."""
        logits = self.logits(x)
        with torch.no_grad():
            return Answer(_value(loss, logits, y, beside), misclassified(logits, y), None, logits)

    def loss_and_grad(
        self, x: Tensor, y: Tensor, loss: Loss | Aimed, beside: Tensor | None = None
    ) -> Answer:
        """The loss, the verdict and the gradient of the loss towards x, from one pass each way.

        `beside` (N, ...), target classes for example, is given to the loss as a third argument. A
        loss of the caller's own, without it, sees the whole batch; the others are asked in parts.
        """
        y, beside = _outside_inference(y), _outside_inference(beside)
        own = beside is not None or loss in _BY_EXAMPLE
        rows = chunks(x) if own else [slice(0, len(x))]
        found = [
            self._with_grad(x[part], y[part], loss, None if beside is None else beside[part])
            for part in rows
        ]
        return found[0] if len(found) == 1 else Answer(*map(torch.cat, zip(*found, strict=True)))

    def _ask(self, x: Tensor) -> Tensor:
        logits = ask(self.model, x)
        check_finite(logits)
        while self._to_check:
            validation.check_classes(self._to_check[-1], logits)
            self._to_check.pop()
        return no_finer(logits, x)

    def _with_grad(self, x: Tensor, y: Tensor, loss: Loss | Aimed, beside: Tensor | None) -> Answer:
        leaf = (x.clone() if x.is_inference() else x.detach()).requires_grad_()

        def both_ways() -> tuple[Tensor, Tensor, Tensor]:
            with torch.enable_grad():
                logits = self._ask(leaf)
                value = _value(loss, logits, y, beside)
            return logits, value, gradient(value, leaf)

        logits, value, raw = in_faster_format(self.model, leaf, both_ways, backward=True)
        self.forward += len(x)
        self.backward += len(x)
        with torch.no_grad():
            hit = misclassified(logits, y)
            grad, largest = usable(raw)
            if not bool(((largest > 0) & (largest < math.inf)).all()):
                self.broken += int((~largest.isfinite()).sum())
                self.zero += int(((largest == 0) & ~hit).sum())
            return Answer(value.detach(), hit, grad, logits.detach())


def gradient(value: Tensor, leaf: Tensor) -> Tensor:
    """The gradient of sum(value) towards `leaf`, with the strides of `leaf`.

    Raises ValueError where the way from the images to the loss is cut; parameters get no gradient.
    """
    grad = None
    if value.requires_grad:
        with torch.enable_grad():
            total = value.sum()
        (grad,) = torch.autograd.grad(total, leaf, allow_unused=True)
    if grad is None:
        raise ValueError(
            "the loss has no gradient with respect to the images; the model or the loss detaches "
            "them (no_grad, .detach(), .argmax(), numpy). Attack it with square, which asks for "
            "none"
        )
    # as the images lie in memory, since what follows mixes the two
    return grad if grad.stride() == leaf.stride() else torch.empty_like(leaf).copy_(grad)


def usable(grad: Tensor) -> tuple[Tensor, Tensor]:
    """The gradient with 0 for entries that are not finite, and each example's largest entry.

    The largest is of absolute values, (N,), and NaN or infinite where the gradient was.

    >>> usable(torch.tensor([[float("nan"), 1.0]]))
    (tensor([[0., 1.]]), tensor([nan]))
    """
    largest = grad.abs().flatten(1).amax(1)
    finite = bool((largest < math.inf).all())
    return grad if finite else grad.nan_to_num(0.0, 0.0, 0.0), largest


def _outside_inference(given: _Given) -> _Given:
    """A tensor that autograd may save, also of one made inside torch.inference_mode."""
    return given.clone() if isinstance(given, Tensor) and given.is_inference() else given


def _value(loss: Loss | Aimed, logits: Tensor, y: Tensor, beside: Tensor | None) -> Tensor:
    function: Callable[..., Any] = loss
    value: Tensor = function(logits, y) if beside is None else function(logits, y, beside)
    validation.check_loss(value, len(logits))
    return value
