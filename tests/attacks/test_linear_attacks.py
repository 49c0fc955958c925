"""Closed forms for linear classifiers, against autograd and against a search."""

from __future__ import annotations

import pytest
import torch

from robustnb.attacks import softmax_jacobian, svm_attack, svm_flip_radius
from robustnb.attacks.linear import _check


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def model():
    weights = torch.randn(4, 6, generator=seeded(), dtype=torch.float64)
    bias = torch.randn(4, generator=seeded(1), dtype=torch.float64)
    return weights, bias, torch.rand(9, 6, generator=seeded(2), dtype=torch.float64)


def test_the_jacobian_is_autograds(model):
    weights, bias, x = model
    found = softmax_jacobian(weights, x, bias=bias)
    for row, point in zip(found, x, strict=True):
        exact = torch.autograd.functional.jacobian(lambda z: (weights @ z + bias).softmax(0), point)
        torch.testing.assert_close(row, exact)


def test_the_printed_jacobian_has_other_signs(model):
    weights, _, x = model
    shares = (x @ weights.T).softmax(1)
    printed = shares[:, :, None] * weights - (shares @ weights)[:, None]
    apart = printed.sign() != softmax_jacobian(weights, x).sign()
    assert 0.1 < float(apart.double().mean()) < 0.9


def test_a_step_lowers_the_best_score_by_its_length(model):
    weights, bias, x = model
    moved = svm_attack(weights, x, eps=0.4, bias=bias, clip=None)
    torch.testing.assert_close((moved - x).norm(dim=1), torch.full((9,), 0.4).double())
    before, k = (x @ weights.T + bias).max(1)
    after = (moved @ weights.T + bias).gather(1, k[:, None])[:, 0]
    torch.testing.assert_close(before - after, 0.4 * weights[k].norm(dim=1))
    assert torch.equal(svm_attack(weights, x, eps=0, clip=None), x)
    boxed = svm_attack(weights, x, eps=3.0, bias=bias)
    assert boxed.min() >= 0 and boxed.max() <= 1


def test_the_answer_changes_exactly_at_the_radius(model):
    weights, bias, x = model
    radius = svm_flip_radius(weights, x, bias=bias)
    assert bool(torch.isfinite(radius).any())
    answers = (x @ weights.T + bias).argmax(1)
    for k in range(len(x)):
        if not torch.isfinite(radius[k]):
            moved = svm_attack(weights, x[[k]], eps=1e6, bias=bias, clip=None)
            assert int((moved @ weights.T + bias).argmax()) == int(answers[k])
            continue
        for factor, same in ((0.999, True), (1.001, False)):
            eps = factor * float(radius[k])
            moved = svm_attack(weights, x[[k]], eps=eps, bias=bias, clip=None)
            assert (int((moved @ weights.T + bias).argmax()) == int(answers[k])) == same


@pytest.mark.parametrize(("weights", "x"), [((1, 3), (2, 3)), ((2, 3), (2, 4)), ((3,), (2, 3))])
def test_shapes_that_do_not_meet_are_refused(weights, x):
    with pytest.raises(ValueError, match="stack"):
        _check(torch.ones(weights), torch.ones(x))
