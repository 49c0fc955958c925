"""Per-example losses (N,), larger = worse for the model, and the verdict that goes with them.

Logits are (N, classes) with y in 0..classes-1. A model of two classes may return one score each,
(N,), with y in {-1, +1}: then every loss is that of the two logits (-score/2, score/2).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

Loss = Callable[[Tensor, Tensor], Tensor]


def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """-log p(y), in nats; log(1 + exp(-y score)) for scores.

    >>> cross_entropy(torch.zeros(1, 2), torch.tensor([1]))
    tensor([0.6931])
    """
    if logits.ndim == 1:
        return nn.functional.softplus(-y * logits)
    return nn.functional.cross_entropy(logits, y, reduction="none")


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


def fooled(logits: Tensor, y: Tensor) -> Tensor:
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


LOSSES: dict[str, Loss] = {"ce": cross_entropy, "margin": margin, "kl": kl}
