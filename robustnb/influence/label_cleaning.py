"""Finding mislabelled training points: inspect a share in some order, correct, retrain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from robustnb.influence.checks import check_index, check_test
from robustnb.influence.linear import LinearRisk
from robustnb.influence.refit import fit_risk
from robustnb.scalars import whole


@dataclass(frozen=True)
class Cleaning:
    """For each number of inspected points: flips found (s,), and test outcomes (s, m)."""

    checked: tuple[int, ...]
    found: Tensor
    correct: Tensor


def correct_labels(
    risk: LinearRisk,
    y_true: Tensor,
    x_test: Tensor,
    y_test: Tensor,
    *,
    order: Tensor,
    checked: Sequence[int],
    tol: float = 1e-8,
) -> Cleaning:
    """Inspect the first points of `order` (n,), set their labels right, and retrain.

    The risk holds the labels as they are, y_true (n,) those that inspection finds. The order stays
    as it is when labels are corrected, as in the paper. Labels are -1 and +1, or classes.
    """
    check_test(risk, x_test, y_test)
    check_test(risk, risk.x, y_true)
    order = check_index(order, risk.n, device=risk.y.device)
    checked = [whole("a number of inspected points", count, least=0) for count in checked]
    if not checked or max(checked) > len(order):
        raise ValueError(
            f"checked must be numbers of points up to the {len(order)} of order, got {checked}"
        )
    flipped = risk.y != y_true
    found, correct = [], []
    with torch.no_grad():
        features = risk.featurize(x_test)
    for count in checked:
        seen = order[:count]
        y = risk.y.clone()
        y[seen] = y_true[seen]
        cleaned = fit_risk(risk.relabelled(y), tol=tol)
        assert isinstance(cleaned, LinearRisk)
        z = cleaned.outputs_of(features)
        right = z * y_test > 0 if z.ndim == 1 else z.argmax(1) == y_test
        found.append(int(flipped[seen].sum()))
        correct.append(right)
    return Cleaning(tuple(checked), torch.tensor(found), torch.stack(correct))
