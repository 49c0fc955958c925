"""The ensemble beside the exact answer: small ReLU networks solved by mixed-integer programming."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.optimize import Bounds, LinearConstraint, milp
from torch import nn

from robustnb.attacks import AttackEnsemble, run_ensemble
from small_inputs import seeded

SIDES = 24  # of the polygons that stand for a disc


def relu_network(seed, *, inputs, hidden=10, classes=3):
    """Random, with its kinks inside the box."""
    generator = seeded(seed)
    net = nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, classes)).double()
    with torch.no_grad():
        for p in net.parameters():
            noise = torch.randn(p.shape, generator=generator, dtype=p.dtype)
            p.copy_(3 * noise / p.shape[-1] ** 0.5)
        net[0].bias.sub_(net[0].weight.sum(1) / 2)
    return net


def ball_rows(x, eps, norm, hidden, *, outer):
    """Rows (coefficients, upper bound) of the ball in (x', relu, active, |x' - x|)."""
    d, rest = len(x), 2 * hidden
    eye = np.eye(d)
    if norm == "linf":
        return np.zeros((0, 2 * d + rest)), np.zeros(0)
    if norm == "l1":
        rows = [
            np.hstack([eye, np.zeros((d, rest)), -eye]),
            np.hstack([-eye, np.zeros((d, rest)), -eye]),
            np.r_[np.zeros(d + rest), np.ones(d)][None],
        ]
        return np.vstack(rows), np.r_[x, -x, eps]
    angles = 2 * np.pi * np.arange(SIDES) / SIDES
    normals = np.stack([np.cos(angles), np.sin(angles)], 1)
    reach = eps if outer else eps * math.cos(math.pi / SIDES)
    return np.hstack([normals, np.zeros((SIDES, rest + d))]), reach + normals @ x


def largest_margin(net, x, y, eps, norm, *, outer=False):
    """The exact maximum over ball and box of the best other logit less the true one.

    relu(w x + b) = a with a >= 0, a >= w x + b, a <= w x + b - low (1 - s), a <= high s, s in
    {0, 1}. The disc of l2 (two inputs) is a polygon inside it, or around it with `outer`.
    """
    w, b, v, c = (p.detach().numpy() for p in net.parameters())
    (hidden, d), x = w.shape, x.numpy()
    low, high = np.maximum(x - eps, 0), np.minimum(x + eps, 1)
    up, down, eye = np.maximum(w, 0), np.minimum(w, 0), np.eye(hidden)
    most, least = b + up @ high + down @ low, b + up @ low + down @ high
    most, least, pad = most.clip(0), least.clip(None, 0), np.zeros((hidden, d))
    rows, limits = ball_rows(x, eps, norm, hidden, outer=outer)
    matrix = np.vstack([
        np.hstack([w, -eye, 0 * eye, pad]),
        np.hstack([-w, eye, -np.diag(least), pad]),
        np.hstack([0 * w, eye, -np.diag(most), pad]),
        rows,
    ])  # fmt: skip
    limits = np.r_[-b, b - least, np.zeros(hidden), limits]
    bounds = Bounds(
        np.r_[low, np.zeros(2 * hidden + d)], np.r_[high, most, np.ones(hidden), np.full(d, eps)]
    )
    whole = np.r_[np.zeros(d + hidden), np.ones(hidden), np.zeros(d)]
    best = -np.inf
    for k in set(range(len(c))) - {y}:
        cost = -np.r_[np.zeros(d), v[k] - v[y], np.zeros(hidden + d)]
        found = milp(
            cost, constraints=LinearConstraint(matrix, -np.inf, limits), integrality=whole,
            bounds=bounds,
        )  # fmt: skip
        assert found.success, found.message
        best = max(best, c[k] - c[y] - found.fun)
    return best


def verdicts(net, x, y, eps, norm):
    """Who stands under the whole ensemble, and then under many short climbs."""
    whole = AttackEnsemble(eps, norm=norm, steps=40, queries=60)
    stands = run_ensemble(net, x, y, ensemble=whole, generator=seeded(0)).robust
    many = AttackEnsemble(eps, norm=norm, attacks=("apgd-ce", "apgd-dlr"), steps=16, restarts=50)
    left = run_ensemble(net, x[stands], y[stands], ensemble=many, generator=seeded(1))
    return stands.masked_scatter(stands, left.robust)


@pytest.mark.parametrize(
    ("norm", "eps", "inputs", "seed"),
    [("linf", 0.15, 4, 0), ("linf", 0.15, 4, 1), ("l1", 0.4, 6, 3), ("l2", 0.2, 2, 0)],
    ids=["linf 0", "linf 1", "l1", "l2"],
)
def test_no_network_is_called_robust_where_the_exact_optimum_is_a_mistake(norm, eps, inputs, seed):
    """linf 1 holds images that 4 in 10,000, and 5 in 1,000,000, points of the ball fool."""
    gaps, falls = [], 0
    net = relu_network(seed, inputs=inputs)
    x = torch.rand(12, inputs, generator=seeded(seed + 50), dtype=torch.float64)
    y = net(x).argmax(1)
    for image, label, stands in zip(x, y.tolist(), verdicts(net, x, y, eps, norm), strict=True):
        exact = largest_margin(net, image, label, eps, norm, outer=not stands)
        if stands:
            gaps.append(exact)
        else:
            falls += 1
            assert exact > 0
    print(f"{norm}: {falls} fall, {len(gaps)} stand, of these the largest exact margin {max(gaps)}")
    assert max(gaps) <= 1e-7
    assert falls >= 2 and gaps


def test_the_exact_optimum_is_that_of_a_fine_grid():
    """Two inputs, so that the programme itself can be checked by looking everywhere."""
    net = relu_network(5, inputs=2)
    x, side = torch.tensor([0.4, 0.95], dtype=torch.float64), torch.linspace(-0.2, 0.2, 401)
    grid = torch.cartesian_prod(side, side).double()
    for norm, order in (("linf", math.inf), ("l1", 1), ("l2", 2)):
        near = x + grid[torch.linalg.vector_norm(grid, order, dim=1) <= 0.2]
        near = near[(near <= 1).all(1)]
        logits = net(near).detach()
        y = int(net(x).argmax())
        seen = max(float((logits[:, k] - logits[:, y]).max()) for k in {0, 1, 2} - {y})
        inner, outer = (largest_margin(net, x, y, 0.2, norm, outer=o) for o in (False, True))
        assert inner - 0.02 <= seen <= outer + 1e-9
