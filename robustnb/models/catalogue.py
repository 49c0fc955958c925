"""Networks by name, for recipes and parameters."""

from __future__ import annotations

from typing import Any

from torch import nn

from robustnb.errors import unknown
from robustnb.models.convnets import MLP, BinaryCNN, LightCNN, SmallCNN, TanhCNN
from robustnb.models.densenet import DenseNet
from robustnb.models.layers import Builder
from robustnb.models.plain_convnet import PlainCNN
from robustnb.models.resnets import resnet18, wide_resnet

MODELS: dict[str, Builder] = {
    "binary_cnn": BinaryCNN,
    "densenet": DenseNet,
    "light_cnn": LightCNN,
    "mlp": MLP,
    "plain_cnn": PlainCNN,
    "resnet18": resnet18,
    "small_cnn": SmallCNN,
    "tanh_cnn": TanhCNN,
    "wide_resnet": wide_resnet,
}


def build(name: str, **settings: Any) -> nn.Module:
    """The network of that name, with its constructor's settings; UsageError for another name.

    >>> type(build("light_cnn", width=4)).__name__
    'LightCNN'
    """
    if name not in MODELS:
        raise unknown("model", name, MODELS)
    return MODELS[name](**settings)
