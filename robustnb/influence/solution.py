"""What solving with a damped curvature matrix returns, and what a solver is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import torch
from torch import Tensor

if TYPE_CHECKING:
    from robustnb.influence.risk import EmpiricalRisk

Curvature = Literal["hessian", "gauss_newton"]


@dataclass(frozen=True)
class Solution:
    """x (p, k) with (H + damping I) x close to b (p, k).

    `residuals` (k,) are |(H + damping I) x - b| / |b|, measured with the whole training set.
    """

    x: Tensor
    residuals: Tensor
    iterations: int
    solver: str

    @property
    def residual(self) -> float:
        """The largest relative residual of the columns."""
        return float(self.residuals.max()) if len(self.residuals) else 0.0


class Solver(Protocol):
    """Solves (H + damping I) x = b; the same damping means the same matrix in every solver."""

    def solve(
        self, risk: EmpiricalRisk, b: Tensor, *, damping: float = 0.0, curvature: Curvature
    ) -> Solution:
        """The solution for right-hand sides b (p, k)."""
        ...


def check_right_side(b: Tensor) -> None:
    """ValueError for gradients that are not finite, which no solver may take for solved."""
    if not bool(torch.isfinite(b).all()):
        raise ValueError(
            "a gradient holds NaN or infinite values: the loss is not finite or not smooth at an "
            "example; check the examples, the loss and the parameters"
        )


def relative_residuals(
    risk: EmpiricalRisk, x: Tensor, b: Tensor, *, damping: float, curvature: Curvature
) -> Tensor:
    """|(H + damping I) x - b| / |b| of each column, (k,); 0 where both b and x are zero."""
    error = (risk.product(x, curvature=curvature) + damping * x - b).norm(dim=0)
    scale = b.norm(dim=0)
    found: Tensor = error / scale.where(scale > 0, error.where(error > 0, scale + 1))
    return found
