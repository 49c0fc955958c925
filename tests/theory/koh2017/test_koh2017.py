from __future__ import annotations

import numpy as np
import pytest
import torch

from robustnb.influence import (
    Cholesky,
    LinearClassifier,
    cross_entropy,
    empirical_risk,
    fit_risk,
    up_params,
)
from robustnb.theory.koh2017 import LogisticProblem, lissa_mean


@pytest.fixture
def problem():
    return LogisticProblem.random(np.random.default_rng(0), n=40, d=3, l2=0.1)


def test_the_minimiser_has_no_gradient(problem):
    theta = problem.minimiser()
    total = sum(problem.gradient(theta, x, y) for x, y in zip(problem.x, problem.y, strict=True))
    assert np.abs(total).max() < 1e-12


def test_hessians_are_differences_of_gradients(problem):
    theta, h = problem.minimiser(), 1e-6
    for j, unit in enumerate(np.eye(3)):
        x, y = problem.x[2], problem.y[2]
        ahead, behind = (problem.gradient(theta + s * h * unit, x, y) for s in (1, -1))
        found = problem.point_hessian(theta, x)[:, j]
        np.testing.assert_allclose(found, (ahead - behind) / (2 * h), atol=1e-8)
    mean = np.mean([problem.point_hessian(theta, x) for x in problem.x], axis=0)
    np.testing.assert_allclose(problem.hessian(theta), mean, atol=1e-12)


def test_removing_a_point_is_upweighting_it_by_minus_one_over_n(problem):
    kept = LogisticProblem(problem.x[1:], problem.y[1:], problem.l2)
    np.testing.assert_allclose(problem.upweighted(0, -1 / 40), kept.minimiser(), atol=1e-12)


def test_replacing_a_point_wholly_is_training_on_the_other_set(problem):
    delta = np.array([0.3, -0.2, 0.1])
    moved = problem.x.copy()
    moved[4] += delta
    other = LogisticProblem(moved, problem.y, problem.l2).minimiser()
    np.testing.assert_allclose(problem.replaced(4, delta, 1 / 40), other, atol=1e-12)


def test_the_library_agrees_with_this_page_of_numpy(problem):
    x, y = torch.from_numpy(problem.x), torch.from_numpy(problem.y)
    risk = empirical_risk(LinearClassifier(3).double(), cross_entropy, x, y, l2=0.1)
    risk = fit_risk(risk, tol=1e-13)
    theta = problem.minimiser()
    np.testing.assert_allclose(risk.theta.numpy(), theta, atol=1e-10)
    inverse = np.linalg.inv(problem.hessian(theta))
    expected = -inverse @ problem.gradient(theta, problem.x[0], problem.y[0])
    found = up_params(risk, x[:1], y[:1], solver=Cholesky())[0]
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-9)


def test_the_recursion_ends_at_the_inverse_damped_by_scale_times_damping(problem):
    hessian = problem.hessian(problem.minimiser())
    v = np.ones(3)
    found = lissa_mean(hessian, v, scale=5.0, damping=0.02, steps=5000)
    np.testing.assert_allclose(found, np.linalg.solve(hessian + 0.1 * np.eye(3), v), rtol=1e-10)
