"""A transfer matrix: images crafted once for each source, and each target asked once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from robustnb.attacks import validation
from robustnb.attacks.losses import misclassified, predicted
from robustnb.attacks.rates import Rate, rate
from robustnb.attacks.results import clean_logits
from robustnb.models.modes import Model, eval_mode


@dataclass(frozen=True, eq=False)
class TransferMatrix:
    """What each target says of images x and of those crafted from them.

    `clean` of a target (N,) bool: whether it gives x its label. `changed` of (crafted, target)
    (N,) bool: whether its answer to the crafted image is another than the label.
    """

    clean: Mapping[str, Tensor]
    changed: Mapping[tuple[str, str], Tensor]

    def success_rate(self, crafted: str, target: str, *, level: float = 0.95) -> Rate:
        """The target's errors on the crafted images, of those whose x it gives its label."""
        return rate(self.changed[crafted, target], self.clean[target], level=level)


def transfer_matrix(
    crafted: Mapping[str, Tensor],
    targets: Mapping[str, Model],
    x: Tensor,
    y: Tensor | None = None,
    *,
    batch_size: int = 256,
) -> TransferMatrix:
    """Ask every target once about x (N, ...) and about all images crafted from it.

    crafted: {name: x_adv (N, ...)}, of whatever source and attack. y (N,): the labels, or None for
    each target's own answer to x, so that success is a changed answer.
    """
    for name, images in crafted.items():
        if images.shape != x.shape:
            raise ValueError(
                f"the images crafted by {name!r} have shape {tuple(images.shape)} and x "
                f"{tuple(x.shape)}; craft one from each image of x"
            )
    zeros = torch.zeros(len(x), dtype=torch.int64, device=x.device)
    clean: dict[str, Tensor] = {}
    changed: dict[tuple[str, str], Tensor] = {}
    for target, model in targets.items():
        validation.check_place(model, x)
        with eval_mode(model):
            logits = clean_logits(model, x, zeros if y is None else y, batch_size=batch_size)
            labels = predicted(logits) if y is None else y
            clean[target] = ~misclassified(logits, labels)
            for name, images in crafted.items():
                answer = clean_logits(model, images, labels, batch_size=batch_size)
                changed[name, target] = misclassified(answer, labels)
    return TransferMatrix(clean, changed)
