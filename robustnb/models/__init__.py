"""The networks of the papers and of the small profiles, and their train and evaluation modes."""

from __future__ import annotations

from robustnb._lazy import lazy

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "BinaryCNN": "robustnb.models.convnets",
        "DenseNet": "robustnb.models.densenet",
        "EfficientNetLite0": "robustnb.models.efficientnet",
        "LightCNN": "robustnb.models.convnets",
        "MLP": "robustnb.models.convnets",
        "Normalize": "robustnb.models.layers",
        "PlainCNN": "robustnb.models.plain_convnet",
        "ResNet": "robustnb.models.resnets",
        "SmallCNN": "robustnb.models.convnets",
        "NearestNeighbour": "robustnb.models.nearest_neighbour",
        "SoftNearestNeighbour": "robustnb.models.nearest_neighbour",
        "TanhCNN": "robustnb.models.convnets",
        "ThresholdFilter": "robustnb.models.threshold_filter",
        "WideResNet": "robustnb.models.resnets",
        "build": "robustnb.models.catalogue",
        "build_filtered": "robustnb.models.threshold_filter",
        "efficientnet_lite0": "robustnb.models.efficientnet",
        "efficientnet_lite1": "robustnb.models.efficientnet",
        "eval_mode": "robustnb.models.modes",
        "parameter_count": "robustnb.models.layers",
        "resnet18": "robustnb.models.resnets",
        "small_image_net": "robustnb.models.torchvision_nets",
        "training": "robustnb.models.modes",
        "use_layout": "robustnb.models.layout",
        "wide_resnet": "robustnb.models.resnets",
    },
)
