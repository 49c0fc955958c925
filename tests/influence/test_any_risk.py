"""A risk keeps what it was made of, and nothing given beside it is taken for something else."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from robustnb.influence import (
    CG,
    Cholesky,
    LinearClassifier,
    LiSSA,
    adam_steps,
    correct_labels,
    corrected_influence,
    cross_entropy,
    empirical_risk,
    fit_risk,
    inverse_hvp,
    leave_one_out,
    losses_at,
    rbf_features,
    refit_without,
    up_loss,
)
from small_inputs import linear_case, seeded

_, X, _ = linear_case()
X = X.double()
Y = torch.arange(12) % 3


def network():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Flatten(), nn.Linear(9, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 3)
    )
    return net.double()


@pytest.mark.parametrize("linear", ["yes", "no"])
def test_a_risk_is_that_of_the_model_as_it_was(linear):
    net, labels = network(), Y.clone()
    risk = empirical_risk(net, cross_entropy, X, labels, l2=0.5, params="last", linear=linear)
    before = up_loss(risk, X[:2], Y[:2], damping=1.0)
    with torch.no_grad():
        for tensor in (*net.parameters(), *net.buffers()):
            tensor.add_(1)
    labels.fill_(0)
    assert torch.equal(up_loss(risk, X[:2], Y[:2], damping=1.0), before)
    assert torch.equal(up_loss(risk.at(risk.theta), X[:2], Y[:2], damping=1.0), before)


def test_a_model_in_training_mode_is_asked_in_evaluation_mode_and_is_left_alone():
    net = network()
    other = copy.deepcopy(net).eval()
    found = empirical_risk(net.train(), cross_entropy, X, Y, params="last")
    expected = empirical_risk(other, cross_entropy, X, Y, params="last")
    assert torch.equal(found.features, expected.features) and net.training
    for one, two in zip(net.buffers(), other.buffers(), strict=True):
        assert torch.equal(one, two)
    empirical_risk(net, cross_entropy, X[:1], Y[:1], params="last")  # batch norm of one image


def test_refits_of_other_points_or_of_another_risk_are_refused():
    risk = fit_risk(empirical_risk(
        LinearClassifier(9, classes=3).double(), cross_entropy, X, Y, l2=0.5
    ))  # fmt: skip
    index, other = torch.tensor([1, 4]), torch.tensor([2, 5])
    refits = refit_without(risk, index)
    leave_one_out(risk, X[:2], Y[:2], index=index, refits=refits)
    moved = fit_risk(risk.relabelled(Y.flip(0)))
    for case, points in ((risk, other), (moved, index)):
        with pytest.raises(ValueError, match="of other removed points or of another risk"):
            leave_one_out(case, X[:2], Y[:2], index=points, refits=refits)


def test_a_point_that_is_not_there_cannot_be_left_out():
    risk = empirical_risk(network(), cross_entropy, X, Y, linear="no")
    settings = {"steps": 2, "lr": 0.1, "batch_size": 3, "seed": 0}
    for wrong in (-1, 12, 1.5):
        with pytest.raises(ValueError, match="must"):
            adam_steps(risk, **settings, without=wrong)
    whole = adam_steps(risk, **settings, without=np.array(3))
    assert torch.equal(whole, adam_steps(risk, **settings, without=3))


def test_what_does_not_belong_to_the_risk_is_refused():
    risk = fit_risk(empirical_risk(
        LinearClassifier(9, classes=3).double(), cross_entropy, X, Y, l2=0.5
    ))  # fmt: skip
    order, s = torch.arange(12), inverse_hvp(risk, X[:2], Y[:2]).x
    for wrong in (
        {"order": order + 1}, {"checked": [-1]}, {"checked": [13]}, {"y_true": Y[:3]},
        {"y_true": Y - 100}, {"x_test": X[:2].float()},
    ):  # fmt: skip
        given = {"y_true": Y, "x_test": X[:2], "y_test": Y[:2], "order": order, "checked": [2]}
        with pytest.raises((TypeError, ValueError), match=r"must|use "):
            correct_labels(risk, **{**given, **wrong})
    with pytest.raises(ValueError, match="factor must be"):
        corrected_influence(risk, s, order[:2], factor=torch.eye(3))
    with pytest.raises(ValueError, match="s_test must be"):
        losses_at(risk, s[:-1], X[:2], Y[:2])


def test_settings_of_solvers_are_plain_numbers():
    solvers = [
        LiSSA(seeded(), batch_size=np.int64(2), repeats=torch.tensor(3), scale=np.array(9.0)),
        CG(tol=torch.tensor(0.5), max_iter=np.int32(3)), Cholesky(most_parameters=np.array(7)),
    ]  # fmt: skip
    for solver in solvers:
        numbers = [v for v in vars(solver).values() if not isinstance(v, torch.Generator | str)]
        assert all(value is None or type(value) in (int, float) for value in numbers)
    with pytest.raises(ValueError, match="most_parameters"):
        Cholesky(most_parameters=-1)


def test_sparse_and_compiled_things_are_told_by_name():
    for x, y, message in ((X.to_sparse(), Y, "x.to_dense"), (X, Y.to_sparse(), "y.to_dense")):
        with pytest.raises(TypeError, match=message):
            empirical_risk(network(), cross_entropy, x, y)
        with pytest.raises(TypeError, match=message):
            up_loss(empirical_risk(network(), cross_entropy, X, Y, l2=9.0), x, y)
    with pytest.raises(TypeError, match=r"compiled by torch\.jit"):
        empirical_risk(torch.jit.script(network()), cross_entropy, X, Y)


def test_a_singular_kernel_is_told_of():
    with pytest.raises(ValueError, match="raise jitter"):
        rbf_features(torch.zeros(3, 2), gamma=1.0, jitter=0.0)
    with pytest.raises(ValueError, match="NaN"):
        rbf_features(torch.zeros(3, 2) / 0, gamma=1.0)
