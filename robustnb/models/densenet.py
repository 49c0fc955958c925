"""Densely connected networks for small images (Huang 2017)."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robustnb.models.layers import check_sizes, materialise, on_meta
from robustnb.scalars import whole


class _DenseLayer(nn.Module):
    """Normalisation, ReLU and a 3 x 3 convolution; its channels are put beside its input's."""

    def __init__(self, before: int, growth: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(before)
        self.conv = nn.Conv2d(before, growth, 3, 1, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.conv(F.relu(self.bn(x), inplace=True))], 1)


class _Transition(nn.Module):
    """Half the channels, by a 1 x 1 convolution, and half the height and width, by means."""

    def __init__(self, before: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(before)
        self.conv = nn.Conv2d(before, before // 2, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(self.conv(F.relu(self.bn(x), inplace=True)), 2)


class DenseNet(nn.Module):
    """Dense blocks with transitions between them and a 3 x 3 stem. x: (N, in_channels, H, W).

    Height and width are halved at each transition.
    """

    layout_chosen: ClassVar[bool] = True  # by `channels_last`

    def __init__(
        self,
        *,
        layers: tuple[int, ...] = (4, 4, 4),
        growth: int = 12,
        classes: int = 10,
        in_channels: int = 3,
        channels_last: bool = True,
        generator: torch.Generator | None = None,
    ) -> None:
        """Draw the weights from `generator`.

        layers: dense layers in each block. growth: channels that a dense layer adds; the stem has
        twice as many.
        """
        super().__init__()
        counts, growth = check_sizes("layers", layers), whole("growth", growth)
        if not counts:
            raise ValueError("layers must list at least one block, such as (4, 4, 4), got none")
        classes, in_channels = whole("classes", classes), whole("in_channels", in_channels)
        body: list[nn.Module] = []
        before = 2 * growth
        with on_meta():
            self.stem = nn.Conv2d(in_channels, before, 3, 1, 1, bias=False)
            for block, count in enumerate(counts):
                if block > 0:
                    body.append(_Transition(before))
                    before //= 2
                for _ in range(count):
                    body.append(_DenseLayer(before, growth))
                    before += growth
            self.blocks = nn.Sequential(*body)
            self.bn = nn.BatchNorm2d(before)
            self.last = nn.Linear(before, classes)
        materialise(self, generator=generator, init="he_in", channels_last=channels_last)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes)."""
        x = F.relu(self.bn(self.blocks(self.stem(x))), inplace=True)
        logits: Tensor = self.last(x.mean((2, 3)))
        return logits
