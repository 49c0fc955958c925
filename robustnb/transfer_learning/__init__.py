"""Robust transfer learning (Shafahi 2020): frozen features, new heads, distilled features."""

from __future__ import annotations

from robustnb._lazy import lazy

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "CachedFeatures": "robustnb.transfer_learning.cached",
        "PartlyTrained": "robustnb.transfer_learning.layer_study",
        "TransferNet": "robustnb.transfer_learning.transfer_net",
        "blocks": "robustnb.transfer_learning.layer_study",
        "cache_features": "robustnb.transfer_learning.cached",
        "feature_distance": "robustnb.transfer_learning.distillation",
        "feature_shift": "robustnb.transfer_learning.margins",
        "head_norms": "robustnb.transfer_learning.margins",
        "largest_shift": "robustnb.transfer_learning.margins",
        "linear_head": "robustnb.transfer_learning.heads",
        "margin_bound": "robustnb.transfer_learning.margins",
        "mlp_head": "robustnb.transfer_learning.heads",
        "reinitialise": "robustnb.transfer_learning.layer_study",
        "split": "robustnb.transfer_learning.transfer_net",
        "without_forgetting": "robustnb.transfer_learning.distillation",
        "without_forgetting_loss": "robustnb.transfer_learning.distillation",
    },
)
