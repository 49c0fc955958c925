"""The influence functions against implicit differentiation, refits and closed forms."""

from __future__ import annotations

import pytest
import torch

from robustnb.influence import (
    CG,
    Cholesky,
    LinearClassifier,
    corrected_influence,
    cross_entropy,
    empirical_risk,
    fit_risk,
    inverse_hvp,
    leave_one_out,
    pert_loss,
    self_influence,
    up_loss,
    up_params,
)
from tests.influence.conftest import D, N, make_risk

EXACT = {"solver": Cholesky()}


def upweighted(risk, i, eps):
    """The minimiser of R + eps L(z_i), by Newton steps: theta (p,)."""
    for _ in range(30):
        weight = torch.zeros(risk.n, dtype=torch.float64)
        g = risk.gradient() + eps * risk.train_gradients(risk.x[i : i + 1], risk.y[i : i + 1])[0]
        eye = torch.eye(risk.p, dtype=torch.float64)
        one = risk.data_product(eye, torch.tensor([i]), "hessian") + risk.l2 * eye
        risk = risk.at(risk.theta - torch.linalg.solve(risk.matrix() + eps * one, g))
        weight[i] = eps
    return risk


def test_up_params_is_the_derivative_of_the_minimiser(risk):
    i, eps = 3, 1e-4
    ahead, behind = (upweighted(risk, i, e).theta for e in (eps, -eps))
    found = up_params(risk, risk.x[i : i + 1], risk.y[i : i + 1], **EXACT)[0]
    torch.testing.assert_close(found, (ahead - behind) / (2 * eps), rtol=1e-5, atol=1e-7)


def test_up_loss_is_the_derivative_of_the_test_loss(risk):
    i, eps = 3, 1e-4
    x, y = risk.x[:4] + 0.5, risk.y[:4]
    ahead, behind = (upweighted(risk, i, e).losses(x, y) for e in (eps, -eps))
    found = up_loss(risk, x, y, **EXACT)[:, i]
    torch.testing.assert_close(found, (ahead - behind) / (2 * eps), rtol=1e-5, atol=1e-7)


def test_influences_sum_to_zero_where_the_decay_is_inside(risk):
    total = up_loss(risk, risk.x[:3], risk.y[:3], **EXACT).sum(1)
    assert total.abs().max() < 1e-8


def test_the_two_conventions_of_decay_differ_by_a_constant():
    inside, outside = make_risk("binary"), make_risk("binary", decay="outside")
    x, y = inside.x[:2], inside.y[:2]
    apart = up_loss(inside, x, y, **EXACT) - up_loss(outside, x, y, **EXACT)
    assert apart.std(1).max() < 1e-10 and apart.abs().min() > 1e-6


@pytest.mark.parametrize("decay", ["inside", "outside"])
@pytest.mark.parametrize("kind", ["binary", "softmax"])
def test_predictions_follow_retraining_under_either_convention(kind, decay):
    risk = make_risk(kind, decay=decay)
    found = leave_one_out(risk, risk.x[:3] + 0.3, risk.y[:3], index=torch.arange(40), **EXACT)
    assert found.gradient_norms.max() < 1e-8
    assert found.pearson().min() > 0.99 and 0.9 < found.slope().min() <= found.slope().max() < 1.2


def test_all_ways_give_the_same_scores(risk):
    general = make_risk("binary" if risk.classes is None else "softmax", linear="no",
                        minimised=False).at(risk.theta)  # fmt: skip
    x, y = risk.x[:3], risk.y[:3]
    expected = up_loss(risk, x, y, **EXACT)
    torch.testing.assert_close(up_loss(general, x, y, solver=CG(tol=1e-11)), expected)
    one_by_one = up_params(risk, risk.x, risk.y, **EXACT) @ risk.data_gradients(x, y).T
    torch.testing.assert_close(one_by_one.T, expected)
    index = torch.tensor([5, 2, 9])
    torch.testing.assert_close(up_loss(risk, x, y, index=index, **EXACT), expected[:, index])


def test_logistic_regression_has_the_closed_form_of_the_paper():
    risk = make_risk("binary", decay="outside")
    x, y, theta = risk.x, risk.y.double(), risk.theta
    loss_factor = torch.sigmoid(-y * (x @ theta)) * y
    inverse = torch.linalg.inv(risk.matrix())
    expected = -torch.outer(loss_factor, loss_factor) * (x @ inverse @ x.T)
    torch.testing.assert_close(up_loss(risk, x, risk.y, **EXACT), expected)
    torch.testing.assert_close(self_influence(risk), expected.diagonal())


@pytest.mark.parametrize("solver", [Cholesky(), CG(tol=1e-11)])
def test_self_influence_is_never_positive(risk, solver):
    found = self_influence(risk, solver=solver, index=torch.arange(20))
    g = risk.data_gradients(risk.x[:20], risk.y[:20])
    torch.testing.assert_close(found, -(g @ torch.linalg.inv(risk.matrix()) * g).sum(1))
    assert bool((found <= 0).all())


@pytest.mark.parametrize("kind", ["binary", "softmax"])
def test_keeping_the_leverage_brings_predictions_nearer_to_retraining(kind):
    risk, index = make_risk(kind), torch.arange(60)
    x, y = risk.x[:2] + 0.3, risk.y[:2]
    found = leave_one_out(risk, x, y, index=index, **EXACT)
    s = inverse_hvp(risk, x, y, **EXACT).x
    better = -corrected_influence(risk, s, index, factor=Cholesky().factor(risk)) / risk.n
    error = (better - found.actual).abs().amax(1)
    assert bool((error < found.largest_error() / 1.5).all())


def test_the_leverage_of_logistic_regression_is_that_of_the_formula():
    risk = make_risk("binary", decay="outside")
    x, y = risk.x, risk.y.double()
    m = y * (x @ risk.theta)
    inverse = torch.linalg.inv(risk.matrix())
    h = torch.sigmoid(m) * torch.sigmoid(-m) * (x @ inverse * x).sum(1) / risk.n
    s = inverse_hvp(risk, x[:2], risk.y[:2], **EXACT).x
    index = torch.arange(N)
    found = corrected_influence(risk, s, index, factor=Cholesky().factor(risk))
    torch.testing.assert_close(found, up_loss(risk, x[:2], risk.y[:2], **EXACT) / (1 - h))


def test_pert_loss_is_the_slope_of_the_retrained_test_loss(risk):
    i, x_test, y_test = 4, risk.x[:1] + 0.4, risk.y[:1]
    delta = 1e-4 * torch.randn(D, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    moved = [
        fit_risk(risk.replaced(torch.tensor([i]), risk.x[i : i + 1] + sign * delta), tol=1e-13)
        for sign in (1, -1)
    ]
    change = (moved[0].losses(x_test, y_test) - moved[1].losses(x_test, y_test)).item() / 2
    s = inverse_hvp(risk, x_test, y_test, **EXACT).x
    found = pert_loss(risk, risk.x[i : i + 1], risk.y[i : i + 1], s)[0]
    assert float(found @ delta) / risk.n == pytest.approx(change, rel=1e-3)


def test_mixed_derivatives_of_logistic_regression_are_those_of_the_paper():
    risk = make_risk("binary")
    x, y, theta = risk.x[0], float(risk.y[0]), risk.theta
    m = y * (x @ theta)
    mixed = torch.sigmoid(m) * torch.sigmoid(-m) * torch.outer(x, theta)
    mixed -= y * torch.sigmoid(-m) * torch.eye(D)
    s = torch.arange(1.0, D + 1).double()
    torch.testing.assert_close(pert_loss(risk, risk.x[:1], risk.y[:1], s)[0], -s @ mixed)


def test_a_raw_hinge_leaves_only_the_decay_as_curvature():
    from robustnb.influence import hinge

    generator = torch.Generator().manual_seed(3)
    x = torch.randn(20, D, generator=generator, dtype=torch.float64)
    y = torch.ones(20)
    model = LinearClassifier(D).double()
    risk = empirical_risk(model, hinge, x, y, l2=0.5, decay="outside")
    risk = risk.at(torch.randn(D, generator=generator, dtype=torch.float64))
    g = risk.data_gradients(x, y)
    torch.testing.assert_close(up_loss(risk, x[:2], y[:2], **EXACT), -g[:2] @ g.T / 0.5)


def test_scores_need_examples(risk):
    with pytest.raises(ValueError, match="at least one"):
        up_loss(risk, risk.x[:0], risk.y[:0])


def test_cross_entropy_of_one_linear_layer_with_two_classes_agrees_with_scores():
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(40, D, generator=generator, dtype=torch.float64)
    y = torch.randint(0, 2, (40,), generator=generator)
    two = empirical_risk(LinearClassifier(D, classes=2).double(), cross_entropy, x, y, l2=0.2)
    one = empirical_risk(LinearClassifier(D).double(), cross_entropy, x, 2 * y - 1, l2=0.1)
    two, one = fit_risk(two, tol=1e-12), fit_risk(one, tol=1e-12)
    torch.testing.assert_close(
        up_loss(two, x[:3], y[:3], **EXACT), up_loss(one, x[:3], 2 * y[:3] - 1, **EXACT)
    )
