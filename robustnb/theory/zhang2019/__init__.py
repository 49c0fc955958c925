"""Zhang et al. 2019: calibrated surrogate losses, and instances on which Theorem 3.1 is exact.

Also the strip example of the paper and the construction of Theorem 3.2 (numpy and scipy).
"""

from __future__ import annotations

from robustnb._lazy import lazy

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "Loss": "robustnb.theory.zhang2019.calibration",
        "LOSSES": "robustnb.theory.zhang2019.calibration",
        "NATURAL_LOGISTIC": "robustnb.theory.zhang2019.calibration",
        "conditional_risk": "robustnb.theory.zhang2019.calibration",
        "minimal_risk": "robustnb.theory.zhang2019.calibration",
        "wrong_sign_risk": "robustnb.theory.zhang2019.calibration",
        "psi_tilde": "robustnb.theory.zhang2019.calibration",
        "psi_numeric": "robustnb.theory.zhang2019.calibration",
        "psi_inverse": "robustnb.theory.zhang2019.calibration",
        "calibrated": "robustnb.theory.zhang2019.calibration",
        "PiecewiseLinear": "robustnb.theory.zhang2019.piecewise_losses",
        "StepLoss": "robustnb.theory.zhang2019.piecewise_losses",
        "NONCONVEX": "robustnb.theory.zhang2019.piecewise_losses",
        "DIPPING": "robustnb.theory.zhang2019.piecewise_losses",
        "lower_hull": "robustnb.theory.zhang2019.piecewise_losses",
        "EXACT_LOSSES": "robustnb.theory.zhang2019.theorem_3_1_exact",
        "complete_balls": "robustnb.theory.zhang2019.theorem_3_1_exact",
        "line_balls": "robustnb.theory.zhang2019.theorem_3_1_exact",
        "ExactInstance": "robustnb.theory.zhang2019.theorem_3_1_exact",
        "ExactLoss": "robustnb.theory.zhang2019.theorem_3_1_exact",
        "exact_bound": "robustnb.theory.zhang2019.theorem_3_1_exact",
        "exact_risks": "robustnb.theory.zhang2019.theorem_3_1_exact",
        "Bound": "robustnb.theory.zhang2019.theorem_3_1",
        "Instances": "robustnb.theory.zhang2019.theorem_3_1",
        "Risks": "robustnb.theory.zhang2019.theorem_3_1",
        "balls": "robustnb.theory.zhang2019.theorem_3_1",
        "path_graph": "robustnb.theory.zhang2019.theorem_3_1",
        "random_instance": "robustnb.theory.zhang2019.theorem_3_1",
        "regulariser": "robustnb.theory.zhang2019.theorem_3_1",
        "risks": "robustnb.theory.zhang2019.theorem_3_1",
        "surrogate_gap": "robustnb.theory.zhang2019.theorem_3_1",
        "upper_bound": "robustnb.theory.zhang2019.theorem_3_1",
        "zero_set_boundary_risk": "robustnb.theory.zhang2019.theorem_3_1",
        "minimise_slack": "robustnb.theory.zhang2019.theorem_3_1_search",
        "mixed_sizes": "robustnb.theory.zhang2019.theorem_3_1_search",
        "theorem_cases": "robustnb.theory.zhang2019.theorem_3_1_search",
        "theorem_slacks": "robustnb.theory.zhang2019.theorem_3_1_search",
        "StripRisks": "robustnb.theory.zhang2019.strip_example",
        "all_rules": "robustnb.theory.zhang2019.strip_example",
        "bayes_cells": "robustnb.theory.zhang2019.strip_example",
        "grid_instance": "robustnb.theory.zhang2019.strip_example",
        "pairing_holds": "robustnb.theory.zhang2019.strip_example",
        "positive_mass": "robustnb.theory.zhang2019.strip_example",
        "robust_error_counts": "robustnb.theory.zhang2019.strip_example",
        "strip_risks": "robustnb.theory.zhang2019.strip_example",
        "strip_table": "robustnb.theory.zhang2019.strip_example",
        "strips": "robustnb.theory.zhang2019.strip_example",
        "TwoPoint": "robustnb.theory.zhang2019.theorem_3_2",
        "two_point": "robustnb.theory.zhang2019.theorem_3_2",
        "evaluate_two_point": "robustnb.theory.zhang2019.theorem_3_2",
    },
)
