"""The small networks: for 28 x 28 images, and one fully connected.

Every constructor draws its weights from `generator` (None: torch's global one), the same seed
giving the same bytes. `channels_last` is on where it is measured faster on one CPU thread.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from robustnb.models.layers import (
    check_dropout,
    check_input,
    check_sizes,
    materialise,
    on_meta,
    zero,
)
from robustnb.scalars import whole

_SIDE = 28


class SmallCNN(nn.Module):
    """The MNIST network of Zhang 2019 (after Carlini & Wagner 2017): 312,202 weights.

    conv32-conv32-pool-conv64-conv64-pool (3 x 3, no padding), FC 1024-200-(dropout)-200-classes.
    `zero_last`: the last layer starts at 0 as in the paper's code, so the first logits are
    constant and the first KL attack stays at its random start. x: (N, in_channels, 28, 28).
    """

    layout_chosen: ClassVar[bool] = True  # by `channels_last`

    def __init__(
        self,
        *,
        in_channels: int = 1,
        classes: int = 10,
        dropout: float = 0.5,
        zero_last: bool = True,
        channels_last: bool = True,
        generator: torch.Generator | None = None,
    ) -> None:
        """Draw the weights from `generator`."""
        super().__init__()
        self.in_channels = in_channels = whole("in_channels", in_channels)
        classes, dropout = whole("classes", classes), check_dropout(dropout)
        with on_meta():
            # Pooling before the ReLU is the same function on a quarter of the numbers.
            self.features = nn.Sequential(
                nn.Conv2d(in_channels, 32, 3), nn.ReLU(),
                nn.Conv2d(32, 32, 3), nn.MaxPool2d(2), nn.ReLU(),
                nn.Conv2d(32, 64, 3), nn.ReLU(),
                nn.Conv2d(64, 64, 3), nn.MaxPool2d(2), nn.ReLU(),
            )  # fmt: skip
            self.hidden = nn.Sequential(
                nn.Linear(1024, 200), nn.ReLU(), nn.Dropout(dropout),
                nn.Linear(200, 200), nn.ReLU(),
            )  # fmt: skip
            self.last = nn.Linear(200, classes)
        materialise(self, generator=generator, init="he_in", channels_last=channels_last)
        if zero_last:
            zero(self.last)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes)."""
        check_input(x, channels=self.in_channels, size=_SIDE, name="SmallCNN")
        logits: Tensor = self.last(self.hidden(self.features(x).flatten(1)))
        return logits


class LightCNN(nn.Module):
    """A network cheap enough to train against attacks on one CPU core.

    conv 4 x 4 and conv 3 x 3, both of stride 2, `width` and 2 `width` channels, FC 64. The first
    convolution is written as a 2 x 2 one on 2 x 2 blocks of pixels, which is the same map: the
    gradient with respect to one-channel images is several times cheaper so.
    x: (N, in_channels, 28, 28).
    """

    layout_chosen: ClassVar[bool] = True  # by `channels_last`

    def __init__(
        self,
        *,
        in_channels: int = 1,
        classes: int = 10,
        width: int = 16,
        channels_last: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        """Draw the weights from `generator`."""
        super().__init__()
        self.in_channels = in_channels = whole("in_channels", in_channels)
        classes, width = whole("classes", classes), whole("width", width)
        with on_meta():
            self.features = nn.Sequential(
                nn.ZeroPad2d(1), nn.PixelUnshuffle(2),
                nn.Conv2d(4 * in_channels, width, 2), nn.ReLU(),
                nn.Conv2d(width, 2 * width, 3, stride=2, padding=1), nn.ReLU(),
            )  # fmt: skip
            self.head = nn.Sequential(
                nn.Linear(2 * width * 49, 64), nn.ReLU(), nn.Linear(64, classes)
            )
        materialise(self, generator=generator, channels_last=channels_last)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes)."""
        check_input(x, channels=self.in_channels, size=_SIDE, name="LightCNN")
        logits: Tensor = self.head(self.features(x).flatten(1))
        return logits


class BinaryCNN(nn.Module):
    """The network of Zhang 2019 for MNIST 1 against 3: one score per image, its sign the class.

    conv10-pool-conv20-dropout2d-pool (5 x 5, no padding), FC 320-50-1. x: (N, in_channels, 28, 28).
    """

    layout_chosen: ClassVar[bool] = True  # by `channels_last`

    def __init__(
        self,
        *,
        in_channels: int = 1,
        dropout: float = 0.5,
        channels_last: bool = True,
        generator: torch.Generator | None = None,
    ) -> None:
        """Draw the weights from `generator`."""
        super().__init__()
        self.in_channels = in_channels = whole("in_channels", in_channels)
        dropout = check_dropout(dropout)
        with on_meta():
            self.features = nn.Sequential(
                nn.Conv2d(in_channels, 10, 5), nn.MaxPool2d(2), nn.ReLU(),
                nn.Conv2d(10, 20, 5), nn.Dropout2d(dropout), nn.MaxPool2d(2), nn.ReLU(),
            )  # fmt: skip
            self.head = nn.Sequential(nn.Linear(320, 50), nn.ReLU(), nn.Linear(50, 1))
        materialise(self, generator=generator, channels_last=channels_last)

    def forward(self, x: Tensor) -> Tensor:
        """Scores (N,)."""
        check_input(x, channels=self.in_channels, size=_SIDE, name="BinaryCNN")
        scores: Tensor = self.head(self.features(x).flatten(1))[:, 0]
        return scores


class MLP(nn.Module):
    """Fully connected layers with ReLU between them; `hidden=()` is a linear model.

    x: (N, ...) with `math.prod(shape)` numbers per example.
    """

    def __init__(
        self,
        *,
        shape: Sequence[int] = (1, 28, 28),
        hidden: Sequence[int] = (256,),
        classes: int = 10,
        generator: torch.Generator | None = None,
    ) -> None:
        """Draw the weights from `generator`."""
        super().__init__()
        self.size = math.prod(check_sizes("shape", shape))
        sizes, classes = [self.size, *check_sizes("hidden", hidden)], whole("classes", classes)
        layers: list[nn.Module] = []
        with on_meta():
            for before, after in itertools.pairwise(sizes):
                layers += [nn.Linear(before, after), nn.ReLU()]
            self.layers = nn.Sequential(*layers, nn.Linear(sizes[-1], classes))
        materialise(self, generator=generator, channels_last=False)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes)."""
        if x[0:1].numel() not in (0, self.size):
            raise ValueError(f"MLP wants {self.size} numbers per example, got {tuple(x.shape)}")
        logits: Tensor = self.layers(x.reshape(len(x), self.size))
        return logits


class TanhCNN(nn.Module):
    """The smooth network of Koh & Liang 2017 for MNIST: seven weight layers, 2,616 weights.

    Five 3 x 3 convolutions without padding, 8 channels, strides 1, 2, 1, 2, 1, a 1 x 1 convolution
    to `classes` channels, each with tanh; their mean over positions, and a linear layer.
    x: (N, in_channels, 28, 28).
    """

    layout_chosen: ClassVar[bool] = True  # by `channels_last`

    def __init__(
        self,
        *,
        in_channels: int = 1,
        classes: int = 10,
        width: int = 8,
        generator: torch.Generator | None = None,
    ) -> None:
        """Draw the weights from `generator`."""
        super().__init__()
        self.in_channels = in_channels
        layers: list[nn.Module] = []
        with on_meta():
            for before, stride in zip([in_channels, *[width] * 4], (1, 2, 1, 2, 1), strict=True):
                layers += [nn.Conv2d(before, width, 3, stride=stride), nn.Tanh()]
            self.features = nn.Sequential(*layers, nn.Conv2d(width, classes, 1), nn.Tanh())
            self.last = nn.Linear(classes, classes)
        materialise(self, generator=generator, channels_last=False)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes)."""
        check_input(x, channels=self.in_channels, size=_SIDE, name="TanhCNN")
        logits: Tensor = self.last(self.features(x).mean((2, 3)))
        return logits
