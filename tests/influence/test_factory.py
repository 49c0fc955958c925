"""Which parameters vary, whether the closed form is found, and what the decay touches."""

from __future__ import annotations

import pytest
import torch

from robustnb.influence import LinearRisk, ModelRisk, cross_entropy, empirical_risk
from tests.influence.conftest import D, smooth_network


@pytest.fixture
def data(generator):
    x = torch.randn(20, D, generator=generator, dtype=torch.float64)
    return x, torch.randint(0, 3, (20,), generator=generator)


def test_the_last_layer_of_a_network_is_found_to_be_linear(data, generator):
    net = smooth_network(generator)
    risk = empirical_risk(net, cross_entropy, *data, params="last")
    assert isinstance(risk, LinearRisk) and (risk.d, risk.c, risk.p) == (4, 3, 15)
    with torch.no_grad():
        torch.testing.assert_close(risk.features, net[:3](data[0]))


def test_the_last_layer_in_closed_form_is_the_last_layer_differentiated(data, generator):
    net = smooth_network(generator)
    closed = empirical_risk(net, cross_entropy, *data, params="last", l2=0.1)
    general = empirical_risk(net, cross_entropy, *data, params="last", l2=0.1, linear="no")
    v = torch.randn(15, 2, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(closed.product(v), general.product(v))
    probe = data[0].clone().requires_grad_()
    slopes = closed.data_slopes(v, probe, data[1])
    (one,) = torch.autograd.grad(slopes.sum(), probe)
    slopes = general.data_slopes(v, probe, data[1])
    torch.testing.assert_close(one, torch.autograd.grad(slopes.sum(), probe)[0])


def test_a_network_in_all_its_parameters_is_not_linear(data, generator):
    net = smooth_network(generator)
    assert isinstance(empirical_risk(net, cross_entropy, *data), ModelRisk)
    with pytest.raises(ValueError, match="params='last'"):
        empirical_risk(net, cross_entropy, *data, linear="yes")


def test_a_first_layer_is_not_taken_for_the_last(data, generator):
    names = ["1.weight", "1.bias"]
    risk = empirical_risk(smooth_network(generator), cross_entropy, *data, params=names)
    assert isinstance(risk, ModelRisk) and risk.p == 24


def test_decay_can_leave_the_biases_out(data, generator):
    net = smooth_network(generator)
    for linear in ("auto", "no"):
        risk = empirical_risk(
            net, cross_entropy, *data, params="last", decayed="weights", linear=linear
        )
        assert risk.decayed.tolist() == [1.0] * 12 + [0.0] * 3


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"params": ["9.weight"]}, "no parameter"),
        ({"decay": "somewhere"}, "decay must be one of"),
        ({"l2": -1.0}, "l2 must be finite"),
    ],
)
def test_settings_that_mean_nothing_are_refused(data, generator, settings, told):
    with pytest.raises(ValueError, match=told):
        empirical_risk(smooth_network(generator), cross_entropy, *data, **settings)


def test_examples_without_labels_are_refused(data, generator):
    with pytest.raises(ValueError, match="as many examples"):
        empirical_risk(smooth_network(generator), cross_entropy, data[0], data[1][:3])
