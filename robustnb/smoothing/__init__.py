"""Randomised smoothing: Cohen et al. 2019, CERTIFY and PREDICT, and what a certificate is worth."""

from __future__ import annotations

from robustnb._lazy import lazy

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "ABSTAIN": "robustnb.smoothing.certificate",
        "Certificate": "robustnb.smoothing.certificate",
        "Sampler": "robustnb.smoothing.sampling",
        "average_radius": "robustnb.smoothing.accuracy_curve",
        "certified_accuracy": "robustnb.smoothing.accuracy_curve",
        "certified_correct": "robustnb.smoothing.accuracy_curve",
        "certify": "robustnb.smoothing.certification",
        "certify_sequential": "robustnb.smoothing.sequential",
        "largest_radius": "robustnb.smoothing.certificate",
        "linf_to_radius": "robustnb.smoothing.accuracy_curve",
        "lower_bound": "robustnb.smoothing.certificate",
        "miss_probability": "robustnb.smoothing.failure_probability",
        "min_count": "robustnb.smoothing.certificate",
        "noise_seeds": "robustnb.smoothing.sampling",
        "predict": "robustnb.smoothing.certification",
        "predict_from_counts": "robustnb.smoothing.certification",
        "certified_radius": "robustnb.smoothing.certificate",
        "radius_to_linf": "robustnb.smoothing.accuracy_curve",
        "sequential_miss_probability": "robustnb.smoothing.failure_probability",
        "upper_bound": "robustnb.smoothing.certificate",
        "wrong_vote_probability": "robustnb.smoothing.failure_probability",
    },
)
