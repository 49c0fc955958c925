"""The extreme eigenvalues of the Hessian by Lanczos: what damping and scale are chosen from."""

from __future__ import annotations

import torch
from torch import Tensor

from robustnb.generators import check_cpu_generator
from robustnb.influence.risk import EmpiricalRisk
from robustnb.influence.solution import Curvature
from robustnb.scalars import whole


def extreme_eigenvalues(
    risk: EmpiricalRisk,
    *,
    generator: torch.Generator,
    steps: int = 40,
    curvature: Curvature = "hessian",
) -> tuple[float, float]:
    """Ritz values (least, largest) of H after `steps` products, re-orthogonalised.

    They lie within the spectrum: the largest is usually exact to several digits after 40 steps,
    the least is an upper bound of the least eigenvalue.
    """
    check_cpu_generator(generator, needed="the first vector is drawn")
    steps = min(whole("steps", steps), risk.p)
    v = torch.randn(risk.p, generator=generator, dtype=torch.float64).to(risk.theta)
    basis = [v / v.norm()]
    diagonal: list[float] = []
    beside: list[float] = []
    for _ in range(steps):
        w = risk.product(basis[-1], curvature=curvature)
        diagonal.append(float(w @ basis[-1]))
        known = torch.stack(basis)
        for _ in range(2):  # once is not enough in floating point
            w = w - known.T @ (known @ w)
        beside.append(float(w.norm()))
        if beside[-1] <= 1e-10 * max(1.0, abs(diagonal[0])) or len(basis) == steps:
            break
        basis.append(w / w.norm())
    found = torch.linalg.eigvalsh(_tridiagonal(diagonal, beside[: len(diagonal) - 1]))
    return float(found[0]), float(found[-1])


def sample_bound(
    risk: EmpiricalRisk,
    *,
    batch_size: int,
    curvature: Curvature,
    generator: torch.Generator,
    batches: int = 64,
    steps: int = 12,
) -> float:
    """The largest eigenvalue met among Hessians of random batches, by power iteration on each."""
    rows = torch.randint(risk.n, (batches, batch_size), generator=generator).to(risk.y.device)
    v = torch.randn(risk.p, batches, generator=generator, dtype=torch.float64).to(risk.theta)
    size = torch.ones(batches).to(v)
    for _ in range(steps):
        v = v / v.norm(dim=0).clamp(min=torch.finfo(v.dtype).tiny)
        v = risk.sample_products(v, rows, curvature)
        size = v.norm(dim=0)
    return float(size.max()) + risk.l2


def _tridiagonal(diagonal: list[float], beside: list[float]) -> Tensor:
    middle = torch.tensor(diagonal, dtype=torch.float64)
    next_to = torch.tensor(beside, dtype=torch.float64)
    return torch.diag(middle) + torch.diag(next_to, 1) + torch.diag(next_to, -1)
