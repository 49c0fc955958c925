"""Exact and vectorised companions of the papers' theory (numpy only).

What this room holds for Zhang et al. 2019: calibrated surrogate losses, finite instances on which
every risk of Theorem 3.1 is exact, the strip example, and the construction of Theorem 3.2.
"""

from __future__ import annotations

from robustnb._lazy import lazy

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "Loss": "robustnb.theory.surrogate",
        "LOSSES": "robustnb.theory.surrogate",
        "NATURAL_LOGISTIC": "robustnb.theory.surrogate",
        "conditional_risk": "robustnb.theory.surrogate",
        "minimal_risk": "robustnb.theory.surrogate",
        "wrong_sign_risk": "robustnb.theory.surrogate",
        "psi_tilde": "robustnb.theory.surrogate",
        "psi_numeric": "robustnb.theory.surrogate",
        "psi_inverse": "robustnb.theory.surrogate",
        "calibrated": "robustnb.theory.surrogate",
        "PiecewiseLinear": "robustnb.theory.piecewise",
        "StepLoss": "robustnb.theory.piecewise",
        "NONCONVEX": "robustnb.theory.piecewise",
        "DIPPING": "robustnb.theory.piecewise",
        "lower_hull": "robustnb.theory.piecewise",
        "EXACT_LOSSES": "robustnb.theory.exact",
        "complete_balls": "robustnb.theory.exact",
        "line_balls": "robustnb.theory.exact",
        "ExactInstance": "robustnb.theory.exact",
        "ExactLoss": "robustnb.theory.exact",
        "exact_bound": "robustnb.theory.exact",
        "exact_risks": "robustnb.theory.exact",
        "Bound": "robustnb.theory.tradeoff",
        "Instances": "robustnb.theory.tradeoff",
        "Risks": "robustnb.theory.tradeoff",
        "balls": "robustnb.theory.tradeoff",
        "path_graph": "robustnb.theory.tradeoff",
        "random_instance": "robustnb.theory.tradeoff",
        "regulariser": "robustnb.theory.tradeoff",
        "risks": "robustnb.theory.tradeoff",
        "surrogate_gap": "robustnb.theory.tradeoff",
        "upper_bound": "robustnb.theory.tradeoff",
        "zero_set_boundary_risk": "robustnb.theory.tradeoff",
        "minimise_slack": "robustnb.theory.search",
        "mixed_sizes": "robustnb.theory.search",
        "theorem_cases": "robustnb.theory.search",
        "theorem_slacks": "robustnb.theory.search",
        "StripRisks": "robustnb.theory.toy",
        "all_rules": "robustnb.theory.toy",
        "bayes_cells": "robustnb.theory.toy",
        "grid_instance": "robustnb.theory.toy",
        "pairing_holds": "robustnb.theory.toy",
        "positive_mass": "robustnb.theory.toy",
        "robust_error_counts": "robustnb.theory.toy",
        "strip_risks": "robustnb.theory.toy",
        "strip_table": "robustnb.theory.toy",
        "strips": "robustnb.theory.toy",
        "TwoPoint": "robustnb.theory.tightness",
        "two_point": "robustnb.theory.tightness",
        "evaluate_two_point": "robustnb.theory.tightness",
    },
)
