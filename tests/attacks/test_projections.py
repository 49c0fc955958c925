from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from robustnb.attacks.projections import NORMS, direction, lp_distance, project, radius, sample

batches = st.builds(
    lambda n, shape, dtype, seed: torch.rand(
        (n, *shape), generator=torch.Generator().manual_seed(seed), dtype=dtype
    ),
    st.integers(1, 4),
    st.sampled_from([(1,), (7,), (1, 5, 5), (3, 4, 4)]),
    st.sampled_from([torch.float32, torch.float64]),
    st.integers(0, 10**6),
)


@pytest.mark.parametrize("norm", NORMS)
@given(x=batches, eps=st.floats(0, 3), far=st.floats(0, 100), seed=st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_projection_lies_in_ball_and_box_in_the_dtype_of_x(norm, x, eps, far, seed):
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed), dtype=x.dtype)
    result = project(x + far * noise, x, eps=eps, norm=norm)
    assert result.dtype == x.dtype
    assert float(result.min()) >= 0
    assert float(result.max()) <= 1
    assert float(lp_distance(result, x, norm).max()) <= eps


def test_clipping_to_the_rounded_x_plus_eps_leaves_the_ball():
    """The form of other libraries; ours steps one float inwards."""
    x = torch.rand(10_000, 1, generator=torch.Generator().manual_seed(0)) / 2 + 0.25
    eps = 8 / 255
    wrong = torch.minimum(x + 1, x + eps)
    assert float((wrong - x).max()) > eps
    assert float((project(x + 1, x, eps=eps, norm="linf") - x).max()) <= eps


def test_linf_projection_still_reaches_the_radius_to_one_float():
    x = torch.rand(1000, 1, generator=torch.Generator().manual_seed(0)) / 2 + 0.25
    reached = project(x + 1, x, eps=0.03, norm="linf") - x
    assert float(reached.min()) > 0.03 - 2 * torch.finfo(x.dtype).eps


@pytest.mark.parametrize("norm", NORMS)
def test_a_point_inside_ball_and_box_stays(norm):
    x = torch.full((3, 5), 0.5, dtype=torch.float64)
    inside = x + 0.01 * torch.arange(15).reshape(3, 5) / 15
    torch.testing.assert_close(project(inside, x, eps=0.2, norm=norm), inside)


def nearest_by_bisection(z: Tensor, x: Tensor, eps: float, norm: str) -> Tensor:
    """The KKT point with its multiplier bisected 200 times, one example at a time."""

    def point(mu: float) -> Tensor:
        if norm == "l2":
            delta = (z - x) / (1 + mu)
        else:
            delta = (z - x).sign() * ((z - x).abs() - mu).clamp_min(0)
        return (x + delta).clamp(0, 1)

    low, high = 0.0, 1e6
    if float(lp_distance(point(0)[None], x[None], norm)) <= eps:
        return point(0)
    for _ in range(200):
        middle = (low + high) / 2
        inside = float(lp_distance(point(middle)[None], x[None], norm)) <= eps
        low, high = (low, middle) if inside else (middle, high)
    return point(high)


@pytest.mark.parametrize("norm", ["l2", "l1"])
@given(seed=st.integers(0, 10**6), eps=st.floats(0.01, 4), far=st.floats(0.01, 20))
@settings(max_examples=40, deadline=None)
def test_projection_on_ball_and_box_is_the_nearest_point(norm, seed, eps, far):
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(3, 9, generator=generator, dtype=torch.float64)
    z = x + far * torch.randn(3, 9, generator=generator, dtype=torch.float64)
    exact = torch.stack([nearest_by_bisection(a, b, eps, norm) for a, b in zip(z, x, strict=True)])
    torch.testing.assert_close(project(z, x, eps=eps, norm=norm), exact, rtol=0, atol=1e-8)


def test_clip_then_rescale_is_not_the_nearest_point():
    """The usual shortcut for l2 gives away most of the radius when the box binds."""
    x = torch.tensor([[0.99, 0.5]], dtype=torch.float64)
    z = x + torch.tensor([[3.0, 3.0]], dtype=torch.float64)
    shortcut = (x + (z - x) * 0.2 / lp_distance(z, x, "l2")).clamp(0, 1)
    exact = project(z, x, eps=0.2, norm="l2")
    assert float((exact - z).norm()) < float((shortcut - z).norm()) - 0.01


@pytest.mark.parametrize(("norm", "dual"), [("linf", 1), ("l2", 2)])
@given(seed=st.integers(0, 10**6), scale=st.sampled_from([1.0, 1e-30, 1e30]))
@settings(max_examples=30, deadline=None)
def test_direction_reaches_the_dual_norm(norm, dual, seed, scale):
    unit = torch.randn(4, 2, 3, generator=torch.Generator().manual_seed(seed))
    step = direction(unit * scale, norm)
    gain = (step.double() * unit.double()).flatten(1).sum(1)
    best = torch.linalg.vector_norm(unit.double().flatten(1), dual, dim=1)
    torch.testing.assert_close(gain, best, rtol=1e-5, atol=0)
    torch.testing.assert_close(lp_distance(step, torch.zeros_like(step), norm), torch.ones(4))


def test_l1_direction_has_norm_one_on_the_largest_coordinates():
    grad = torch.arange(1.0, 401)[None]
    step = direction(grad, "l1")
    assert step.nonzero()[:, 1].tolist() == [396, 397, 398, 399]
    assert float(step.sum()) == 1


@pytest.mark.parametrize("norm", NORMS)
def test_a_zero_gradient_gives_no_step(norm):
    assert not direction(torch.zeros(2, 1, 3, 3), norm).any()


@pytest.mark.parametrize("norm", NORMS)
def test_samples_fill_the_ball_uniformly(norm):
    """The norm of a uniform point is eps u^(1/d), so half lie beyond eps 0.5^(1/d)."""
    x, eps = torch.zeros(4000, 3, dtype=torch.float64), 0.7
    size = lp_distance(sample(x, eps=eps, norm=norm, generator=torch.Generator()), x, norm)
    assert float(size.max()) <= eps
    beyond = int((size > eps * 0.5 ** (1 / 3)).sum())
    assert abs(beyond - 2000) < 4 * math.sqrt(1000)


@pytest.mark.parametrize("norm", NORMS)
def test_each_example_keeps_its_own_radius(norm):
    x = torch.full((3, 6), 0.5, dtype=torch.float64)
    z = x + torch.tensor([[1.0, -2, 3, 4, 5, 6]]).expand(3, 6)
    eps = torch.tensor([0.0, 0.1, 0.3], dtype=torch.float64)
    together = project(z, x, eps=eps, norm=norm)
    for i, one in enumerate(eps.tolist()):
        assert torch.equal(together[i : i + 1], project(z[i : i + 1], x[:1], eps=one, norm=norm))
    assert torch.equal(together[0], x[0])


@given(eps=st.floats(0, 10))
def test_radius_is_never_rounded_up(eps):
    value = float(radius(eps, torch.zeros(1, 1)))
    assert eps * (1 - 2**-22) - 1e-40 <= value <= eps
