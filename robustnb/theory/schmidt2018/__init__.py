"""Schmidt et al. 2018: the Gaussian and the Bernoulli model, bounds, exact sums and laws."""

from __future__ import annotations

from robustnb._lazy import lazy

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "FixedLaw": "robustnb.theory.schmidt2018.gaussian",
        "PriorLaw": "robustnb.theory.schmidt2018.gaussian",
        "admissible_eps": "robustnb.theory.schmidt2018.gaussian",
        "minimax_bound": "robustnb.theory.schmidt2018.gaussian",
        "corollary_samples": "robustnb.theory.schmidt2018.gaussian",
        "cosine_bound": "robustnb.theory.schmidt2018.gaussian",
        "cosine_miss": "robustnb.theory.schmidt2018.gaussian",
        "fixed_law": "robustnb.theory.schmidt2018.gaussian",
        "samples_lower_bound": "robustnb.theory.schmidt2018.gaussian",
        "limit_samples": "robustnb.theory.schmidt2018.gaussian",
        "loglog_slope": "robustnb.theory.schmidt2018.gaussian",
        "normal_tail": "robustnb.theory.schmidt2018.gaussian",
        "prior_law": "robustnb.theory.schmidt2018.gaussian",
        "robust_error": "robustnb.theory.schmidt2018.gaussian",
        "samples_needed": "robustnb.theory.schmidt2018.gaussian",
        "simulate_averaging": "robustnb.theory.schmidt2018.gaussian",
        "averaging_label": "robustnb.theory.schmidt2018.posterior",
        "nearest_label": "robustnb.theory.schmidt2018.posterior",
        "posterior_attack": "robustnb.theory.schmidt2018.posterior",
        "Moments": "robustnb.theory.schmidt2018.bernoulli",
        "agreement_tail": "robustnb.theory.schmidt2018.bernoulli",
        "averaging_draws": "robustnb.theory.schmidt2018.bernoulli",
        "averaging_moments": "robustnb.theory.schmidt2018.bernoulli",
        "draw_model": "robustnb.theory.schmidt2018.bernoulli",
        "enumerated_errors": "robustnb.theory.schmidt2018.bernoulli",
        "linear_bound_samples": "robustnb.theory.schmidt2018.bernoulli",
        "linear_samples": "robustnb.theory.schmidt2018.bernoulli",
        "log_odds": "robustnb.theory.schmidt2018.bernoulli",
        "log_odds_bound": "robustnb.theory.schmidt2018.bernoulli",
        "log_odds_miss": "robustnb.theory.schmidt2018.bernoulli",
        "mixture_tail": "robustnb.theory.schmidt2018.bernoulli",
        "single_sample_bounds": "robustnb.theory.schmidt2018.bernoulli",
        "single_sample_error": "robustnb.theory.schmidt2018.bernoulli",
        "sufficient_tau": "robustnb.theory.schmidt2018.bernoulli",
        "threshold": "robustnb.theory.schmidt2018.bernoulli",
    },
)
