"""Per-example losses (N,), larger = worse for the model, and the verdict that goes with them.

Logits are (N, classes) with y in 0..classes-1. A model of two classes may return one score each,
(N,), with y in {-1, +1}: then every loss is that of the two logits (-score/2, score/2).

The difference-of-logits ratios (Croce & Hein 2020a, section 4) do not change when the logits are
shifted or multiplied by a positive number: cross-entropy of a model whose logits are large is 0 in
floating point, and so is its gradient.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

Loss = Callable[[Tensor, Tensor], Tensor]
_NO_LABEL = -(2**63)  # torch's own default, -100, gives such labels a loss of 0 in silence


def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """-log p(y), in nats; log(1 + exp(-y score)) for scores.

    >>> cross_entropy(torch.zeros(1, 2), torch.tensor([1]))
    tensor([0.6931])
    """
    if logits.ndim == 1:
        return nn.functional.softplus(-y * logits)
    return nn.functional.cross_entropy(logits, y, reduction="none", ignore_index=_NO_LABEL)


def margin(logits: Tensor, y: Tensor) -> Tensor:
    """The best other logit less the true one (Carlini & Wagner 2017, f6); > 0 is a mistake.

    >>> margin(torch.tensor([[1.0, 3.0, 2.0]]), torch.tensor([1]))
    tensor([-1.])
    """
    if logits.ndim == 1:
        return -y * logits
    true = logits.gather(1, y[:, None])
    return (logits.scatter(1, y[:, None], -math.inf).amax(1, keepdim=True) - true)[:, 0]


def kl(logits_clean: Tensor, logits_adv: Tensor) -> Tensor:
    """KL(p_clean || p_adv) in nats (Zhang 2019, eq. 5's regulariser with p_clean as the label).

    Written with log-sum-exp so that the gradient at logits_adv = logits_clean is 0 to the bit.
    """
    if logits_clean.ndim == 1:
        logits_clean, logits_adv = _two_columns(logits_clean), _two_columns(logits_adv)
    clean_total = logits_clean.logsumexp(1, keepdim=True)
    p_clean = (logits_clean - clean_total).exp()
    apart = (p_clean * (logits_clean - logits_adv)).sum(1)
    return apart + logits_adv.logsumexp(1) - clean_total[:, 0]


def misclassified(logits: Tensor, y: Tensor) -> Tensor:
    """Whether each example is misclassified, (N,) bool: argmax differs, or y score <= 0."""
    if logits.ndim == 1:
        return y * logits <= 0
    return logits.argmax(1) != y


def predicted(logits: Tensor) -> Tensor:
    """The class of the largest logit, (N,) int64; of scores (N,) the sign, -1 or +1.

    >>> predicted(torch.tensor([0.5, -2.0])).tolist()
    [1, -1]
    """
    if logits.ndim == 1:
        return torch.where(logits > 0, 1, -1)
    return logits.argmax(1)


def _two_columns(scores: Tensor) -> Tensor:
    return torch.stack([-scores / 2, scores / 2], dim=1)


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


LOSSES: dict[str, Loss] = {"ce": cross_entropy, "margin": margin, "kl": kl}
