"""EfficientNet-Lite0 and -Lite1 (Tan & Le 2019, as published for phones), as TensorFlow pads them.

They have neither squeeze-and-excitation nor swish: inverted residuals with ReLU6 are all there is.
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import pairwise
from typing import ClassVar, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from robustnb.data.weight_files import weights
from robustnb.models.layers import Normalize

# repeats, kernel, stride of the first, expansion, channels out
_STAGES = (
    (1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112), (4, 5, 2, 6, 192), (1, 3, 1, 6, 320),
)  # fmt: skip
_STEM, _HEAD, _EPS = 32, 1280, 1e-3


_Net = TypeVar("_Net", bound="EfficientNetLite0")


class SamePadConv2d(nn.Conv2d):
    """A convolution that pads to ceil(size / stride), more below and on the right, like TensorFlow.

    x: (N, C, H, W).
    """

    def forward(self, x: Tensor) -> Tensor:
        """Pad and convolve."""
        sides = []
        for size, kernel, stride in zip(
            reversed(x.shape[-2:]), reversed(self.kernel_size), reversed(self.stride), strict=True
        ):
            missing = max(0, (-(-size // stride) - 1) * stride + kernel - size)
            sides += [missing // 2, missing - missing // 2]
        return super().forward(pad(x, sides))


def _unit(
    inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1
) -> list[nn.Module]:
    conv = SamePadConv2d(inputs, outputs, kernel, stride, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(outputs, eps=_EPS, momentum=0.01)]


class InvertedResidual(nn.Module):
    """Widen, convolve each channel by itself, narrow; added to the input where shapes allow it."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        """Channels in and out, kernel and stride of the middle, and how many times it widens."""
        super().__init__()
        wide = inputs * expansion
        layers = [*_unit(inputs, wide, 1), nn.ReLU6()] if expansion != 1 else []
        layers += [*_unit(wide, wide, kernel, stride, groups=wide), nn.ReLU6()]
        self.residual = nn.Sequential(*layers, *_unit(wide, outputs, 1))
        self.skips = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """The residual, with the input added if it skips."""
        out: Tensor = self.residual(x)
        return x + out if self.skips else out


class EfficientNetLite0(nn.Module):
    """4,652,008 parameters; x (N, 3, H, W) in [0, 1] gives logits (N, 1000).

    Made for 224 x 224; other sizes work. `features(x)` are the 1,280 numbers before the last layer.
    """

    repeats: ClassVar[tuple[int, ...]] = tuple(stage[0] for stage in _STAGES)

    def __init__(self, classes: int = 1000) -> None:
        """With torch's own initial weights; `efficientnet_lite0(pretrained=True)` has trained ones.

        classes: outputs of the last layer.
        """
        super().__init__()
        rows = [
            (kernel, stride if first else 1, expansion, out)
            for (_, kernel, stride, expansion, out), repeats in zip(
                _STAGES, self.repeats, strict=True
            )
            for first in (True, *[False] * (repeats - 1))
        ]
        channels = [_STEM, *(row[-1] for row in rows)]
        blocks = [
            InvertedResidual(inputs, outputs, kernel, stride, expansion)
            for (inputs, outputs), (kernel, stride, expansion, _) in zip(
                pairwise(channels), rows, strict=True
            )
        ]
        self.body = nn.Sequential(
            Normalize([127 / 255] * 3, [128 / 255] * 3),
            *_unit(3, _STEM, 3, 2), nn.ReLU6(),
            *blocks,
            *_unit(channels[-1], _HEAD, 1), nn.ReLU6(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        )  # fmt: skip
        self.head = nn.Linear(_HEAD, classes)

    def features(self, x: Tensor) -> Tensor:
        """The features (N, 1280) before the last layer."""
        found: Tensor = self.body(x)
        return found

    def forward(self, x: Tensor) -> Tensor:
        """The logits."""
        logits: Tensor = self.head(self.features(x))
        return logits


class EfficientNetLite1(EfficientNetLite0):
    """5,416,680 parameters: Lite0 with more blocks in its inner stages. Made for 240 x 240."""

    repeats: ClassVar[tuple[int, ...]] = (1, 3, 3, 4, 4, 5, 1)


def efficientnet_lite0(*, pretrained: bool = False) -> EfficientNetLite0:
    """The network in evaluation mode, with weights trained on ImageNet if `pretrained`.

    These come from `robustnb.data.weights`, which raises DataError where they can't be had.
    """
    return _with_weights(EfficientNetLite0(), "efficientnet_lite0", pretrained)


def efficientnet_lite1(*, pretrained: bool = False) -> EfficientNetLite1:
    """The network in evaluation mode, as `efficientnet_lite0`."""
    return _with_weights(EfficientNetLite1(), "efficientnet_lite1", pretrained)


def _with_weights(net: _Net, name: str, pretrained: bool) -> _Net:
    if pretrained:
        file = weights(name)
        given = torch.load(file, map_location="cpu", weights_only=True)
        own = net.state_dict()
        names = [name for name in own if not name.startswith("body.0.")]
        # the published file lists the same layers in the same order, under other names
        net.load_state_dict(
            OrderedDict(zip(names, given.values(), strict=True))
            | {name: own[name] for name in own if name.startswith("body.0.")}
        )
    return net.eval()
