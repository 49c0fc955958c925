"""What counts as a model's answer, and where its images must be."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from robustnb.models.ask import ask, check_finite, check_form, place_of, tensors_of
from robustnb.models.fingerprint import facts_of

X = torch.rand(4, 1, 2, 2, generator=torch.Generator().manual_seed(0))


def test_a_model_is_asked_with_a_copy_and_a_gradient_reaches_the_images():
    leaf = X.clone().requires_grad_()
    logits = ask(lambda x: x.mul_(2).flatten(1), leaf)
    assert torch.equal(leaf.detach(), X) and torch.equal(logits.detach(), 2 * X.flatten(1))
    (grad,) = torch.autograd.grad(logits.sum(), leaf)
    assert torch.equal(grad, torch.full_like(X, 2))


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        (torch.zeros(4, 1), ValueError, "one column"),
        (torch.zeros(3, 2), ValueError, "flatten"),
        (torch.zeros(4, 2, 2), ValueError, "flatten"),
        (torch.zeros(4, dtype=torch.int64), TypeError, "float logits"),
        ([torch.zeros(4, 2)], TypeError, r"a list.*model\(x\)\[0\]"),
    ],
)
def test_what_is_no_answer(answer, error, message):
    with pytest.raises(error, match=message):
        check_form(answer, 4)
    check_form(torch.zeros(4), 4)
    check_form(torch.zeros(4, 2, dtype=torch.float64), 4)


def test_infinite_logits_are_refused():
    check_finite(torch.zeros(2, 2))
    for value in (torch.nan, torch.inf):
        with pytest.raises(ValueError, match="NaN or infinite"):
            check_finite(torch.tensor([[0.0, value]]))


def test_images_go_where_the_model_is():
    assert place_of(nn.Linear(1, 1).double(), X) == (torch.device("cpu"), torch.float64)
    assert place_of(nn.BatchNorm1d(1, affine=False).double(), X)[1] == torch.float64
    assert place_of(nn.Flatten(), X.double())[1] == torch.float64
    assert place_of(lambda x: x, (255 * X).byte())[1] == torch.float32
    assert list(tensors_of(lambda x: x)) == []


def test_facts_need_no_gradient_and_leave_modes_and_randomness_alone():
    net = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(4, 3)).train()
    state = torch.get_rng_state()
    facts = facts_of(net, X)
    assert net.training and torch.equal(state, torch.get_rng_state())
    assert facts == facts_of(net, X)
    detached = facts_of(lambda x: net(x).detach(), X)
    assert len(detached["the model (answers)"]) < len(facts["the model (answers)"])
    assert facts_of(net, X[:0])["the model (answers)"] == []
