"""Features computed once, which know the extractor that they come from."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from robustnb import identity
from robustnb.attacks.validation import check_batch_size, check_images, check_place
from robustnb.identity_tree import changed, without
from robustnb.models.ask import ask_features
from robustnb.models.modes import eval_mode
from robustnb.provenance import digest


@dataclass(frozen=True)
class CachedFeatures:
    """Features (N, k) of images, and a digest of the extractor that gave them.

    `moving` are its settings that asking changed, such as a count of calls; they are not in it.
    """

    features: Tensor
    source: str
    moving: frozenset[str] = frozenset()

    def of(self, extractor: nn.Module) -> Tensor:
        """The features (N, k); ValueError unless `extractor` is as the one they come from."""
        if _source(extractor, self.moving) != self.source:
            raise ValueError(
                "these features come from an extractor with other weights or settings; compute "
                "them anew with cache_features(extractor, x), before the extractor is trained"
            )
        return self.features


@torch.no_grad()
def cache_features(extractor: nn.Module, x: Tensor, *, batch_size: int = 256) -> CachedFeatures:
    """The features of x (N, ...) in [0, 1], in evaluation mode, for heads trained by
    `fit(head, cached.of(extractor), y, inputs="features")`.

    Augmented images have other features: with augmentation train a `TransferNet`, which asks the
    extractor batch by batch.
    """
    check_images(x)
    check_place(extractor, x)
    batch_size = check_batch_size(batch_size)
    before = identity.settings(extractor, opaque=True)
    with eval_mode(extractor):
        rows = [ask_features(extractor, part) for part in torch.split(x, batch_size)]
    moving = frozenset(changed(before, identity.settings(extractor, opaque=True)))
    return CachedFeatures(torch.cat(rows), _source(extractor, moving), moving)


def _source(extractor: nn.Module, moving: frozenset[str]) -> str:
    """A digest of its code, settings and weights; its mode does not count."""
    settings = without(identity.settings(extractor, opaque=True), set(moving))
    return digest([settings, identity.weights(extractor)])
