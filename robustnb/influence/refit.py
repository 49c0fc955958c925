"""Minimise a risk, and minimise it again without one of its points, many points at once."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import grad_and_value

from robustnb.influence.autodiff import ModelRisk
from robustnb.influence.checks import check_index
from robustnb.influence.errors import NotConvergedError
from robustnb.influence.linear import LinearRisk
from robustnb.influence.risk import EmpiricalRisk
from robustnb.influence.solvers import CG, Cholesky
from robustnb.progress import progress
from robustnb.scalars import finite, whole

_DENSE = 2_000  # parameters up to which Newton factors the Hessian
_HALVINGS = 40
_HISTORY = 20
_COLUMNS = 64  # points refitted at once
_CHORD_STEPS, _CG_STEPS = 5, 40  # what a refit takes about, to choose the cheaper way
_CHORD_TOL = 1e-3  # of the system that gives a step


@dataclass(frozen=True)
class Refits:
    """Parameters (p, k) of the risk without each of k points, and the gradient norms (k,) there.

    index (k,): the points; start (p,): the parameters of the risk. None where they are not known.
    """

    thetas: Tensor
    gradient_norms: Tensor
    index: Tensor | None = None
    start: Tensor | None = None

    def are_of(self, risk: EmpiricalRisk, index: Tensor) -> bool:
        """Whether nothing says that these are refits of another risk or without other points."""
        same_points = self.index is None or torch.equal(self.index.to(index), index)
        return same_points and (self.start is None or torch.equal(self.start, risk.theta))


def fit_risk(risk: EmpiricalRisk, *, tol: float = 1e-8, max_iter: int = 200) -> EmpiricalRisk:
    """The risk at its minimum: |gradient| <= tol, from its present parameters.

    A linear risk is minimised by Newton's method with a line search, another by L-BFGS. Raises
    NotConvergedError if `max_iter` steps are not enough.
    """
    tol, max_iter = finite("tol", tol, above=0), whole("max_iter", max_iter)
    if isinstance(risk, LinearRisk):
        return _newton(risk, tol, max_iter)
    assert isinstance(risk, ModelRisk)
    theta, norm = _lbfgs(_objective(risk, None), risk.theta, tol, max_iter)
    if not norm <= tol:
        raise NotConvergedError("L-BFGS", norm, _more(max_iter))
    return risk.at(theta)


def refit_without(
    risk: EmpiricalRisk, index: Tensor, *, tol: float = 1e-8, max_iter: int = 200
) -> Refits:
    """Minimise the risk without point index[j], for each of k points, from theta.

    What "without" means for the decay says `robustnb.influence.risk`. A linear risk is refitted
    for many points at once by Newton steps with the Hessian at theta, so that each step is one
    pass over the data; another one by one by L-BFGS. Stops at |gradient| <= tol; a linear risk
    raises NotConvergedError if it is not reached, another reports the norm it got to.
    """
    tol, max_iter = finite("tol", tol, above=0), whole("max_iter", max_iter)
    index = check_index(index, risk.n, device=risk.y.device)
    if risk.n < 2:
        raise ValueError("without its only training point a risk has no data; pass two or more")
    if isinstance(risk, LinearRisk):
        return _chord(risk, index, tol, max_iter)
    assert isinstance(risk, ModelRisk)
    thetas, norms = [], []
    with progress("refits", total=len(index)) as bar:
        for i in index.tolist():
            theta, norm = _lbfgs(_objective(risk, i), risk.theta, tol, max_iter)
            thetas.append(theta)
            norms.append(norm)
            bar.advance()
    found = torch.tensor(norms, dtype=torch.float64)
    return Refits(torch.stack(thetas, 1), found, index, risk.theta)


def _more(max_iter: int) -> str:
    return (
        f"raise max_iter (now {max_iter}) or tol, use float64, or add l2 if the risk has no minimum"
    )


def _newton(risk: LinearRisk, tol: float, max_iter: int) -> LinearRisk:
    value = risk.value()
    for _ in range(max_iter):
        g = risk.gradient()
        norm = float(g.norm())
        if norm <= tol:
            return risk
        solver = Cholesky() if risk.p <= _DENSE else CG(tol=min(0.1, max(1e-8, norm)))
        step = solver.solve(risk, g[:, None], damping=0.0, curvature="hessian").x[:, 0]
        risk, value, moved = _line_search(risk, value, step, float(g @ step))
        if not moved:
            break
    norm = float(risk.gradient().norm())
    if norm <= tol:
        return risk
    raise NotConvergedError("Newton's method", norm, _more(max_iter))


def _line_search(
    risk: LinearRisk, value: float, step: Tensor, descent: float
) -> tuple[LinearRisk, float, bool]:
    """The first of the steps 1, 1/2, 1/4, ... that lowers the risk enough, and its value."""
    length = 1.0
    rounding = 1e-14 if step.dtype == torch.float64 else 1e-6
    for _ in range(_HALVINGS):
        tried = risk.at(risk.theta - length * step)
        new = tried.value()
        if new <= value - 1e-4 * length * descent + rounding * abs(value):
            return tried, new, True
        length /= 2
    return risk, value, False


def _chord(risk: LinearRisk, index: Tensor, tol: float, max_iter: int) -> Refits:
    solve = _inverse(risk, len(index))
    thetas, norms = [], []
    with progress("refits", total=len(index)) as bar:
        for part in torch.split(index, _COLUMNS):
            theta, norm = _chord_block(risk, part, solve, tol, max_iter)
            thetas.append(theta)
            norms.append(norm)
            bar.advance(len(part))
    return Refits(torch.cat(thetas, 1), torch.cat(norms), index, risk.theta)


def _inverse(risk: LinearRisk, count: int) -> Callable[[Tensor], Tensor]:
    """H^-1 at theta: by its factor or by CG, whichever takes fewer operations for the refits."""
    n, c, d, p = risk.n, risk.c, risk.d, risk.p
    dense = n * c * (c + 1) * d**2 + p**3 / 3 + _CHORD_STEPS * 2 * p**2 * count
    iterative = _CHORD_STEPS * _CG_STEPS * 4 * n * c * d * count
    if p <= Cholesky().most_parameters and dense < iterative:
        factor = Cholesky().factor(risk)
        return lambda v: torch.cholesky_solve(v, factor)
    cg = CG(tol=_CHORD_TOL)
    return lambda v: cg.solve(risk, v, damping=0.0, curvature="hessian").x


def _chord_block(
    risk: LinearRisk,
    index: Tensor,
    solve: Callable[[Tensor], Tensor],
    tol: float,
    max_iter: int,
) -> tuple[Tensor, Tensor]:
    theta = risk.theta[:, None].repeat(1, len(index))
    norm = torch.full((len(index),), torch.inf).to(theta)
    left = torch.arange(len(index), device=theta.device)
    for _ in range(max_iter):
        g = _gradient_without(risk, index[left], theta[:, left])
        norm[left] = g.norm(dim=0)
        far = norm[left] > tol
        left, g = left[far], g[:, far]
        if not len(left):
            return theta, norm
        theta[:, left] -= solve(g)
    raise NotConvergedError(
        "the refit", float(norm.max()), f"the gradient norm wanted is {tol:g}. {_more(max_iter)}"
    )


def _gradient_without(risk: LinearRisk, index: Tensor, thetas: Tensor) -> Tensor:
    """The gradient (p, k) of the risk without point index[j], at column j."""
    rest = (risk.n * risk.gradients_at(thetas) - risk.gradients_of(index, thetas)) / (risk.n - 1)
    share = 1.0 if risk.decay == "inside" else risk.n / (risk.n - 1)
    return rest + share * risk.l2 * risk.decayed[:, None] * thetas


Objective = Callable[[Tensor], tuple[Tensor, Tensor]]


def _objective(risk: ModelRisk, without: int | None) -> Objective:
    """Value and gradient of the risk, or of the risk without one point, as functions of theta."""
    kept = risk.n if without is None else risk.n - 1
    share = 1.0 if without is None or risk.decay == "inside" else risk.n / kept

    def total(theta: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        gradient, value = grad_and_value(lambda t: risk.loss(risk.outputs(t, x), y).sum())(theta)
        return value, gradient

    def both(theta: Tensor) -> tuple[Tensor, Tensor]:
        value, gradient = torch.zeros(()).to(theta), torch.zeros_like(theta)
        for part in risk.chunks():
            more = total(theta, risk.x[part], risk.y[part])
            value, gradient = value + more[0], gradient + more[1]
        if without is not None:
            less = total(theta, risk.x[without : without + 1], risk.y[without : without + 1])
            value, gradient = value - less[0], gradient - less[1]
        weight = share * risk.l2
        penalty = weight / 2 * (risk.decayed * theta.square()).sum()
        return value / kept + penalty, gradient / kept + weight * risk.decayed * theta

    return both


def _lbfgs(objective: Objective, start: Tensor, tol: float, max_iter: int) -> tuple[Tensor, float]:
    theta = start.detach().clone().requires_grad_()
    optimizer = torch.optim.LBFGS(
        [theta], max_iter=max_iter, tolerance_grad=0.0, tolerance_change=0.0,
        history_size=_HISTORY, line_search_fn="strong_wolfe",
    )  # fmt: skip

    class _Done(Exception):
        pass

    best: list[tuple[Tensor, float]] = []

    def closure() -> Tensor:
        value, gradient = objective(theta.detach())
        norm = float(gradient.norm())
        if not best or norm < best[0][1]:
            best[:] = [(theta.detach().clone(), norm)]
        if norm <= tol:
            raise _Done
        theta.grad = gradient
        return value

    with contextlib.suppress(_Done):
        optimizer.step(closure)  # type: ignore[no-untyped-call]
    return best[0]
