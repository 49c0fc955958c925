"""Public pieces of the attacks refuse what they would otherwise take for something else."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from robustnb.attacks import apgd, lp_distance, maximize, mifgsm, pgd, pgd_attack, project
from robustnb.attacks.audit import robustness_audit
from robustnb.attacks.projections import sample
from small_inputs import linear_case, seeded

NET, X, Y = linear_case()
BALL = {"eps": 0.1, "step": 0.1, "steps": 2}


def climb(**changed):
    settings = {"initial_point": X, **BALL, **changed}
    return maximize(lambda x: x.flatten(1).sum(1), X, **settings)


def test_a_norm_that_is_not_known_is_not_taken_for_l1():
    for way in (
        lambda: lp_distance(X, X, "L2"), lambda: project(X, X, eps=0.1, norm="L2"),
        lambda: climb(norm="L2"), lambda: climb(norm="L2", keep="worst"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match="norm must be one of linf, l2, l1, got 'L2'"):
            way()


def test_distances_are_between_images_of_one_shape():
    with pytest.raises(ValueError, match="x_adv and x must have one shape"):
        lp_distance(X, X[:1], "l2")


@pytest.mark.parametrize("eps", [-0.1, float("nan"), float("inf"), torch.tensor([-1.0] * 12)])
def test_a_ball_has_a_radius(eps):
    with pytest.raises(ValueError, match="eps must be finite and >= 0"):
        project(X, X, eps=eps, norm="linf")


def test_what_a_climb_is_given():
    with pytest.raises(ValueError, match="keep must be one of worst, last, got 'best'"):
        climb(keep="best")
    with pytest.raises(ValueError, match="initial_point must be like x"):
        climb(initial_point=X[:1])
    with pytest.raises(ValueError, match="one value per example"):
        maximize(lambda x: x.sum(), X, initial_point=X, **BALL)
    with pytest.raises(TypeError, match="the loss must return a tensor"):
        maximize(lambda x: 1.0, X, initial_point=X, **BALL)


def test_sparse_images_and_labels_are_told_by_name():
    for x, y, message in ((X.to_sparse(), Y, "x.to_dense"), (X, Y.to_sparse(), "y.to_dense")):
        with pytest.raises(TypeError, match=message):
            pgd(NET, x, y, **BALL)


def test_mifgsm_without_decay_is_pgd():
    settings = {**BALL, "start": "uniform", "keep": "last"}
    for norm in ("linf", "l2"):
        found = mifgsm(NET, X, Y, **settings, norm=norm, decay=0.0, generator=seeded())
        expected = pgd(NET, X, Y, **settings, norm=norm, generator=seeded())
        assert torch.allclose(found, expected, atol=1e-6) and not torch.equal(found, X)


def test_what_comes_back_wants_no_gradient():
    assert not apgd(NET, X.clone().requires_grad_(), Y, eps=0.1, steps=3).requires_grad


def test_the_audit_asks_a_model_in_evaluation_mode():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Flatten(), nn.Linear(9, 8), nn.BatchNorm1d(8), nn.Dropout(), nn.Linear(8, 3)
    )
    before = {name: value.clone() for name, value in net.state_dict().items()}
    attack = pgd_attack(**BALL)
    found = robustness_audit(net.train(), X, Y, attack=attack, queries=3, generator=seeded())
    assert found["deterministic"]["ok"] and net.training
    assert found == robustness_audit(net.eval(), X, Y, attack=attack, queries=3, generator=seeded())
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_samples_of_an_unknown_norm():
    with pytest.raises(ValueError, match="norm must be one of"):
        sample(X, eps=0.1, norm="l3")
