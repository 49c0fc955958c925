"""The smooth hinge against the hinge, and kernel features against their kernel."""

from __future__ import annotations

import math

import pytest
import torch

from robustnb.influence import hinge, rbf_features, smooth_hinge

SCORES = torch.linspace(-3, 3, 601, dtype=torch.float64)
ONES = torch.ones(601)


@pytest.mark.parametrize("t", [1e-3, 0.1, 2.0])
def test_the_smooth_hinge_lies_within_t_log_2_above_the_hinge(t):
    gap = smooth_hinge(t)(SCORES, ONES) - hinge(SCORES, ONES)
    assert gap.min() > -1e-14 and gap.max() == pytest.approx(t * math.log(2))
    assert float(SCORES[gap.argmax()]) == pytest.approx(1.0)


def test_a_width_of_zero_is_the_hinge_itself():
    assert smooth_hinge(0.0) is hinge


def test_the_smooth_hinge_does_not_overflow():
    found = smooth_hinge(1e-6)(torch.tensor([-1e3, 1e3]), torch.ones(2))
    torch.testing.assert_close(found, torch.tensor([1001.0, 0.0]))


@pytest.mark.parametrize("t", [1e-3, 0.1])
def test_the_derivatives_of_the_smooth_hinge_are_sigmoids(t):
    scores = SCORES.clone().requires_grad_()
    (slope,) = torch.autograd.grad(smooth_hinge(t)(scores, ONES).sum(), scores, create_graph=True)
    (bent,) = torch.autograd.grad(slope.sum(), scores)
    s = torch.sigmoid((1 - SCORES) / t)
    torch.testing.assert_close(slope.detach(), -s)
    torch.testing.assert_close(bent, s * (1 - s) / t, atol=1e-12, rtol=1e-9)


def test_features_of_the_kernel_have_its_inner_products():
    x = torch.randn(12, 1, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    features = rbf_features(x, gamma=0.3)
    apart = (x.flatten(1)[:, None] - x.flatten(1)[None]).square().sum(2)
    torch.testing.assert_close(features @ features.T, torch.exp(-0.3 * apart), atol=1e-8, rtol=0)
