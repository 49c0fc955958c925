"""Exact (Cholesky) and conjugate-gradient solutions of (H + damping I) x = b."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from robustnb.influence.errors import NegativeCurvatureError, NotConvergedError
from robustnb.influence.risk import EmpiricalRisk, Preconditioner, check_choice
from robustnb.influence.solution import (
    Curvature,
    Solution,
    check_right_side,
    relative_residuals,
)
from robustnb.progress import progress
from robustnb.scalars import finite, whole

_MOST_PARAMETERS = 20_000  # 3.2 GB of float64
_RAN_AWAY = 1e3  # relative residual; that of zero is 1


@dataclass(frozen=True)
class Cholesky:
    """The exact solution by the factor of the whole matrix: memory p^2, time n p^2 + p^3."""

    most_parameters: int = _MOST_PARAMETERS

    def __post_init__(self) -> None:
        """Refuse settings that mean nothing."""
        most = whole("most_parameters", self.most_parameters, least=0)
        object.__setattr__(self, "most_parameters", most)

    def factor(
        self, risk: EmpiricalRisk, *, damping: float = 0.0, curvature: Curvature = "hessian"
    ) -> Tensor:
        """The lower Cholesky factor (p, p) of H + damping I.

        Raises NegativeCurvatureError, with its least eigenvalue, if the matrix is not positive
        definite.
        """
        check_choice("curvature", curvature, ("hessian", "gauss_newton"))
        damping = finite("damping", damping, least=0)
        if risk.p > self.most_parameters:
            raise ValueError(
                f"the matrix of {risk.p} parameters has {risk.p**2:,} entries; use CG(), or raise "
                f"most_parameters (now {self.most_parameters})"
            )
        matrix = risk.matrix(curvature)
        matrix.diagonal().add_(damping)
        if not bool(torch.isfinite(matrix).all()):
            raise ValueError(
                "the matrix holds NaN or infinite entries: the loss has no finite second "
                "derivative at these outputs, or training diverged; check loss and parameters"
            )
        factor: Tensor
        factor, failed = torch.linalg.cholesky_ex(matrix)
        if int(failed):
            raise NegativeCurvatureError(float(torch.linalg.eigvalsh(matrix)[0]), damping)
        return factor

    def solve(
        self,
        risk: EmpiricalRisk,
        b: Tensor,
        *,
        damping: float = 0.0,
        curvature: Curvature = "hessian",
    ) -> Solution:
        """The solution for right-hand sides b (p, k)."""
        check_right_side(b)
        factor = self.factor(risk, damping=damping, curvature=curvature)
        x = torch.cholesky_solve(b, factor)
        error = (factor @ (factor.T @ x) - b).norm(dim=0)
        residuals = error / b.norm(dim=0).clamp(min=torch.finfo(b.dtype).tiny)
        return Solution(x, residuals, 1, "Cholesky")


@dataclass(frozen=True)
class CG:
    """Conjugate gradients for all right-hand sides at once: one product serves every column.

    tol: the relative residual at which a column is done. `precondition`: "auto" takes the risk's
    approximate inverse where building it pays, "never" takes none. Raises NegativeCurvatureError
    as soon as a direction shows it, and NotConvergedError after `max_iter` products.
    """

    tol: float = 1e-6
    max_iter: int = 1000
    precondition: Literal["auto", "never"] = "auto"

    def __post_init__(self) -> None:
        """Refuse settings that mean nothing."""
        object.__setattr__(self, "tol", finite("tol", self.tol, above=0))
        object.__setattr__(self, "max_iter", whole("max_iter", self.max_iter))
        check_choice("precondition", self.precondition, ("auto", "never"))

    def solve(
        self,
        risk: EmpiricalRisk,
        b: Tensor,
        *,
        damping: float = 0.0,
        curvature: Curvature = "hessian",
    ) -> Solution:
        """The solution for right-hand sides b (p, k); a column leaves the work when it is done."""
        check_choice("curvature", curvature, ("hessian", "gauss_newton"))
        damping = finite("damping", damping, least=0)
        check_right_side(b)
        inverse: Preconditioner | None = None
        if self.precondition == "auto":
            inverse = risk.preconditioner(damping, b.shape[1])
        run = _Run(risk, b, damping, curvature, inverse)
        with progress("conjugate gradients", total=self.max_iter) as bar:
            for _ in range(self.max_iter):
                if not run.drop_finished(self.tol):
                    break
                run.step()
                bar.advance(note=f"relative residual {run.worst:.1e}")
        residuals = relative_residuals(risk, run.x, b, damping=damping, curvature=curvature)
        solution = Solution(run.x, residuals, run.steps, "CG")
        # the recursion's residual drifts from the true one by rounding
        if run.drop_finished(self.tol) or solution.residual > 10 * self.tol + _rounding(b):
            advice = (
                f"after {run.steps} products. Raise max_iter (now {self.max_iter}), raise tol "
                f"(now {self.tol:g}), add damping, or use float64"
            )
            if not solution.residual < _RAN_AWAY:
                advice = (
                    f"zero has 1, and this is what {run.steps} products made of it: the matrix is "
                    "singular or nearly so. Add damping (or l2 to the risk)"
                )
            raise NotConvergedError("CG", solution.residual, advice)
        return solution


def _rounding(b: Tensor) -> float:
    return 1e3 * torch.finfo(b.dtype).eps


class _Run:
    """The state of CG on the columns not yet done."""

    def __init__(
        self,
        risk: EmpiricalRisk,
        b: Tensor,
        damping: float,
        curvature: Curvature,
        inverse: Preconditioner | None,
    ) -> None:
        self.risk, self.damping, self.curvature, self.inverse = risk, damping, curvature, inverse
        self.x = torch.zeros_like(b)
        self.open = torch.arange(b.shape[1], device=b.device)
        self.scale = b.norm(dim=0)
        self.r = b.clone()
        self.z = self._precondition(self.r)
        self.p = self.z.clone()
        self.rz = (self.r * self.z).sum(0)
        self.steps, self.worst = 0, 1.0

    def _precondition(self, r: Tensor) -> Tensor:
        return r if self.inverse is None else self.inverse(r)

    def drop_finished(self, tol: float) -> bool:
        """Forget columns within tol; whether any is left."""
        relative = self.r.norm(dim=0) / self.scale.clamp(min=torch.finfo(self.r.dtype).tiny)
        left = (relative > tol) & (self.scale > 0)
        self.worst = float(relative.max()) if len(relative) else 0.0
        if not bool(left.all()):
            self.open, self.scale, self.rz = self.open[left], self.scale[left], self.rz[left]
            self.r, self.z, self.p = self.r[:, left], self.z[:, left], self.p[:, left]
        return len(self.open) > 0

    def step(self) -> None:
        """One product for all open columns."""
        product = self.risk.product(self.p, curvature=self.curvature) + self.damping * self.p
        bent = (self.p * product).sum(0)
        least = bent / self.p.square().sum(0)
        if not bool((bent > 0).all()):
            raise NegativeCurvatureError(float(least.min()), self.damping)
        alpha = self.rz / bent
        self.x[:, self.open] += alpha * self.p
        self.r = self.r - alpha * product
        self.z = self._precondition(self.r)
        rz = (self.r * self.z).sum(0)
        self.p = self.z + (rz / self.rz) * self.p
        self.rz = rz
        self.steps += 1
