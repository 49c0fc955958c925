"""Mistakes of influence functions: solving, averaging, signs, factors and dropped directions."""

from __future__ import annotations

import torch
from torch import Tensor

from robustnb.gallery.fixtures import seeded
from robustnb.gallery.pitfall import Form, Pitfall

DAMP, SCALE, STEPS = 0.01, 25.0, 4000
KEPT = 10


def lissa_scale_wrong(hessian: Tensor, v: Tensor) -> Tensor:
    """(H + damp I)^-1 v by the recursion of LiSSA; `scale` makes it converge."""
    h = v
    for _ in range(STEPS):
        h = v + (1 - DAMP) * h - hessian @ h / SCALE
    return h


def lissa_scale_right(hessian: Tensor, v: Tensor) -> Tensor:
    """(H + damp I)^-1 v by the recursion of LiSSA; `scale` makes it converge."""
    h = v
    for _ in range(STEPS):
        h = v + h - (hessian @ h + DAMP * h) / SCALE
    return h / SCALE


def _lissa_scale_error(form: Form) -> float:
    """The relative error against the exact solution, for a Hessian of six parameters."""
    root = torch.randn(6, 6, generator=seeded(0), dtype=torch.float64)
    hessian = root @ root.T / 6 + torch.eye(6, dtype=torch.float64)
    v = torch.randn(6, generator=seeded(1), dtype=torch.float64)
    true = torch.linalg.solve(hessian + DAMP * torch.eye(6, dtype=torch.float64), v)
    return float((form(hessian, v) - true).norm() / true.norm())


def added_lists_wrong(draws: list[list[Tensor]]) -> list[Tensor]:
    """The mean over repeated draws of one tensor per layer."""
    total = list(draws[0])
    for draw in draws[1:]:
        total += draw  # makes the list longer
    return [layer / len(draws) for layer in total]


def added_lists_right(draws: list[list[Tensor]]) -> list[Tensor]:
    """The mean over repeated draws of one tensor per layer."""
    by_layer = zip(*draws, strict=True)
    return [torch.stack(layers).mean(0) for layers in by_layer]


def _added_lists_error(form: Form) -> float:
    """The relative error of the first layer's mean over ten equal draws."""
    draw = [torch.ones(3, dtype=torch.float64), torch.ones(2, dtype=torch.float64)]
    first = form([[layer.clone() for layer in draw] for _ in range(10)])[0]
    return float((first - draw[0]).norm() / draw[0].norm())


def helpful_sign_wrong(influence: Tensor, n: int) -> Tensor:
    """The change of the test loss when a point is removed, from I_up,loss."""
    return influence / n


def helpful_sign_right(influence: Tensor, n: int) -> Tensor:
    """The change of the test loss when a point is removed, from I_up,loss."""
    return -influence / n  # removal is a weight of -1/n


def _helpful_sign_error(form: Form) -> float:
    """The share of points whose change has another sign than refitting a ridge regression gives."""
    x, y, lam = *_regression(), 0.1
    n = len(y)
    theta = _ridge(x, y, lam)
    x_test, y_test = torch.ones(4, dtype=torch.float64), 3.0
    hessian = x.T @ x / n + lam * torch.eye(4, dtype=torch.float64)
    gradients = (x @ theta - y)[:, None] * x + lam * theta
    g_test = (x_test @ theta - y_test) * x_test
    influence = -gradients @ torch.linalg.solve(hessian, g_test)
    kept = [torch.arange(n) != i for i in range(n)]
    refits = torch.stack([_ridge(x[rows], y[rows], lam) for rows in kept])
    change = ((refits @ x_test - y_test) ** 2 - (theta @ x_test - y_test) ** 2) / 2
    return float((form(influence, n).sign() != change.sign()).double().mean())


def loss_factor_wrong(margin: Tensor, quadratic: Tensor) -> Tensor:
    """The self-influence of logistic regression, from y theta.x and x H^-1 x."""
    return torch.sigmoid(-margin) * quadratic


def loss_factor_right(margin: Tensor, quadratic: Tensor) -> Tensor:
    """The self-influence of logistic regression, from y theta.x and x H^-1 x."""
    # the gradient stands in it twice
    return torch.sigmoid(-margin) ** 2 * quadratic


def _loss_factor_error(form: Form) -> float:
    """The relative error against g H^-1 g with gradients by autograd."""
    x, y = _regression()
    y = y.sign()
    theta = torch.ones(4, dtype=torch.float64, requires_grad=True)
    inverse = torch.linalg.inv(x.T @ x / len(y))
    losses = torch.nn.functional.softplus(-y * (x @ theta))
    rows = [torch.autograd.grad(one, theta, retain_graph=True)[0] for one in losses]
    g = torch.stack(rows)
    true = (g @ inverse * g).sum(1)
    found = form((y * (x @ theta)).detach(), (x @ inverse * x).sum(1))
    return float((found - true).norm() / true.norm())


def few_eigenvectors_wrong(hessian: Tensor, v: Tensor) -> Tensor:
    """H^-1 v from the eigenvectors of the largest eigenvalues."""
    values, vectors = torch.linalg.eigh(hessian)
    values, vectors = values[-KEPT:], vectors[:, -KEPT:]
    found: Tensor = vectors @ ((vectors.T @ v) / values)
    return found


def few_eigenvectors_right(hessian: Tensor, v: Tensor) -> Tensor:
    """H^-1 v."""
    factor = torch.linalg.cholesky(hessian)
    return torch.cholesky_solve(v[:, None], factor)[:, 0]


def _few_eigenvectors_error(form: Form) -> float:
    """The relative error for twenty eigenvalues from 1 down to 0.01."""
    root = torch.randn(20, 20, generator=seeded(2), dtype=torch.float64)
    turn, _ = torch.linalg.qr(root)
    hessian = turn @ torch.diag(torch.logspace(0, -2, 20, dtype=torch.float64)) @ turn.T
    v = torch.randn(20, generator=seeded(3), dtype=torch.float64)
    true = torch.linalg.solve(hessian, v)
    return float((form(hessian, v) - true).norm() / true.norm())


def _regression() -> tuple[Tensor, Tensor]:
    """Forty points (40, 4) with values (40,)."""
    x = torch.randn(40, 4, generator=seeded(4), dtype=torch.float64)
    noise = torch.randn(40, generator=seeded(5), dtype=torch.float64)
    return x, x.sum(1) + noise


def _ridge(x: Tensor, y: Tensor, lam: float) -> Tensor:
    """The minimiser of the mean of (theta.x - y)^2 / 2 + lam/2 |theta|^2."""
    eye = torch.eye(x.shape[1], dtype=x.dtype)
    found: Tensor = torch.linalg.solve(x.T @ x / len(y) + lam * eye, x.T @ y / len(y))
    return found


PITFALLS = (
    Pitfall("lissa-scale", lissa_scale_wrong, lissa_scale_right, _lissa_scale_error, limit=1e-9),
    Pitfall("added-lists", added_lists_wrong, added_lists_right, _added_lists_error,
            limit=1e-12, shown="share"),
    Pitfall("helpful-sign", helpful_sign_wrong, helpful_sign_right, _helpful_sign_error,
            limit=0.0, shown="share"),
    Pitfall("loss-factor", loss_factor_wrong, loss_factor_right, _loss_factor_error, limit=1e-9),
    Pitfall("few-eigenvectors", few_eigenvectors_wrong, few_eigenvectors_right,
            _few_eigenvectors_error, limit=1e-9),
)  # fmt: skip
