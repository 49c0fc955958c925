"""The influence functions of Koh & Liang 2017, in the paper's signs and scale (no 1/n).

Upweighting a point by eps changes parameters and losses by eps times the influence, to first order.
Removing it is eps = -1/n: the predicted change of a test loss is -I / n. A positive `up_loss` means
a harmful point, a negative one a helpful point.
"""

from __future__ import annotations

import torch
from torch import Tensor

from robustnb.errors import warn
from robustnb.influence.checks import check_columns, check_index, check_test, chosen
from robustnb.influence.linear import LinearRisk
from robustnb.influence.risk import EmpiricalRisk
from robustnb.influence.solution import Curvature, Solution, Solver
from robustnb.influence.solvers import CG, Cholesky
from robustnb.progress import progress

_UNSOLVED = 0.9  # relative residual from which a solution is hardly one
_COLUMNS = 256  # right-hand sides solved at once where there is one for each training point


def inverse_hvp(
    risk: EmpiricalRisk,
    x_test: Tensor,
    y_test: Tensor,
    *,
    solver: Solver | None = None,
    damping: float = 0.0,
    curvature: Curvature = "hessian",
) -> Solution:
    """s_test = (H + damping I)^-1 grad L(z_test), a column (p, m) for each of m test points.

    The gradient of a test loss never includes the decay. The solver is CG() unless given.
    """
    check_test(risk, x_test, y_test)
    b = torch.cat(
        [risk.data_gradients(x_test[part], y_test[part]) for part in risk.chunks(len(y_test))]
    ).T.contiguous()
    return chosen(solver, CG).solve(risk, b, damping=damping, curvature=curvature)


def up_params(
    risk: EmpiricalRisk,
    x: Tensor,
    y: Tensor,
    *,
    solver: Solver | None = None,
    damping: float = 0.0,
    curvature: Curvature = "hessian",
) -> Tensor:
    """I_up,params = -(H + damping I)^-1 grad L(z) of training points x (m, ...), y (m,): (m, p)."""
    check_test(risk, x, y)
    b = risk.train_gradients(x, y).T.contiguous()
    solution = chosen(solver, CG).solve(risk, b, damping=damping, curvature=curvature)
    _warn_unsolved(solution)
    return -solution.x.T


def up_loss(
    risk: EmpiricalRisk,
    x_test: Tensor,
    y_test: Tensor,
    *,
    solver: Solver | None = None,
    damping: float = 0.0,
    curvature: Curvature = "hessian",
    index: Tensor | None = None,
) -> Tensor:
    """I_up,loss(z_i, z_test) = -grad L(z_test) (H + damping I)^-1 grad L(z_i): (m, n).

    A row for each of m test points, a column for each training point (or of `index`). Beside the
    result, memory does not grow with n: no gradient of a training point is formed.
    """
    s = inverse_hvp(
        risk, x_test, y_test, solver=solver, damping=damping, curvature=curvature
    )  # fmt: skip
    _warn_unsolved(s)
    return influence_of(risk, s.x, index=index)


def influence_of(risk: EmpiricalRisk, s_test: Tensor, *, index: Tensor | None = None) -> Tensor:
    """-s_test grad L(z_i) of every training point (or of `index`), from s_test (p, m): (m, n)."""
    check_columns(risk, s_test)
    if index is not None:
        index = check_index(index, risk.n, device=risk.y.device)
    count = risk.n if index is None else len(index)
    found = torch.empty(s_test.shape[1], count, dtype=s_test.dtype, device=s_test.device)
    with progress("influence of training points", total=count) as bar:
        for part in _parts(risk, count, s_test.shape[1]):
            rows = part if index is None else index[part]
            found[:, part] = -_slopes(risk, s_test, rows).T.detach()
            bar.advance(part.stop - part.start)
    return found


def self_influence(
    risk: EmpiricalRisk,
    *,
    solver: Solver | None = None,
    damping: float = 0.0,
    curvature: Curvature = "hessian",
    index: Tensor | None = None,
) -> Tensor:
    """I_up,loss(z_i, z_i) of every training point (or of `index`), (n,): never positive.

    The gradients are those of the data's loss alone. With Cholesky() the matrix is factored once.
    """
    index = torch.arange(risk.n) if index is None else index
    index = check_index(index, risk.n, device=risk.y.device)
    solver = chosen(solver, Cholesky)
    factor = (
        solver.factor(risk, damping=damping, curvature=curvature)
        if isinstance(solver, Cholesky) else None
    )  # fmt: skip
    found = []
    with progress("self-influence", total=len(index)) as bar:
        for rows in torch.split(index, _COLUMNS):
            g = _gradients(risk, rows).T.contiguous()
            if factor is not None:
                half = torch.linalg.solve_triangular(factor, g, upper=False)
                found.append(-half.square().sum(0))
            else:
                x = solver.solve(risk, g, damping=damping, curvature=curvature).x
                found.append(-(g * x).sum(0))
            bar.advance(len(rows))
    return torch.cat(found)


def pert_loss(risk: EmpiricalRisk, x: Tensor, y: Tensor, s_test: Tensor) -> Tensor:
    """I_pert,loss = -s_test^T grad_x grad_theta L(z) of training points x (m, ...), like x.

    s_test (p,) or (p, k), of which the columns are summed. The gradient in x of the retrained test
    loss is I_pert,loss / n; the whole network is differentiated, frozen layers too.
    """
    check_test(risk, x, y)
    columns = s_test[:, None] if s_test.ndim == 1 else s_test
    check_columns(risk, columns)
    s = columns.sum(1)
    found = torch.empty_like(x)
    for part in risk.chunks(len(y)):
        probe = x[part].detach().clone().requires_grad_()
        with torch.enable_grad():
            total = risk.data_slopes(s[:, None], probe, y[part]).sum()
            (found[part],) = torch.autograd.grad(-total, probe)
    return found


def corrected_influence(
    risk: LinearRisk, s_test: Tensor, index: Tensor, *, factor: Tensor
) -> Tensor:
    """I_up,loss with the leverage of each point kept: (m, k) for points `index` (k,).

    -1/n of it predicts the change on removal with the curvature that the point itself takes away,
    H - grad^2 L(z_i) / n, by the Woodbury identity on the c outputs. `factor` is the Cholesky
    factor of H (`Cholesky().factor(risk)`). Decay in the point's own loss keeps its first-order
    effect only.
    """
    found = []
    index = check_index(index, risk.n, device=risk.y.device)
    check_columns(risk, s_test)
    if factor.shape != (risk.p, risk.p) or factor.dtype != risk.theta.dtype:
        raise ValueError(
            f"factor must be ({risk.p}, {risk.p}) of {risk.theta.dtype}, got {tuple(factor.shape)} "
            f"of {factor.dtype}; use Cholesky().factor(risk)"
        )
    for i in torch.split(index, max(1, _COLUMNS // risk.c)):
        features, y = risk.features[i], risk.y[i]
        rows = _output_rows(risk, features)  # (k, c, p): the derivative of each output
        solved = torch.cholesky_solve(rows.flatten(0, 1).T.contiguous(), factor)
        solved = solved.T.view_as(rows)
        leverage = torch.einsum("kap,kbp->kab", solved, rows)
        bent = risk.output_curvature(features, y)
        eye = torch.eye(risk.c).to(leverage)
        slope = risk.output_slope(features, y)[:, :, None]
        grown = torch.linalg.solve(eye - bent @ leverage / risk.n, slope)[:, :, 0]
        along = torch.einsum("kcp,pm->mkc", rows, s_test)
        part = -torch.einsum("mkc,kc->mk", along, grown)
        if risk.decay == "inside":
            part = part - (risk.penalty_gradient() @ s_test)[:, None]
        found.append(part)
    return torch.cat(found, 1)


def _warn_unsolved(solution: Solution) -> None:
    """Warn of a solution that is hardly nearer than zero, as a function that drops it must."""
    if solution.residual > _UNSOLVED:
        warn(
            f"{solution.solver} left a relative residual of {solution.residual:.2g} (zero has 1), "
            "so these influences say little; give it more depth, repeats or larger batches, a "
            "smaller scale, or use CG()"
        )


def _output_rows(risk: LinearRisk, features: Tensor) -> Tensor:
    """The derivative (k, c, p) of the outputs in the parameters."""
    k, size = len(features), risk.c * risk.d
    eye = torch.eye(risk.c).to(features)
    weights = torch.einsum("ce,kd->kced", eye, features).reshape(k, risk.c, size)
    return torch.cat([weights, eye.expand(k, -1, -1)], 2) if risk.bias else weights


def _slopes(risk: EmpiricalRisk, s: Tensor, rows: slice | Tensor) -> Tensor:
    """`train_slopes` of training points, from their stored features where there are any."""
    if isinstance(risk, LinearRisk):
        found = risk.feature_slopes(s, risk.features[rows], risk.y[rows])
        return found + risk.penalty_gradient() @ s if risk.decay == "inside" else found
    with torch.no_grad():
        return risk.train_slopes(s, risk.x[rows], risk.y[rows])


def _gradients(risk: EmpiricalRisk, rows: Tensor) -> Tensor:
    """`data_gradients` of training points, from their stored features where there are any."""
    if isinstance(risk, LinearRisk):
        return risk.feature_gradients(risk.features[rows], risk.y[rows])
    return risk.data_gradients(risk.x[rows], risk.y[rows])


def _parts(risk: EmpiricalRisk, count: int, columns: int) -> list[slice]:
    if isinstance(risk, LinearRisk):
        return risk.row_chunks(columns, count)
    return list(risk.chunks(count))
