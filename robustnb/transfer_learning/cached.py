"""Features computed once, which know the extractor that they come from."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from robustnb import identity
from robustnb.attacks.validation import check_batch_size, check_images, check_place
from robustnb.models.modes import eval_mode


@dataclass(frozen=True)
class CachedFeatures:
    """Features (N, k) of images, and the digest of the weights of the extractor that gave them."""

    features: Tensor
    source: str

    def of(self, extractor: nn.Module) -> Tensor:
        """The features (N, k); ValueError unless `extractor` has the weights they come from."""
        if identity.weights(extractor) != self.source:
            raise ValueError(
                "these features come from an extractor with other weights; compute them anew with "
                "cache_features(extractor, x), before the extractor is trained"
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
    with eval_mode(extractor):
        rows = [extractor(part.clone()) for part in torch.split(x, batch_size)]
    return CachedFeatures(torch.cat(rows), identity.weights(extractor))
