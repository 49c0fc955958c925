"""Attacks on classifiers, and the engine that measures robust accuracy with them."""

from __future__ import annotations

from robustnb._lazy import lazy

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "Attack": "robustnb.attacks.protocol",
        "Closest": "robustnb.attacks.closest",
        "Ensemble": "robustnb.attacks.ensemble",
        "EnsembleEvaluation": "robustnb.attacks.ensemble",
        "Evaluation": "robustnb.attacks.evaluation",
        "ModelQueries": "robustnb.attacks.queries",
        "Outcome": "robustnb.attacks.outcome",
        "Transfer": "robustnb.attacks.crossing",
        "apgd": "robustnb.attacks.momentum",
        "ascend": "robustnb.attacks.ascent",
        "craft": "robustnb.attacks.crossing",
        "cross_entropy": "robustnb.attacks.losses",
        "distance": "robustnb.attacks.geometry",
        "dlr": "robustnb.attacks.ratio",
        "ensemble_evaluate": "robustnb.attacks.ensemble",
        "evaluate": "robustnb.attacks.evaluation",
        "fab": "robustnb.attacks.closest",
        "fgsm": "robustnb.attacks.ascent",
        "fooled": "robustnb.attacks.losses",
        "half_cosine": "robustnb.attacks.protocol",
        "kl": "robustnb.attacks.losses",
        "long_attack": "robustnb.attacks.protocol",
        "margin": "robustnb.attacks.losses",
        "paper_attack": "robustnb.attacks.protocol",
        "pgd": "robustnb.attacks.ascent",
        "project": "robustnb.attacks.geometry",
        "self_audit": "robustnb.attacks.audit",
        "square": "robustnb.attacks.blackbox",
        "strongest_available": "robustnb.attacks.ensemble",
        "targeted_dlr": "robustnb.attacks.ratio",
        "transfer": "robustnb.attacks.crossing",
    },
)
