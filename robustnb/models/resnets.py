"""The residual networks of the CIFAR experiments."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robustnb.models.layers import check_sizes, materialise, on_meta
from robustnb.scalars import whole

_WIDTHS = (64, 128, 256, 512)


class _BasicBlock(nn.Module):
    """Two 3 x 3 convolutions, each followed by batch normalisation (He 2016a)."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.shortcut = nn.Sequential()
        if stride != 1 or before != after:
            self.shortcut = nn.Sequential(
                nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after)
            )

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)), inplace=True)))
        return F.relu(out + self.shortcut(x), inplace=True)


class ResNet(nn.Module):
    """A residual network with a 3 x 3 stem, for images of 32 x 32. x: (N, in_channels, H, W)."""

    layout_chosen: ClassVar[bool] = True  # by `channels_last`

    def __init__(
        self,
        *,
        blocks: tuple[int, int, int, int],
        classes: int = 10,
        in_channels: int = 3,
        channels_last: bool = True,
        generator: torch.Generator | None = None,
    ) -> None:
        """Draw the weights from `generator`."""
        super().__init__()
        counts = check_sizes("blocks", blocks)
        if len(counts) != len(_WIDTHS):
            raise ValueError(f"blocks must list four numbers, one for each stage, got {blocks}")
        classes, in_channels = whole("classes", classes), whole("in_channels", in_channels)
        layers: list[nn.Module] = []
        before = _WIDTHS[0]
        with on_meta():
            self.stem = nn.Conv2d(in_channels, before, 3, 1, 1, bias=False)
            self.bn = nn.BatchNorm2d(before)
            for stage, (after, count) in enumerate(zip(_WIDTHS, counts, strict=True)):
                for index in range(count):
                    layers.append(_BasicBlock(before, after, 2 if stage > 0 and index == 0 else 1))
                    before = after
            self.blocks = nn.Sequential(*layers)
            self.last = nn.Linear(before, classes)
        materialise(self, generator=generator, channels_last=channels_last)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes)."""
        x = self.blocks(F.relu(self.bn(self.stem(x)), inplace=True))
        logits: Tensor = self.last(x.mean((2, 3)))
        return logits


class _WideBlock(nn.Module):
    """Normalisation and ReLU before each of two 3 x 3 convolutions (He 2016b)."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(before)
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.shortcut = None if before == after else nn.Conv2d(before, after, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        # inplace: the normalised tensor has no other reader
        inner = F.relu(self.bn1(x), inplace=True)
        out: Tensor = self.conv2(F.relu(self.bn2(self.conv1(inner)), inplace=True))
        return out + (x if self.shortcut is None else self.shortcut(inner))


class WideResNet(nn.Module):
    """Wide residual network (Zagoruyko & Komodakis 2016), as in Zhang 2019 but without the unused
    `sub_block1` of its code. x: (N, in_channels, H, W).
    """

    layout_chosen: ClassVar[bool] = True  # by `channels_last`

    def __init__(
        self,
        *,
        depth: int,
        widen: int,
        classes: int = 10,
        in_channels: int = 3,
        channels_last: bool = True,
        generator: torch.Generator | None = None,
    ) -> None:
        """Draw the weights from `generator`."""
        super().__init__()
        depth, widen = whole("depth", depth), whole("widen", widen)
        classes, in_channels = whole("classes", classes), whole("in_channels", in_channels)
        if depth < 10 or (depth - 4) % 6:
            raise ValueError(f"depth must be 6 n + 4 with n >= 1 (10, 16, 28, 34), got {depth}")
        layers: list[nn.Module] = []
        before = 16
        with on_meta():
            self.stem = nn.Conv2d(in_channels, before, 3, 1, 1, bias=False)
            for stage in range(3):
                for index in range((depth - 4) // 6):
                    after = 16 * widen * 2**stage
                    layers.append(_WideBlock(before, after, 2 if stage > 0 and index == 0 else 1))
                    before = after
            self.blocks = nn.Sequential(*layers)
            self.bn = nn.BatchNorm2d(before)
            self.last = nn.Linear(before, classes)
        materialise(self, generator=generator, init="he_out", channels_last=channels_last)
        nn.init.zeros_(self.last.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes)."""
        x = F.relu(self.bn(self.blocks(self.stem(x))), inplace=True)
        logits: Tensor = self.last(x.mean((2, 3)))
        return logits


def resnet18(
    *,
    classes: int = 10,
    in_channels: int = 3,
    channels_last: bool = True,
    generator: torch.Generator | None = None,
) -> ResNet:
    """ResNet-18 with the CIFAR stem: 11,173,962 weights for ten classes of colour images."""
    return ResNet(
        blocks=(2, 2, 2, 2), classes=classes, in_channels=in_channels,
        channels_last=channels_last, generator=generator,
    )  # fmt: skip


def wide_resnet(
    *,
    depth: int = 34,
    widen: int = 10,
    classes: int = 10,
    in_channels: int = 3,
    channels_last: bool = True,
    generator: torch.Generator | None = None,
) -> WideResNet:
    """WRN-34-10 unless told otherwise: 46,160,474 weights."""
    return WideResNet(
        depth=depth, widen=widen, classes=classes, in_channels=in_channels,
        channels_last=channels_last, generator=generator,
    )  # fmt: skip
