"""Products and slopes against exact twins: torch's own Hessian, and gradients one by one."""

from __future__ import annotations

import pytest
import torch
from torch.autograd.functional import hessian
from torch.func import functional_call, vmap

from robustnb.influence import (
    LinearRisk,
    ModelRisk,
    autodiff,
    cross_entropy,
    empirical_risk,
    smooth_hinge,
)
from tests.influence.conftest import D, make_risk, smooth_network


def exact_hessian(risk):
    """The Hessian of the whole risk by torch.autograd, no chunk and no vmap."""

    def value(theta):
        penalty = risk.l2 / 2 * (risk.decayed * theta.square()).sum()
        return risk.loss(risk.outputs(theta, risk.x), risk.y).mean() + penalty

    return hessian(value, risk.theta)


def test_hessian_products_are_those_of_the_whole_hessian(network_risk, generator):
    v = torch.randn(network_risk.p, 3, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(network_risk.product(v), exact_hessian(network_risk) @ v)


def test_products_do_not_depend_on_the_chunks(generator):
    x = torch.randn(30, D, generator=generator, dtype=torch.float64)
    y = torch.randint(0, 3, (30,), generator=generator)
    net = smooth_network(generator)
    whole, cut = (
        empirical_risk(net, cross_entropy, x, y, l2=0.1, chunk_size=size) for size in (30, 7)
    )
    v = torch.randn(whole.p, 2, generator=generator, dtype=torch.float64)
    for kind in ("hessian", "gauss_newton"):
        torch.testing.assert_close(whole.product(v, curvature=kind), cut.product(v, curvature=kind))


def test_the_gauss_newton_matrix_is_jacobian_curvature_jacobian(network_risk):
    def outputs(theta):
        return network_risk.outputs(theta, network_risk.x)

    jacobian = torch.func.jacrev(outputs)(network_risk.theta)  # (n, c, p)
    p = outputs(network_risk.theta).softmax(1)
    bent = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
    expected = torch.einsum("ncp,ncd,ndq->pq", jacobian, bent, jacobian) / network_risk.n
    expected += network_risk.l2 * torch.eye(network_risk.p)
    torch.testing.assert_close(network_risk.matrix("gauss_newton"), expected)
    assert torch.linalg.eigvalsh(expected)[0] > 0


@pytest.mark.parametrize("kind", ["binary", "softmax"])
def test_the_closed_form_agrees_with_automatic_differentiation(kind, generator):
    closed = make_risk(kind)
    general = make_risk(kind, linear="no", minimised=False).at(closed.theta)
    assert isinstance(closed, LinearRisk) and isinstance(general, ModelRisk)
    v = torch.randn(closed.p, 3, generator=generator, dtype=torch.float64)
    rows = torch.randint(closed.n, (3, 4), generator=generator)
    x, y = closed.x[:6], closed.y[:6]
    torch.testing.assert_close(closed.product(v), general.product(v))
    torch.testing.assert_close(closed.matrix(), general.matrix())
    torch.testing.assert_close(closed.gradient(), general.gradient(), atol=1e-10, rtol=0)
    torch.testing.assert_close(closed.data_gradients(x, y), general.data_gradients(x, y))
    torch.testing.assert_close(closed.data_slopes(v, x, y), general.data_slopes(v, x, y))
    torch.testing.assert_close(
        closed.sample_products(v, rows, "hessian"), general.sample_products(v, rows, "hessian")
    )
    assert closed.value() == pytest.approx(general.value())


def test_softmax_curvature_is_the_formula_of_the_paper(generator):
    risk = make_risk("softmax")
    bent = risk.output_curvature(risk.features, risk.y)
    p = risk.outputs_of(risk.features).softmax(1)
    torch.testing.assert_close(bent, torch.diag_embed(p) - p[:, :, None] * p[:, None, :])


def test_slopes_are_inner_products_with_single_gradients(network_risk, generator):
    v = torch.randn(network_risk.p, 2, generator=generator, dtype=torch.float64)
    x, y = network_risk.x, network_risk.y
    expected = network_risk.data_gradients(x, y) @ v
    torch.testing.assert_close(network_risk.data_slopes(v, x, y), expected)


def test_the_gradient_is_that_of_a_backward_pass(network_risk):
    net = network_risk.model
    parameters = dict(net.named_parameters())
    net.zero_grad()
    cross_entropy(
        functional_call(net, parameters, (network_risk.x,)), network_risk.y
    ).mean().backward()
    flat = torch.cat([p.grad.reshape(-1) for p in net.parameters()])
    torch.testing.assert_close(network_risk.data_gradient(), flat)


def test_the_smooth_hinge_has_the_curvature_of_its_formula():
    risk = make_risk("binary", loss=smooth_hinge(0.1), minimised=False)
    bent = risk.output_curvature(risk.features, risk.y)[:, 0, 0]
    s = torch.sigmoid((1 - risk.y * risk.outputs_of(risk.features)) / 0.1)
    torch.testing.assert_close(bent, s * (1 - s) / 0.1)


def test_float32_products_are_close_to_float64(generator):
    fine, coarse = make_risk("softmax"), make_risk("softmax", dtype=torch.float32, minimised=False)
    coarse = coarse.at(fine.theta.float())
    v = torch.randn(fine.p, 2, generator=generator, dtype=torch.float64)
    assert coarse.product(v.float()).dtype == torch.float32
    torch.testing.assert_close(
        coarse.product(v.float()).double(), fine.product(v), atol=1e-5, rtol=1e-4
    )


def test_the_model_keeps_its_mode_and_weights(generator):
    net = smooth_network(generator).train()
    before = [p.clone() for p in net.parameters()]
    x = torch.randn(8, D, generator=generator, dtype=torch.float64)
    risk = empirical_risk(net, cross_entropy, x, torch.zeros(8, dtype=torch.long), l2=1.0)
    risk.at(risk.theta + 1).product(torch.ones(risk.p, dtype=torch.float64))
    assert net.training and all(map(torch.equal, before, net.parameters()))


def test_a_vector_of_the_wrong_length_is_refused(network_risk):
    with pytest.raises(ValueError, match=f"{network_risk.p} rows"):
        network_risk.product(torch.ones(3))


def test_many_columns_do_not_hold_their_activations_together(network_risk, generator, monkeypatch):
    held = []

    def spied(function, **settings):
        def run(v):
            held.append(v.shape[1])
            return vmap(function, **settings)(v)

        return run

    monkeypatch.setattr(autodiff, "vmap", spied)
    v = torch.randn(network_risk.p, 100, generator=generator, dtype=torch.float64)
    product = network_risk.product(v)
    slopes = network_risk.data_slopes(v, network_risk.x, network_risk.y)
    assert max(held) <= 16
    monkeypatch.undo()
    torch.testing.assert_close(product, network_risk.matrix() @ v)
    gradients = network_risk.data_gradients(network_risk.x, network_risk.y)
    torch.testing.assert_close(slopes, gradients @ v)
