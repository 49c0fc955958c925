"""Randomised smoothing: Cohen et al. 2019, CERTIFY and PREDICT, and what a certificate is worth."""

from __future__ import annotations

from robustnb._lazy import lazy

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "ABSTAIN": "robustnb.smoothing.certificate",
        "Certificate": "robustnb.smoothing.certificate",
        "Sampler": "robustnb.smoothing.counting",
        "average_radius": "robustnb.smoothing.curve",
        "certified_accuracy": "robustnb.smoothing.curve",
        "certified_correct": "robustnb.smoothing.curve",
        "certify": "robustnb.smoothing.procedure",
        "certify_sequential": "robustnb.smoothing.sequential",
        "largest_radius": "robustnb.smoothing.certificate",
        "linf_to_radius": "robustnb.smoothing.curve",
        "lower_bound": "robustnb.smoothing.certificate",
        "miss_probability": "robustnb.smoothing.exact",
        "needed_hits": "robustnb.smoothing.certificate",
        "noise_seeds": "robustnb.smoothing.counting",
        "predict": "robustnb.smoothing.procedure",
        "predict_from_counts": "robustnb.smoothing.procedure",
        "radius_of_bounds": "robustnb.smoothing.certificate",
        "radius_to_linf": "robustnb.smoothing.curve",
        "sequential_miss_probability": "robustnb.smoothing.exact",
        "upper_bound": "robustnb.smoothing.certificate",
        "wrong_vote_probability": "robustnb.smoothing.exact",
    },
)
