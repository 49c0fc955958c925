"""Predicted against really retrained changes of test losses when a training point leaves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from scipy import stats
from torch import Tensor

from robustnb.errors import warn
from robustnb.influence.checks import check_columns, check_index, check_test
from robustnb.influence.linear import LinearRisk
from robustnb.influence.refit import Refits, refit_without
from robustnb.influence.risk import EmpiricalRisk
from robustnb.influence.scores import influence_of, inverse_hvp
from robustnb.influence.solution import Curvature, Solver

if TYPE_CHECKING:
    from matplotlib.axes import Axes


_FARTHER = 100.0  # times the gradient of the refits
_FLAT = 1e-4  # a gradient below it is that of a minimum, up to rounding


@dataclass(frozen=True)
class LeaveOneOut:
    """Changes (m, k) of m test losses when each of k training points `index` leaves.

    predicted: -I_up,loss / n; actual: the loss after refitting without the point, less the loss
    before. `gradient_norms` (k,) say how exactly the refits were minimised.
    """

    index: Tensor
    predicted: Tensor
    actual: Tensor
    gradient_norms: Tensor

    def part(self, *, tests: slice | Tensor, points: slice | Tensor) -> LeaveOneOut:
        """The same comparison for some of the test points and of the removed points.

        A tensor holds places in the rows or in the columns.
        """
        return LeaveOneOut(
            self.index[points],
            self.predicted[tests][:, points],
            self.actual[tests][:, points],
            self.gradient_norms[points],
        )

    def pearson(self) -> Tensor:
        """The correlation over the k points, for each test point (m,)."""
        return _per_row(lambda p, a: stats.pearsonr(p, a).statistic, self.predicted, self.actual)

    def spearman(self) -> Tensor:
        """The rank correlation over the k points, for each test point (m,)."""
        return _per_row(lambda p, a: stats.spearmanr(p, a).statistic, self.predicted, self.actual)

    def slope(self) -> Tensor:
        """The least-squares slope of actual against predicted through the origin, (m,)."""
        return (self.predicted * self.actual).sum(1) / self.predicted.square().sum(1)

    def largest_error(self) -> Tensor:
        """The largest |predicted - actual|, (m,)."""
        return (self.predicted - self.actual).abs().amax(1)

    def plot(self, ax: Axes, *, row: int = 0, label: str | None = None, color: str = "C0") -> None:
        """Scatter actual against predicted for one test point, with the diagonal."""
        predicted, actual = self.predicted[row].tolist(), self.actual[row].tolist()
        ax.scatter(predicted, actual, s=14, color=color, label=label, zorder=3)
        ends = [min(predicted + actual), max(predicted + actual)]
        ax.plot(ends, ends, color="0.4", linewidth=1, zorder=2)
        ax.set(xlabel="predicted change of the test loss", ylabel="change after retraining")


def leave_one_out(
    risk: EmpiricalRisk,
    x_test: Tensor,
    y_test: Tensor,
    *,
    index: Tensor,
    solver: Solver | None = None,
    damping: float = 0.0,
    curvature: Curvature = "hessian",
    refits: Refits | None = None,
    tol: float = 1e-8,
    max_iter: int = 200,
) -> LeaveOneOut:
    """Remove each training point of `index` (k,), retrain, and compare with the influence.

    `refits` are those of `refit_without(risk, index)`, made here if not given; they serve any test
    points. tol and max_iter are of the refits. Warns where the risk is farther from a minimum than
    its refits: then they also undo what training left to do.
    """
    index = check_index(index, risk.n, device=risk.y.device)
    s = inverse_hvp(risk, x_test, y_test, solver=solver, damping=damping, curvature=curvature).x
    predicted = -influence_of(risk, s, index=index) / risk.n
    if refits is None:
        refits = refit_without(risk, index, tol=tol, max_iter=max_iter)
    if refits.thetas.shape != (risk.p, len(index)):
        raise ValueError(
            f"refits hold {refits.thetas.shape[1]} retrained models for {len(index)} removed "
            "points; use refit_without(risk, index) with this index"
        )
    if not refits.are_of(risk, index):
        raise ValueError(
            "refits are of other removed points or of another risk; use refit_without(risk, index) "
            "with this risk and this index"
        )
    _warn_unfitted(risk, refits)
    before = risk.losses(x_test, y_test)
    after = losses_at(risk, refits.thetas, x_test, y_test)
    return LeaveOneOut(index, predicted, (after - before).T, refits.gradient_norms)


def _warn_unfitted(risk: EmpiricalRisk, refits: Refits) -> None:
    norm, reached = float(risk.gradient().norm()), float(refits.gradient_norms.max())
    if norm > _FARTHER * reached and norm > _FLAT:
        warn(
            f"the risk is not at a minimum (|gradient| {norm:.2g}, after retraining {reached:.2g}),"
            " so the changes hold what training left undone; pass fit_risk(risk)"
        )


def losses_at(risk: EmpiricalRisk, thetas: Tensor, x_test: Tensor, y_test: Tensor) -> Tensor:
    """The test losses (k, m) at each column of thetas (p, k)."""
    check_test(risk, x_test, y_test)
    check_columns(risk, thetas)
    if isinstance(risk, LinearRisk):
        with torch.no_grad():
            return risk.losses_at(thetas, risk.featurize(x_test), y_test)
    return torch.stack([risk.at(theta).losses(x_test, y_test) for theta in thetas.T])


def _per_row(statistic: object, predicted: Tensor, actual: Tensor) -> Tensor:
    if predicted.shape[1] < 2:
        raise ValueError("a correlation needs two removed points or more; pass a longer index")
    rows = zip(predicted.cpu().numpy(), actual.cpu().numpy(), strict=True)
    assert callable(statistic)
    return torch.tensor([float(statistic(p, a)) for p, a in rows], dtype=torch.float64)
