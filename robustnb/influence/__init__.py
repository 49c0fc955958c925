"""Influence functions (Koh & Liang 2017): what a training point does to parameters and losses."""

from __future__ import annotations

from robustnb._lazy import lazy

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "CG": "robustnb.influence.solvers",
        "Cholesky": "robustnb.influence.solvers",
        "EmpiricalRisk": "robustnb.influence.risk",
        "LeaveOneOut": "robustnb.influence.retraining",
        "LiSSA": "robustnb.influence.stochastic",
        "LinearClassifier": "robustnb.influence.linear",
        "LinearRisk": "robustnb.influence.linear",
        "ModelRisk": "robustnb.influence.autodiff",
        "NegativeCurvatureError": "robustnb.influence.errors",
        "NotConvergedError": "robustnb.influence.errors",
        "PoisonedImages": "robustnb.influence.training_set_attack",
        "Solution": "robustnb.influence.solution",
        "Solver": "robustnb.influence.solution",
        "cross_entropy": "robustnb.attacks.losses",
        "adam_steps": "robustnb.influence.paired_training",
        "attack_training_set": "robustnb.influence.training_set_attack",
        "correct_labels": "robustnb.influence.label_cleaning",
        "corrected_influence": "robustnb.influence.scores",
        "empirical_risk": "robustnb.influence.factory",
        "extreme_eigenvalues": "robustnb.influence.spectrum",
        "fit_risk": "robustnb.influence.refit",
        "hinge": "robustnb.influence.losses",
        "influence_of": "robustnb.influence.scores",
        "inverse_hvp": "robustnb.influence.scores",
        "losses_at": "robustnb.influence.retraining",
        "leave_one_out": "robustnb.influence.retraining",
        "pert_loss": "robustnb.influence.scores",
        "rbf_features": "robustnb.influence.kernel",
        "refit_without": "robustnb.influence.refit",
        "self_influence": "robustnb.influence.scores",
        "smooth_hinge": "robustnb.influence.losses",
        "up_loss": "robustnb.influence.scores",
        "up_params": "robustnb.influence.scores",
    },
)
