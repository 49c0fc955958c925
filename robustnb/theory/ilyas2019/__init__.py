"""Ilyas et al. 2019: maximum likelihood of Gaussians against an adversary (section 4)."""

from __future__ import annotations

from robustnb._lazy import lazy

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "RobustFit": "robustnb.theory.ilyas2019.robust_likelihood",
        "adversarial_excess": "robustnb.theory.ilyas2019.perturbation",
        "attacked_loss": "robustnb.theory.ilyas2019.robust_likelihood",
        "gaussian_loss": "robustnb.theory.ilyas2019.perturbation",
        "optimal_perturbation": "robustnb.theory.ilyas2019.perturbation",
        "robust_fit": "robustnb.theory.ilyas2019.robust_likelihood",
        "robust_variances": "robustnb.theory.ilyas2019.robust_likelihood",
        "worst_cosine": "robustnb.theory.ilyas2019.robust_likelihood",
    },
)
