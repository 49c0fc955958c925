"""Mistakes of building on another network's features: statistics, caches, and what a mean is of."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from robustnb import identity
from robustnb.gallery.fixtures import digits, seeded
from robustnb.gallery.pitfall import Pitfall
from robustnb.models.layers import materialise, on_meta
from robustnb.models.modes import eval_mode
from robustnb.transfer_learning.heads import linear_head

FEATURES = 16


def _extractor(seed: int) -> nn.Module:
    """A small network with batch norm, whose statistics fit the digits."""
    with on_meta():
        net = nn.Sequential(
            nn.Conv2d(1, FEATURES, 5, 4), nn.BatchNorm2d(FEATURES, momentum=None), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        )  # fmt: skip
    materialise(net, generator=seeded(seed), channels_last=False)
    net.train()(digits().x)
    return net.eval()


@torch.no_grad()
def _features(extractor: nn.Module, x: Tensor) -> Tensor:
    with eval_mode(extractor):
        found: Tensor = extractor(x)
    return found


def _moved(found: Tensor, true: Tensor) -> float:
    return float((found - true).norm() / true.norm())


def _train(net: nn.Module, x: Tensor, y: Tensor) -> None:
    """One step of training on every hundred images."""
    weights = [weight for weight in net.parameters() if weight.requires_grad]
    descent = torch.optim.SGD(weights, 0.1)
    for images, labels in zip(torch.split(x, 100), torch.split(y, 100), strict=True):
        descent.zero_grad()
        nn.functional.cross_entropy(net(images), labels).backward()  # type: ignore[no-untyped-call]
        descent.step()


def moving_statistics_wrong(
    extractor: nn.Module, head: nn.Module, x: Tensor, y: Tensor
) -> None:  # fmt: skip
    """Train a head on a frozen extractor."""
    extractor.requires_grad_(False)
    net = nn.Sequential(extractor, head)
    net.train()
    _train(net, x, y)


def moving_statistics_right(
    extractor: nn.Module, head: nn.Module, x: Tensor, y: Tensor
) -> None:  # fmt: skip
    """Train a head on a frozen extractor."""
    extractor.requires_grad_(False)
    net = nn.Sequential(extractor, head)
    net.train()
    extractor.eval()
    _train(net, x, y)


def _moving_statistics_error(form: Callable[..., None]) -> float:
    """How far the features of digits move, relative, while a head is trained on darker ones."""
    _, x, y = digits()
    extractor, head = _extractor(0), linear_head(FEATURES, 10, generator=seeded(1))
    before = _features(extractor, x)
    form(extractor, head, 0.5 * x, y)
    return _moved(_features(extractor, x), before)


def stale_features_wrong(
    cache: dict[str, Tensor], extractor: nn.Module, x: Tensor
) -> Tensor:  # fmt: skip
    """The features of the images, from the cache if they are there."""
    if "feats" not in cache:
        cache["feats"] = _features(extractor, x)
    return cache["feats"]


def stale_features_right(
    cache: dict[str, Tensor], extractor: nn.Module, x: Tensor
) -> Tensor:  # fmt: skip
    """The features of the images, from the cache if they are there."""
    key = f"feats of {identity.weights(extractor)}"
    if key not in cache:
        cache[key] = _features(extractor, x)
    return cache[key]


def _stale_features_error(form: Callable[..., Tensor]) -> float:
    """The relative error of a second extractor's features, asked for after those of a first."""
    x, cache = digits().x, dict[str, Tensor]()
    form(cache, _extractor(0), x)
    second = _extractor(1)
    return _moved(form(cache, second, x), _features(second, x))


def feature_mean_wrong(z: Tensor, z_0: Tensor) -> Tensor:
    """The mean over images of the l1 distance of their features."""
    return nn.functional.l1_loss(z, z_0)


def feature_mean_right(z: Tensor, z_0: Tensor) -> Tensor:
    """The mean over images of the l1 distance of their features."""
    return (z - z_0).abs().sum(1).mean()


def _feature_mean_error(form: Callable[..., Tensor]) -> float:
    """The relative error of the distance of two extractors' features."""
    x = digits().x
    z, z_0 = (_features(_extractor(seed), x) for seed in (0, 1))
    true = sum(float((a - b).abs().sum()) for a, b in zip(z, z_0, strict=True)) / len(x)
    return abs(float(form(z, z_0)) / true - 1)


PITFALLS = (
    Pitfall("moving-statistics", moving_statistics_wrong, moving_statistics_right,
            _moving_statistics_error, shown="share"),
    Pitfall("stale-features", stale_features_wrong, stale_features_right, _stale_features_error,
            shown="share"),
    Pitfall("feature-mean", feature_mean_wrong, feature_mean_right, _feature_mean_error,
            limit=1e-5, shown="share"),
)  # fmt: skip
