"""torchvision's residual and dense networks with a stem for small images."""

from __future__ import annotations

import torch
from torch import nn

from robustnb.errors import unknown
from robustnb.models.layers import materialise, on_meta
from robustnb.scalars import whole


def small_image_net(
    name: str,
    *,
    classes: int = 10,
    in_channels: int = 3,
    generator: torch.Generator | None = None,
) -> nn.Module:
    """torchvision's network of that name with a 3 x 3 stem of stride 1 and no pooling after it.

    That is how CIFAR is usually given to networks made for ImageNet (He 2016, section 4.2, and
    after it others): x (N, in_channels, H, W) gives logits (N, classes), with 32 x 32 pixels cut
    to 4 x 4 before the last mean. Weights are torchvision's forms drawn from `generator` as torch
    draws a layer's. UsageError unless it is a ResNet or a DenseNet.
    """
    from torchvision.models import DenseNet, ResNet, get_model, list_models

    known = [n for n in list_models() if n.startswith(("resnet", "densenet"))]
    if name not in known:
        raise unknown("ResNet or DenseNet of torchvision", name, known)
    classes, in_channels = whole("classes", classes), whole("in_channels", in_channels)
    with on_meta():
        net: nn.Module = get_model(name, num_classes=classes)
        if isinstance(net, ResNet):
            net.conv1, net.maxpool = _stem(net.conv1, in_channels), nn.Identity()
        elif isinstance(net, DenseNet):
            first = net.features.get_submodule("conv0")
            net.features.conv0, net.features.pool0 = _stem(first, in_channels), nn.Identity()
    materialise(net, generator=generator, channels_last=False)
    return net


def _stem(first: nn.Module, in_channels: int) -> nn.Conv2d:
    """A 3 x 3 convolution with as many filters as a network's own first one."""
    assert isinstance(first, nn.Conv2d)
    return nn.Conv2d(in_channels, first.out_channels, 3, 1, 1, bias=False)
