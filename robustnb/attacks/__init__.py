"""Attacks on classifiers, and the engine that measures robust accuracy with them."""

from __future__ import annotations

from robustnb._lazy import lazy

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "Attack": "robustnb.attacks.protocol",
        "Evaluation": "robustnb.attacks.evaluation",
        "Judge": "robustnb.attacks.judge",
        "Transfer": "robustnb.attacks.crossing",
        "ascend": "robustnb.attacks.ascent",
        "craft": "robustnb.attacks.crossing",
        "cross_entropy": "robustnb.attacks.losses",
        "distance": "robustnb.attacks.geometry",
        "evaluate": "robustnb.attacks.evaluation",
        "fgsm": "robustnb.attacks.ascent",
        "fooled": "robustnb.attacks.losses",
        "half_cosine": "robustnb.attacks.protocol",
        "kl": "robustnb.attacks.losses",
        "margin": "robustnb.attacks.losses",
        "paper_attack": "robustnb.attacks.protocol",
        "pgd": "robustnb.attacks.ascent",
        "project": "robustnb.attacks.geometry",
        "self_audit": "robustnb.attacks.audit",
        "strongest_available": "robustnb.attacks.protocol",
        "transfer": "robustnb.attacks.crossing",
    },
)
