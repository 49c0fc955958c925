"""Minimising with and without a point: gradients at the end, and one refit against many."""

from __future__ import annotations

import pytest
import torch

from robustnb.influence import (
    Cholesky,
    NotConvergedError,
    empirical_risk,
    fit_risk,
    leave_one_out,
    refit_without,
)
from tests.influence.conftest import make_risk


def without(risk, i, **settings):
    """The risk of a set that never had point i."""
    kept = torch.arange(risk.n) != i
    from robustnb.influence import LinearClassifier

    model = LinearClassifier(risk.d, classes=risk.classes, bias=risk.bias).double()
    return empirical_risk(model, risk.loss, risk.x[kept], risk.y[kept], **settings)


def test_newton_reaches_the_gradient_wanted(risk):
    assert risk.gradient().norm() <= 1e-12


@pytest.mark.parametrize("decay", ["inside", "outside"])
def test_a_refit_is_the_fit_of_the_smaller_set(decay):
    risk = make_risk("softmax", decay=decay)
    found = refit_without(risk, torch.tensor([4, 17]), tol=1e-11)
    share = 1 if decay == "inside" else risk.n / (risk.n - 1)
    for column, i in zip(found.thetas.T, (4, 17), strict=True):
        own = fit_risk(without(risk, i, l2=share * risk.l2), tol=1e-12)
        torch.testing.assert_close(column, own.theta, atol=1e-9, rtol=0)


def test_both_ways_of_refitting_agree():
    closed = make_risk("softmax")
    general = make_risk("softmax", linear="no", minimised=False).at(closed.theta)
    index = torch.tensor([3, 8])
    found, expected = refit_without(general, index), refit_without(closed, index)
    assert found.gradient_norms.max() <= 1e-8
    torch.testing.assert_close(found.thetas, expected.thetas, atol=1e-6, rtol=0)


def test_l_bfgs_minimises_a_network(network_risk):
    found = fit_risk(network_risk, tol=1e-6, max_iter=2000)
    assert found.gradient().norm() <= 1e-6 and found.value() < network_risk.value()


def test_too_few_steps_are_refused_with_advice(network_risk):
    with pytest.raises(NotConvergedError, match="raise max_iter"):
        fit_risk(network_risk, max_iter=2)
    with pytest.raises(NotConvergedError, match="raise max_iter"):
        refit_without(make_risk("binary"), torch.tensor([0]), tol=1e-14, max_iter=1)


def test_a_part_of_a_comparison_holds_its_tests_and_points():
    risk = make_risk("binary")
    whole = leave_one_out(risk, risk.x[:3], risk.y[:3], index=torch.arange(8), solver=Cholesky())
    part = whole.part(tests=slice(1, None), points=slice(2, 5))
    assert part.index.tolist() == [2, 3, 4] and part.actual.shape == (2, 3)
    torch.testing.assert_close(part.predicted, whole.predicted[1:, 2:5])
    picked = whole.part(tests=torch.tensor([2, 0]), points=torch.tensor([7, 1, 7]))
    assert picked.index.tolist() == [7, 1, 7]
    assert picked.actual.tolist() == [[whole.actual[k, i] for i in (7, 1, 7)] for k in (2, 0)]


def test_a_refit_by_products_is_a_refit_by_a_factor(monkeypatch):
    risk, index = make_risk("softmax"), torch.tensor([3, 8])
    by_factor = refit_without(risk, index, tol=1e-11).thetas
    monkeypatch.setattr("robustnb.influence.refit.Cholesky", lambda: Cholesky(most_parameters=0))
    torch.testing.assert_close(
        refit_without(risk, index, tol=1e-11).thetas, by_factor, atol=1e-8, rtol=0
    )
