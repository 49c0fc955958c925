"""Tsipras et al. 2019: a law on which accuracy and robustness part, and its linear learners."""

from __future__ import annotations

from robustnb._lazy import lazy

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "DataModel": "robustnb.theory.tsipras2019.data_model",
        "accuracy_bound": "robustnb.theory.tsipras2019.theorem_2_1",
        "adversarial_minimiser": "robustnb.theory.tsipras2019.theorem_2_2",
        "adversarial_objective": "robustnb.theory.tsipras2019.theorem_2_2",
        "expected_hinge": "robustnb.theory.tsipras2019.theorem_2_2",
        "largest_shifted_accuracy": "robustnb.theory.tsipras2019.theorem_2_1",
        "natural_minimiser": "robustnb.theory.tsipras2019.theorem_2_2",
        "natural_objective": "robustnb.theory.tsipras2019.theorem_2_2",
        "shifted_accuracy": "robustnb.theory.tsipras2019.theorem_2_1",
        "standard_accuracy": "robustnb.theory.tsipras2019.theorem_2_1",
        "unit_norm_decay": "robustnb.theory.tsipras2019.theorem_2_2",
    },
)
