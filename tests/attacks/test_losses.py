from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from robustnb.attacks.losses import cross_entropy, kl, margin, misclassified

generator = torch.Generator().manual_seed(0)
LOGITS = torch.randn(6, 4, generator=generator, dtype=torch.float64)
OTHER = torch.randn(6, 4, generator=generator, dtype=torch.float64)
Y = torch.tensor([0, 1, 2, 3, 0, 1])
SIGNS = torch.tensor([1, -1, 1, -1, 1, -1])


@pytest.mark.parametrize("loss", [cross_entropy, margin])
@pytest.mark.parametrize(("logits", "y"), [(LOGITS, Y), (LOGITS[:, 0], SIGNS)])
def test_gradients_are_those_of_the_value(loss, logits, y):
    assert torch.autograd.gradcheck(lambda z: loss(z, y), logits.clone().requires_grad_())


def test_kl_has_the_right_gradient_in_both_arguments():
    pair = (LOGITS.clone().requires_grad_(), OTHER.clone().requires_grad_())
    assert torch.autograd.gradcheck(kl, pair)


def test_kl_is_from_the_clean_prediction_to_the_adversarial_one():
    """torch's kl_div(log q, p) is KL(p || q)."""
    right = F.kl_div(OTHER.log_softmax(1), LOGITS.softmax(1), reduction="none").sum(1)
    wrong = F.kl_div(LOGITS.log_softmax(1), OTHER.softmax(1), reduction="none").sum(1)
    torch.testing.assert_close(kl(LOGITS, OTHER), right)
    assert not torch.allclose(kl(LOGITS, OTHER), wrong, rtol=0.01)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_kl_of_equal_logits_has_value_and_gradient_zero_to_the_bit(dtype):
    clean = 10 * LOGITS.to(dtype)
    adv = clean.clone().requires_grad_()
    value = kl(clean, adv)
    (grad,) = torch.autograd.grad(value.sum(), adv)
    assert not value.any()
    assert not grad.any()


def test_margin_is_the_best_other_logit_less_the_true_one():
    value = margin(torch.tensor([[1.0, 4.0, 2.5], [1.0, 4.0, 2.5]]), torch.tensor([1, 0]))
    assert value.tolist() == [-1.5, 3.0]


def test_margin_is_positive_exactly_where_the_model_is_fooled():
    assert torch.equal(margin(LOGITS, Y) > 0, misclassified(LOGITS, Y))


@pytest.mark.parametrize("loss", [cross_entropy, margin])
def test_a_score_counts_as_two_logits_of_half_its_size(loss):
    scores = LOGITS[:, 0]
    pair = torch.stack([-scores / 2, scores / 2], 1)
    torch.testing.assert_close(loss(scores, SIGNS), loss(pair, (SIGNS + 1) // 2))


def test_kl_of_scores_is_that_of_their_two_logits():
    def two(scores):
        return torch.stack([-scores / 2, scores / 2], 1)

    a, b = LOGITS[:, 0], OTHER[:, 0]
    torch.testing.assert_close(kl(a, b), kl(two(a), two(b)))


def test_a_score_of_zero_counts_as_a_mistake():
    assert misclassified(torch.tensor([0.0, 1.0, -1.0]), torch.tensor([1, 1, 1])).tolist() == [
        1,
        0,
        1,
    ]


def test_cross_entropy_is_minus_the_log_probability_of_the_label():
    p = LOGITS.softmax(1).gather(1, Y[:, None])[:, 0]
    torch.testing.assert_close(cross_entropy(LOGITS, Y), -p.log())
