"""The difference-of-logits ratio (Croce & Hein 2020a, section 4): losses no logit scale can hide.

Cross-entropy of a model whose logits are large is 0 in floating point, and so is its gradient.
These losses do not change when the logits are shifted or multiplied by a positive number. They
are per example (N,) and larger = worse for the model, as those in `robustnb.attacks.losses`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from robustnb.attacks.losses import margin


def dlr(logits: Tensor, y: Tensor) -> Tensor:
    """-(z_y - max other) / (z_(1) - z_(3)) with sorted logits z_(1) >= z_(2) >= ... (eq. 6).

    At least -1; positive is a mistake. Two classes, or scores (N,), have no third logit: there the
    ratio is constant and the margin itself is given.

    >>> dlr(torch.tensor([[4.0, 2.0, 0.0]]), torch.tensor([0]))
    tensor([-0.5000])
    """
    apart = margin(logits, y)
    if logits.ndim == 1 or logits.shape[1] < 3:
        return apart
    top = logits.topk(3, dim=1).values
    return apart / _positive(top[:, 0] - top[:, 2])


def targeted_dlr(logits: Tensor, y: Tensor, targets: Tensor) -> Tensor:
    """-(z_y - z_t) / (z_(1) - (z_(3) + z_(4)) / 2) (eq. 7); positive: the target beats y.

    Three classes have no fourth logit, so z_(3) stands alone; for two, as in `dlr`.

    >>> targeted_dlr(torch.tensor([[4.0, 2.0, 1.0, 1.0]]), torch.tensor([0]), torch.tensor([2]))
    tensor([-1.])
    """
    if logits.ndim == 1:
        return margin(logits, y)
    apart = (logits.gather(1, targets[:, None]) - logits.gather(1, y[:, None]))[:, 0]
    if logits.shape[1] < 3:
        return apart
    top = logits.topk(min(4, logits.shape[1]), dim=1).values
    return apart / _positive(top[:, 0] - top[:, 2:].mean(1))


def other_classes(logits: Tensor, y: Tensor, count: int) -> Tensor:
    """The `count` most likely classes other than y, best first, (N, min(count, classes - 1)).

    Scores (N,) have one other class, whose number no loss asks for: a column of zeros.

    >>> other_classes(torch.tensor([[4.0, 1.0, 2.0]]), torch.tensor([0]), 9)
    tensor([[2, 1]])
    """
    if logits.ndim == 1:
        return torch.zeros(len(logits), min(count, 1), dtype=torch.int64, device=logits.device)
    others = logits.scatter(1, y[:, None], -torch.inf)
    return others.topk(min(count, logits.shape[1] - 1), dim=1).indices


def _positive(size: Tensor) -> Tensor:
    return size.clamp_min(
        torch.finfo(size.dtype).tiny ** 0.5
    )  # all logits equal: 0 / tiny, not NaN
