"""A deep convolutional network without skip connections, for images of any size."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn

from robustnb.models.layers import check_sizes, materialise, on_meta
from robustnb.scalars import whole


class PlainCNN(nn.Module):
    """Stages of two 3 x 3 convolutions with normalisation, halved between stages (Simonyan 2015).

    x: (N, in_channels, H, W); each mean over the last maps feeds one linear layer.
    """

    layout_chosen: ClassVar[bool] = True  # by `channels_last`

    def __init__(
        self,
        *,
        widths: Sequence[int] = (16, 32, 64),
        classes: int = 10,
        in_channels: int = 3,
        channels_last: bool = True,
        generator: torch.Generator | None = None,
    ) -> None:
        """Draw the weights from `generator`; widths: channels of each stage."""
        super().__init__()
        sizes = check_sizes("widths", widths)
        if not sizes:
            raise ValueError("widths must list the channels of at least one stage, got none")
        classes, in_channels = whole("classes", classes), whole("in_channels", in_channels)
        layers: list[nn.Module] = []
        with on_meta():
            for stage, (before, after) in enumerate(pairwise([in_channels, *sizes])):
                layers += [nn.MaxPool2d(2)] if stage > 0 else []
                for inputs in (before, after):
                    layers += [
                        nn.Conv2d(inputs, after, 3, 1, 1, bias=False),
                        nn.BatchNorm2d(after),
                        nn.ReLU(inplace=True),
                    ]
            self.body = nn.Sequential(*layers)
            self.last = nn.Linear(sizes[-1], classes)
        materialise(self, generator=generator, init="he_in", channels_last=channels_last)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes)."""
        logits: Tensor = self.last(self.body(x).mean((2, 3)))
        return logits
