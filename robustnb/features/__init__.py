"""What learners look at: gradients in the pixels, paths, linear weights, and data sets of it."""

from __future__ import annotations

from robustnb._lazy import lazy

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "ConstructedDataset": "robustnb.features.constructed",
        "LinearLearner": "robustnb.features.linear",
        "class_probability_path": "robustnb.features.interpolation",
        "clip_at_sigmas": "robustnb.features.gradients",
        "cosine": "robustnb.features.gradients",
        "fit_linear": "robustnb.features.linear",
        "gini": "robustnb.features.gradients",
        "has_shape": "robustnb.features.gradients",
        "input_gradients": "robustnb.features.gradients",
        "interpolate": "robustnb.features.interpolation",
        "is_monotone": "robustnb.features.interpolation",
        "largest_jump": "robustnb.features.interpolation",
        "match_representation": "robustnb.features.representation",
        "penultimate": "robustnb.features.representation",
        "relabelled_dataset": "robustnb.features.constructed",
        "representation_dataset": "robustnb.features.constructed",
        "total_variation": "robustnb.features.gradients",
        "worst_inputs": "robustnb.features.linear",
    },
)
