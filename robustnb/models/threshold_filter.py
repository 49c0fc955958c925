"""A fixed first layer that pushes pixels towards black and white (Schmidt et al. 2018)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from robustnb.models.catalogue import build
from robustnb.scalars import real, whole


class ThresholdFilter(nn.Module):
    """Two channels for each one: ReLU(x - eps) and ReLU(x - (1 - eps)); nothing is learnt.

    Where a pixel is below eps both channels are 0, so that a change of a black pixel by at most
    eps cannot be seen. Gradients vanish there, too: attack it with random starts and by transfer.
    x: (N, C, H, W); returns (N, 2 C, H, W).
    """

    def __init__(self, eps: float) -> None:
        """Keep the radius, in pixel units."""
        super().__init__()
        eps = real("eps", eps)
        if not 0 <= eps < 0.5:
            raise ValueError(f"eps must lie in [0, 1/2), in pixels of [0, 1]; got {eps}")
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Filter a batch."""
        return torch.cat([(x - self.eps).relu(), (x - (1 - self.eps)).relu()], dim=1)


def build_filtered(name: str, *, eps: float, in_channels: int = 1, **settings: Any) -> nn.Module:
    """The network of that name behind a `ThresholdFilter`; see `build`."""
    in_channels = whole("in_channels", in_channels)
    network = build(name, in_channels=2 * in_channels, **settings)
    return nn.Sequential(ThresholdFilter(eps), network)
