"""Mistakes about pictures of gradients."""

from __future__ import annotations

import torch
from torch import Tensor

from robustnb.features.gradients import clip_at_sigmas, input_gradients
from robustnb.gallery.fixtures import digits
from robustnb.gallery.pitfall import Form, Pitfall

_FEW = 4  # pictures side by side


def batch_range_wrong(gradients: Tensor) -> Tensor:
    """Pictures in [0, 1], each clipped at three standard deviations."""
    spread = gradients.flatten(1).std(1)[:, None, None, None]
    clipped = torch.clamp(gradients, -3 * spread, 3 * spread)
    low, high = clipped.min(), clipped.max()
    return (clipped - low) / (high - low)


def batch_range_right(gradients: Tensor) -> Tensor:
    """Pictures in [0, 1], each clipped at three standard deviations."""
    return clip_at_sigmas(gradients, sigmas=3)


def _batch_range_error(form: Form) -> float:
    """How much contrast three pictures lose beside one whose gradient is 100 times as large."""
    net, x, y = digits()
    gradients = input_gradients(net, x[:_FEW], y[:_FEW])
    gradients = gradients / gradients.flatten(1).std(1)[:, None, None, None]
    scale = torch.ones(_FEW, 1, 1, 1)
    scale[-1] = 100.0
    alone, beside = (
        form(pictures)[:-1].flatten(1).std(1) for pictures in (gradients, scale * gradients)
    )
    return float((1 - beside / alone).abs().max())


PITFALLS = (
    Pitfall("batch-range", batch_range_wrong, batch_range_right, _batch_range_error, limit=1e-6,
            shown="share"),
)  # fmt: skip
