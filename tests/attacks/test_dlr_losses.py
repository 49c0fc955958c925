from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from robustnb.attacks import dlr, misclassified, targeted_dlr
from robustnb.attacks.losses import other_classes

seeds = st.integers(0, 10**6)


def drawn(seed, n=6, classes=5):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(n, classes, generator=generator, dtype=torch.float64)
    y = torch.randint(classes, (n,), generator=generator)
    return logits, y, (y + 1) % classes


@given(seed=seeds, scale=st.floats(1e-3, 1e6), shift=st.floats(-100, 100))
@settings(max_examples=50, deadline=None)
def test_no_scale_and_no_shift_of_the_logits_changes_the_ratio(seed, scale, shift):
    logits, y, targets = drawn(seed)
    moved = scale * (logits + shift)
    torch.testing.assert_close(dlr(moved, y), dlr(logits, y))
    torch.testing.assert_close(targeted_dlr(moved, y, targets), targeted_dlr(logits, y, targets))


@given(seed=seeds, classes=st.integers(2, 7))
def test_the_ratio_is_positive_exactly_where_the_answer_is_wrong(seed, classes):
    logits, y, _ = drawn(seed, classes=classes)
    assert torch.equal(dlr(logits, y) > 0, misclassified(logits, y))


def test_the_ratio_against_a_hand_computed_case():
    logits, y = torch.tensor([[5.0, 3.0, 2.0, 0.0]]).double(), torch.tensor([0])
    assert dlr(logits, y).item() == pytest.approx(-(5 - 3) / (5 - 2))
    targets = torch.tensor([2])
    assert targeted_dlr(logits, y, targets).item() == pytest.approx(-(5 - 2) / (5 - (2 + 0) / 2))


def test_the_ratio_of_a_right_answer_lies_between_minus_one_and_zero():
    logits, y, _ = drawn(0, n=1000)
    value = dlr(logits, y)
    assert float(value.min()) >= -1
    assert float(value[~misclassified(logits, y)].max()) <= 0


@pytest.mark.parametrize("loss", [dlr, lambda z, y: targeted_dlr(z, y, y + 1)])
def test_equal_logits_give_a_finite_loss_and_gradient(loss):
    logits = torch.zeros(2, 5, requires_grad=True)
    value = loss(logits, torch.tensor([0, 1]))
    value.sum().backward()
    assert bool(value.isfinite().all()) and bool(logits.grad.isfinite().all())


def test_two_classes_have_no_third_logit_and_give_the_margin():
    logits, y = torch.tensor([[1.0, 3.0]]), torch.tensor([1])
    assert dlr(logits, y).item() == targeted_dlr(logits, y, 1 - y).item() == -2
    scores, signs = torch.tensor([2.0, -3.0]), torch.tensor([1, 1])
    assert dlr(scores, signs).tolist() == targeted_dlr(scores, signs, signs).tolist() == [-2, 3]


def test_three_classes_leave_the_third_logit_alone_in_the_denominator():
    logits, y, targets = torch.tensor([[4.0, 2.0, 1.0]]), torch.tensor([0]), torch.tensor([1])
    assert targeted_dlr(logits, y, targets).item() == pytest.approx(-2 / 3)


@given(seed=seeds)
@settings(max_examples=30, deadline=None)
def test_the_gradients_are_those_of_the_formula(seed):
    logits, y, targets = drawn(seed, n=2)
    logits.requires_grad_()
    assert torch.autograd.gradcheck(lambda z: dlr(z, y), logits)
    assert torch.autograd.gradcheck(lambda z: targeted_dlr(z, y, targets), logits)


@given(seed=seeds, count=st.integers(1, 9))
def test_the_other_classes_come_in_order_and_never_hold_the_label(seed, count):
    logits, y, _ = drawn(seed)
    others = other_classes(logits, y, count)
    assert others.shape == (6, min(count, 4))
    assert not (others == y[:, None]).any()
    values = logits.gather(1, others)
    assert bool((values[:, :-1] >= values[:, 1:]).all())
