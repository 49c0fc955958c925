"""Every solver against the dense inverse, with one meaning of damping, and what each refuses."""

from __future__ import annotations

import math

import pytest
import torch

from robustnb.influence import (
    CG,
    Cholesky,
    LiSSA,
    NegativeCurvatureError,
    NotConvergedError,
    extreme_eigenvalues,
)
from tests.influence.conftest import make_risk


def exact(risk, b, damping):
    eye = torch.eye(risk.p, dtype=b.dtype)
    return torch.linalg.solve(risk.matrix() + damping * eye, b)


@pytest.fixture
def b(risk, generator):
    return torch.randn(risk.p, 4, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("damping", [0.0, 0.3])
@pytest.mark.parametrize("solver", [Cholesky(), CG(tol=1e-10), CG(tol=1e-10, precondition="never")])
def test_damping_is_added_to_the_hessian(risk, b, damping, solver):
    found = solver.solve(risk, b, damping=damping)
    torch.testing.assert_close(found.x, exact(risk, b, damping), atol=1e-8, rtol=1e-8)
    assert found.residual < 1e-9


@pytest.mark.parametrize("damping", [0.0, 0.3])
def test_the_mean_of_lissa_is_the_damped_inverse(risk, b, damping, generator):
    solver = LiSSA(generator, batch_size=40, repeats=100, tol=1e-4)
    found = solver.solve(risk, b, damping=damping)
    expected = exact(risk, b, damping)
    assert (found.x - expected).norm() < 0.03 * expected.norm()


def test_lissa_on_the_whole_set_converges_at_its_bias_rate(generator):
    risk = make_risk("binary")
    least, _ = extreme_eigenvalues(risk, generator=generator)
    values, vectors = torch.linalg.eigh(risk.matrix())
    flattest = vectors[:, :1]
    everything = LiSSA(generator, batch_size=1, repeats=1, scale=1.0, depth=9)
    rows = torch.arange(risk.n).expand(1, -1)
    h = flattest.clone()
    for _ in range(9):
        curved = risk.sample_products(h, rows, "hessian") + risk.l2 * h
        h = flattest + h - curved / everything.scale
    bias = 1 - float(values[0]) * float((flattest * h).sum())
    assert bias == pytest.approx((1 - least) ** 10, rel=1e-6)


def test_a_residual_is_reported_for_a_depth_too_short(risk, b, generator):
    short = LiSSA(generator, batch_size=40, repeats=20, scale=40.0, depth=5).solve(risk, b)
    assert short.residual > 0.8 and short.iterations == 5


def test_a_scale_below_the_eigenvalues_is_refused_with_advice(risk, b, generator):
    with pytest.raises(NotConvergedError, match="Leave scale out"):
        LiSSA(generator, scale=0.05, depth=3000).solve(risk, b)


def test_columns_solved_together_are_those_solved_alone(risk, b):
    together = CG(tol=1e-12).solve(risk, b).x
    alone = torch.cat([CG(tol=1e-12).solve(risk, column[:, None]).x for column in b.T], 1)
    torch.testing.assert_close(together, alone, atol=1e-9, rtol=0)


def test_a_column_of_zeros_stays_zero(risk):
    b = torch.zeros(risk.p, 2, dtype=torch.float64)
    b[0, 1] = 1
    assert bool((CG().solve(risk, b).x[:, 0] == 0).all())


def test_the_preconditioner_saves_products_on_features_of_unequal_size(generator):
    risk = make_risk("softmax", minimised=False)
    stretched = risk.x * torch.logspace(0, 1.5, risk.x.shape[1], dtype=torch.float64)
    risk = risk._with(stretched, risk.y, stretched, risk.theta)
    b = torch.randn(risk.p, 6, generator=generator, dtype=torch.float64)
    plain, helped = (CG(tol=1e-8, precondition=way).solve(risk, b) for way in ("never", "auto"))
    assert helped.iterations < plain.iterations / 2
    torch.testing.assert_close(helped.x, plain.x, atol=1e-5, rtol=1e-4)


def saddle(network_risk):
    """The network at parameters where its Hessian has a negative eigenvalue."""
    return network_risk.at(3 * network_risk.theta.flip(0))


@pytest.mark.parametrize("solver", [Cholesky(), CG()])
def test_negative_curvature_is_refused_and_the_advice_helps(network_risk, solver, generator):
    risk = saddle(network_risk)
    least = float(torch.linalg.eigvalsh(risk.matrix())[0])
    assert least < 0
    b = torch.randn(risk.p, 2, generator=generator, dtype=torch.float64)
    with pytest.raises(NegativeCurvatureError, match="more damping") as refused:
        solver.solve(risk, b)
    assert refused.value.curvature < 0
    assert solver.solve(risk, b, damping=2 * abs(least)).residual < 1e-5
    assert solver.solve(risk, b, damping=0.01, curvature="gauss_newton").residual < 1e-5


def test_lissa_refuses_negative_curvature_when_it_measures(network_risk, generator):
    risk = saddle(network_risk)
    b = torch.ones(risk.p, 1, dtype=torch.float64)
    with pytest.raises(NegativeCurvatureError):
        LiSSA(generator, batch_size=10).solve(risk, b)


def test_too_few_products_are_refused_with_advice(risk, b):
    with pytest.raises(NotConvergedError, match="Raise max_iter") as refused:
        CG(tol=1e-10, max_iter=2, precondition="never").solve(risk, b)
    assert 1e-10 < refused.value.residual < 1


def test_a_matrix_too_large_is_refused_before_it_is_made(risk, b):
    with pytest.raises(ValueError, match=r"use CG\(\)"):
        Cholesky(most_parameters=3).solve(risk, b)


def test_ritz_values_are_the_extreme_eigenvalues(risk, generator):
    found = extreme_eigenvalues(risk, generator=generator)
    true = torch.linalg.eigvalsh(risk.matrix())
    assert found == pytest.approx((float(true[0]), float(true[-1])))


def test_a_depth_measured_by_lissa_meets_its_bias(risk, generator):
    scale, depth = LiSSA(generator, batch_size=8, tol=0.01).plan(risk)
    least, largest = torch.linalg.eigvalsh(risk.matrix())[[0, -1]].tolist()
    assert scale > largest
    assert (1 - least / scale) ** depth <= 0.0101
    assert depth <= math.ceil(scale / risk.l2 * math.log(100))


def test_a_loss_without_a_finite_curvature_is_refused(generator):
    risk = make_risk("binary", minimised=False, loss=lambda z, y: z.abs() ** 1.5)
    with pytest.raises(ValueError, match="no finite second derivative"):
        Cholesky().solve(risk, torch.ones(risk.p, 1, dtype=torch.float64))
