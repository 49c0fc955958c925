from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from robustnb.attacks.fab_projections import project_onto_hyperplane
from robustnb.attacks.projections import NORMS, lp_distance

D = 6


def drawn(seed, n=1):
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(n, D, generator=generator, dtype=torch.float64)
    return x, torch.randn(n, D, generator=generator, dtype=torch.float64)


def most(x, weights):
    """The largest gain that the box allows."""
    return (weights.clamp_min(0) * (1 - x) - weights.clamp_max(0) * x).sum(1)


def smallest_by_linear_programming(x, weights, gain, norm):
    """min t with |delta| <= t (linf) or sum |delta| <= t (l1), on the plane and in the box."""
    eye, one = np.eye(D), np.ones((D, 1))
    if norm == "linf":
        cost = np.r_[np.zeros(D), 1]
        rows = np.block([[eye, -one], [-eye, -one]])
        bounds = [(-a, 1 - a) for a in x] + [(0, None)]
    else:
        cost = np.r_[np.zeros(D), np.ones(D)]
        rows = np.block([[eye, -eye], [-eye, -eye]])
        bounds = [(-a, 1 - a) for a in x] + [(0, None)] * D
    plane = np.r_[weights, np.zeros(len(cost) - D)][None]
    found = linprog(cost, rows, np.zeros(2 * D), plane, [gain], bounds)
    assert found.success
    return found.fun


@pytest.mark.parametrize("norm", ["linf", "l1"])
@given(seed=st.integers(0, 10**6), part=st.floats(0.01, 0.99), sign=st.sampled_from([1, -1]))
@settings(max_examples=40, deadline=None)
def test_the_step_is_as_short_as_linear_programming_finds(norm, seed, part, sign):
    x, weights = drawn(seed)
    gain = sign * part * most(x, sign * weights)
    delta = project_onto_hyperplane(x, weights, gain, norm=norm, clip=(0.0, 1.0))
    best = smallest_by_linear_programming(x[0].numpy(), weights[0].numpy(), gain.item(), norm)
    assert lp_distance(delta, 0 * delta, norm).item() == pytest.approx(best, rel=1e-6, abs=1e-8)


@given(seed=st.integers(0, 10**6), part=st.floats(0.01, 0.99))
@settings(max_examples=40, deadline=None)
def test_the_l2_step_fulfils_the_conditions_of_optimality(seed, part):
    """delta = t w where the box is free, and at its end elsewhere with t |w| beyond it."""
    x, weights = drawn(seed)
    delta = project_onto_hyperplane(x, weights, part * most(x, weights), norm="l2", clip=(0.0, 1.0))
    room = torch.where(weights > 0, 1 - x, x)
    free = delta.abs() < room - 1e-12
    t = (delta / weights)[free]
    assert float(t.max() - t.min()) < 1e-9
    assert bool((t.max() * weights.abs() >= room - 1e-9)[~free].all())


@pytest.mark.parametrize("norm", NORMS)
@given(seed=st.integers(0, 10**6), part=st.floats(0, 1))
@settings(max_examples=40, deadline=None)
def test_the_step_ends_on_the_plane_and_in_the_box(norm, seed, part):
    x, weights = drawn(seed, n=3)
    gain = part * most(x, weights)
    delta = project_onto_hyperplane(x, weights, gain, norm=norm, clip=(0.0, 1.0))
    torch.testing.assert_close((weights * delta).sum(1), gain)
    assert float((x + delta).min()) >= -1e-12 and float((x + delta).max()) <= 1 + 1e-12


@pytest.mark.parametrize("norm", NORMS)
def test_a_plane_that_misses_the_box_gives_the_nearest_corner(norm):
    x, weights = drawn(1)
    delta = project_onto_hyperplane(x, weights, 2 * most(x, weights), norm=norm, clip=(0.0, 1.0))
    torch.testing.assert_close(x + delta, (weights > 0).double())


@pytest.mark.parametrize(("norm", "dual"), [("linf", 1), ("l2", 2), ("l1", torch.inf)])
def test_without_a_box_the_length_is_the_gain_over_the_dual_norm(norm, dual):
    x, weights = drawn(2, n=4)
    delta = project_onto_hyperplane(x, weights, torch.tensor([1.0, -2, 3, 0]), norm=norm, clip=None)
    want = torch.tensor([1.0, 2, 3, 0]).double() / torch.linalg.vector_norm(weights, dual, dim=1)
    torch.testing.assert_close(lp_distance(delta, 0 * delta, norm), want)


@pytest.mark.parametrize("norm", NORMS)
def test_no_slope_gives_no_step(norm):
    x, weights = torch.full((1, D), 0.5), torch.zeros(1, D)
    assert not project_onto_hyperplane(x, weights, torch.ones(1), norm=norm, clip=(0.0, 1.0)).any()
