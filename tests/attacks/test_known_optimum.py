"""Every attack of the package where the best attack is known: linear models, small ReLU networks.

Linear: the optimum over ball and box is a sum over coordinates, in l2 found by bisection. ReLU:
the network is linear on every cell of its activations, so the largest margin is that of a linear
programme for each cell, solved for all cells (another way than the programme of test_exact_twin).
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy.optimize import linprog
from torch import nn

from robustnb.attacks import (
    AttackEnsemble,
    apgd,
    evaluate,
    fab,
    half_cosine,
    margin,
    misclassified,
    multi_loss_pgd,
    pgd,
    run_ensemble,
    square,
)
from robustnb.attacks.fab_projections import project_onto_hyperplane, quick_step
from robustnb.attacks.projections import NORMS
from small_inputs import seeded

EPS = {"linf": 0.1, "l2": 0.5, "l1": 1.5}
D = 24


def best_gain(slope, x, eps, norm):
    """The largest <slope, delta> over the ball of radius eps and the box, (N,), in float64."""
    size, room = slope.abs(), torch.where(slope > 0, 1 - x, x)
    if norm == "linf":
        return (size * torch.minimum(room, torch.as_tensor(eps))).sum(1)
    if norm == "l1":  # the steepest coordinates first, each to its wall
        ordered, order = size.sort(1, descending=True)
        room = room.gather(1, order)
        before = room.cumsum(1) - room
        return (ordered * torch.minimum(room, (eps - before).clamp_min(0))).sum(1)
    low, high = torch.zeros(len(x), 1).double(), torch.full((len(x), 1), 1e6).double()
    for _ in range(100):
        time = (low + high) / 2
        inside = torch.minimum(time * size, room).norm(dim=1, keepdim=True) <= eps
        low, high = torch.where(inside, time, low), torch.where(inside, high, time)
    return (size * torch.minimum(low * size, room)).sum(1)


@pytest.fixture
def linear():
    """Two classes, images near and at the walls of the box."""
    weights = torch.randn(D, 2, generator=seeded(1), dtype=torch.float64)
    x = (1.6 * torch.rand(30, 1, 4, 6, generator=seeded(2), dtype=torch.float64) - 0.3).clamp(0, 1)
    y = (x.flatten(1) @ weights).argmax(1)
    slope = (weights[:, 1 - y] - weights[:, y]).T
    return lambda x: x.flatten(1) @ weights, x, y, slope


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("loss", ["ce", "dlr", "margin"])
def test_auto_pgd_gains_the_optimum_of_ball_and_box_on_a_linear_model(linear, norm, loss):
    model, x, y, slope = linear
    x_adv = apgd(model, x, y, eps=EPS[norm], norm=norm, loss=loss, steps=20)
    gain = (slope * (x_adv - x).flatten(1)).sum(1)
    ratio = best_gain(slope, x.flatten(1), EPS[norm], norm) / gain
    assert 1 - 1e-9 <= float(ratio.min()) <= float(ratio.max()) <= 1.001


@pytest.mark.parametrize("norm", NORMS)
def test_pgd_gains_the_optimum_of_ball_and_box_on_a_linear_model(linear, norm):
    """With steps that fall to 0; in l1 each moves one coordinate alone, so more are needed."""
    model, x, y, slope = linear
    steps = {"linf": 100, "l2": 100, "l1": 400}[norm]
    sizes = half_cosine(EPS[norm], steps)
    x_adv = pgd(
        model, x, y, eps=EPS[norm], step=sizes, steps=steps, norm=norm, loss="margin",
        generator=seeded(),
    )  # fmt: skip
    gain = (slope * (x_adv - x).flatten(1)).sum(1)
    ratio = best_gain(slope, x.flatten(1), EPS[norm], norm) / gain
    print(f"{norm}: the optimum is {float(ratio.max()):.6f} times what PGD gains")
    assert 1 - 1e-9 <= float(ratio.min()) <= float(ratio.max()) <= 1.001


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("attack", ["apgd-ce", "apgd-dlr", "apgd-t", "fab-t"])
def test_each_gradient_member_fells_a_linear_model_a_thousandth_beyond_its_distance(
    linear, norm, attack
):
    model, x, y, slope = linear
    flat, wanted = x.flatten(1), margin(model(x), y).neg()
    low, high = torch.zeros(30).double(), torch.full((30,), float(D)).double()
    for _ in range(60):
        eps = (low + high) / 2
        reached = best_gain(slope, flat, eps[:, None], norm) > wanted
        low, high = torch.where(reached, low, eps), torch.where(reached, eps, high)
    for i in range(0, 30, 3):
        for times, stands in ((1.001, False), (1 / 1.001, True)):
            alone = AttackEnsemble(float(high[i]) * times, norm=norm, attacks=(attack,), steps=8)
            found = run_ensemble(
                model, x[i : i + 1], y[i : i + 1], ensemble=alone, generator=seeded()
            )
            assert bool(found.robust) is stands


def test_square_comes_near_the_optimum_of_a_linear_model_without_a_gradient(linear):
    """The corner of the linf ball that the box leaves, by random search: nine tenths of it."""
    model, x, y, slope = linear
    x_adv = square(model, x, y, eps=0.1, queries=3000, generator=seeded())
    gain = (slope * (x_adv - x).flatten(1)).sum(1)
    ratio = best_gain(slope, x.flatten(1), 0.1, "linf") / gain
    print(f"the optimum is at most {float(ratio.max()):.4f} times what Square gains")
    assert 1 - 1e-9 <= float(ratio.min()) <= float(ratio.max()) <= 1.1


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("clip", [(0.0, 1.0), (-1.0, 3.0), None])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_quick_step_is_the_exact_one_to_rounding(norm, clip, dtype):
    for seed in range(12):
        generator = seeded(seed)
        x = torch.rand(9, 5 + 40 * seed, generator=generator, dtype=dtype)
        x = x.round() if seed % 2 else x
        weights = torch.randn(x.shape, generator=generator, dtype=dtype) ** 3 * 10.0 ** (seed - 6)
        weights[1, ::2] = 0
        gain = torch.randn(9, generator=generator, dtype=torch.float64) * 10.0 ** (seed - 6) * seed
        exact = project_onto_hyperplane(x, weights, gain, norm=norm, clip=clip)
        quick, length = quick_step(x, weights, gain, norm=norm, clip=clip)
        size = exact.abs().amax(1, keepdim=True).clamp_min(1e-12)
        assert float(((quick - exact) / size).abs().max()) <= 30 * torch.finfo(dtype).eps
        order = torch.inf if norm == "linf" else 2
        torch.testing.assert_close(length, torch.linalg.vector_norm(exact, order, dim=1))


def test_weights_of_zero_give_no_step_and_no_nan():
    step, length = quick_step(
        torch.rand(2, 5), torch.zeros(2, 5), torch.tensor([0.0, 1.0]), norm="l2", clip=(0.0, 1.0)
    )
    assert not step.any() and not length.any()


def relu_network(seed, inputs, hidden):
    """Random, with its kinks inside the box."""
    generator = seeded(seed)
    net = nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, 3)).double()
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(3 * torch.randn(p.shape, generator=generator, dtype=p.dtype))
            p.div_(p.shape[-1] ** 0.5)
        net[0].bias.sub_(net[0].weight.sum(1) / 2)
    return net


def largest_margin(net, x, y, eps):
    """Over the linf ball and the box: one linear programme for each cell and each other class."""
    w, b, v, c = (p.detach().numpy() for p in net.parameters())
    low, high = np.maximum(x - eps, 0), np.minimum(x + eps, 1)
    up, down = np.maximum(w, 0), np.minimum(w, 0)
    most, least = b + up @ high + down @ low, b + up @ low + down @ high
    kinds = [
        (1,) if lo >= 0 else (0,) if hi <= 0 else (0, 1) for lo, hi in zip(least, most, strict=True)
    ]
    best = -np.inf
    for active in itertools.product(*kinds):
        on = np.array(active)
        sign = 1 - 2 * on  # inactive: w x + b <= 0; active: -(w x + b) <= 0
        for k in {0, 1, 2} - {y}:
            row = (v[k] - v[y]) * on
            found = linprog(
                -(row @ w), A_ub=sign[:, None] * w, b_ub=-sign * b,
                bounds=list(zip(low, high, strict=True)),
            )  # fmt: skip
            if found.status == 0:  # else the cell does not meet the ball
                best = max(best, row @ b + c[k] - c[y] - found.fun)
    return best


@pytest.mark.parametrize("seed", [2, 4])
def test_no_verdict_of_robust_where_some_cell_of_the_network_holds_a_mistake(seed):
    net, eps = relu_network(seed, 3, 7), 0.2
    x = torch.rand(14, 3, generator=seeded(seed + 9), dtype=torch.float64)
    y = net(x).argmax(1)
    strong = AttackEnsemble(eps, steps=40, queries=60, restarts=4)
    stands = run_ensemble(net, x, y, ensemble=strong, generator=seeded()).robust
    exact = torch.tensor(
        [largest_margin(net, a.numpy(), int(b), eps) for a, b in zip(x, y, strict=True)]
    )
    print(f"{int(stands.sum())} of 14 stand; their largest exact margin {exact[stands].max():.4f}")
    assert float(exact[stands].max()) <= 1e-9
    assert bool((exact[~stands] > 0).all())
    assert 0 < int(stands.sum()) < 14
    x_adv = apgd(net, x, y, eps=eps, loss="margin", steps=60, restarts=8, generator=seeded())
    gap = exact - margin(net(x_adv), y).detach()
    print(f"the exact margin is at most {float(gap.max()):.2e} above the one APGD finds")
    assert float(gap.min()) >= -1e-9  # the exact one is an upper bound, so the cells are right
    pgd_stands = evaluate(net, x, y, attacks=[multi_loss_pgd(eps)], generator=seeded()).robust
    assert not (stands & ~pgd_stands).any()


def test_fab_is_never_nearer_than_the_exact_distance_and_seldom_farther():
    """Bisection of the exact margin gives the distance; the gap is printed."""
    net = relu_network(3, 2, 6)
    x = torch.rand(8, 2, generator=seeded(4), dtype=torch.float64)
    y = net(x).argmax(1)
    found = fab(net, x, y, steps=60, restarts=5, generator=seeded())
    exact = []
    for image, label in zip(x, y.tolist(), strict=True):
        low, high = 0.0, 1.0
        for _ in range(18):
            eps = (low + high) / 2
            wrong = largest_margin(net, image.numpy(), label, eps) > 0
            low, high = (low, eps) if wrong else (eps, high)
        exact.append(high)
    ratio = found.size / torch.tensor(exact, dtype=torch.float64)
    reached = torch.tensor(exact) < 0.99  # else no other class in the box
    print("FAB's distance over the exact one:", [round(float(r), 4) for r in ratio[reached]])
    assert bool(misclassified(net(found.x_adv), y)[found.size.isfinite()].all())
    assert float(ratio.min()) >= 1 - 1e-4
    assert float(ratio[reached].median()) <= 1.001
