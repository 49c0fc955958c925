"""Mistakes of influence functions: what a scaled recursion returns, and how draws are averaged."""

from __future__ import annotations

import torch
from torch import Tensor

from robustnb.gallery.fixtures import seeded
from robustnb.gallery.pitfall import Form, Pitfall

DAMP, SCALE, STEPS = 0.01, 25.0, 4000


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


PITFALLS = (
    Pitfall("lissa-scale", lissa_scale_wrong, lissa_scale_right, _lissa_scale_error, limit=1e-9),
    Pitfall("added-lists", added_lists_wrong, added_lists_right, _added_lists_error,
            limit=1e-12, shown="share"),
)  # fmt: skip
