"""Carmon et al. 2019: self-training in the Gaussian model."""

from __future__ import annotations

from robustnb._lazy import lazy

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "Regime": "robustnb.theory.carmon2019.gaussian_self_training",
        "SelfTrained": "robustnb.theory.carmon2019.gaussian_self_training",
        "agreement_miss": "robustnb.theory.carmon2019.gaussian_self_training",
        "dual_norm": "robustnb.theory.carmon2019.gaussian_self_training",
        "linear_error": "robustnb.theory.carmon2019.gaussian_self_training",
        "margin_miss": "robustnb.theory.carmon2019.gaussian_self_training",
        "needed_strength": "robustnb.theory.carmon2019.gaussian_self_training",
        "pseudo_label_moments": "robustnb.theory.carmon2019.gaussian_self_training",
        "self_trained_law": "robustnb.theory.carmon2019.gaussian_self_training",
        "simulate_self_training": "robustnb.theory.carmon2019.gaussian_self_training",
        "streamed_averaging": "robustnb.theory.carmon2019.gaussian_self_training",
        "streamed_self_training": "robustnb.theory.carmon2019.gaussian_self_training",
        "theorem2_factor": "robustnb.theory.carmon2019.gaussian_self_training",
        "FixedLaw": "robustnb.theory.schmidt2018.gaussian",
        "fixed_law": "robustnb.theory.schmidt2018.gaussian",
        "loglog_slope": "robustnb.theory.schmidt2018.gaussian",
        "normal_tail": "robustnb.theory.schmidt2018.gaussian",
        "prior_law": "robustnb.theory.schmidt2018.gaussian",
        "samples_needed": "robustnb.theory.schmidt2018.gaussian",
        "simulate_averaging": "robustnb.theory.schmidt2018.gaussian",
    },
)
