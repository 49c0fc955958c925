from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from robustnb.models import MLP, LightCNN
from robustnb.transfer_learning import (
    feature_shift,
    head_norms,
    largest_shift,
    linear_head,
    margin_bound,
    split,
)


def draws(seed=0):
    return torch.Generator().manual_seed(seed)


def case(count=5, features=4, classes=3):
    head = linear_head(features, classes, generator=draws()).double()
    z = torch.randn(count, features, generator=draws(1)).double()
    return head, z, torch.arange(count) % classes


def margins(head, z, y):
    logits = head(z)
    others = logits.scatter(1, y[:, None], -math.inf).amax(1)
    return logits.gather(1, y[:, None])[:, 0] - others


def test_norms_of_the_head_by_loops():
    head, _, y = case()
    for p, q in ((1, math.inf), (2, 2), (math.inf, 1), (3, 1.5)):
        found = head_norms(head, y, p=p)
        for row, label in zip(found, y, strict=True):
            for j, value in enumerate(row):
                gap = head.weight[label] - head.weight[j]
                torch.testing.assert_close(value, torch.linalg.vector_norm(gap, ord=q))


def test_without_a_shift_the_bound_is_the_margin():
    head, z, y = case()
    torch.testing.assert_close(margin_bound(head, z, y, 0.0), margins(head, z, y))


@pytest.mark.parametrize("p", [1.0, 2.0, math.inf])
def test_no_shift_of_that_length_does_worse_and_one_does_as_badly(p):
    head, z, y = case()
    shift = 0.7
    bound = margin_bound(head, z, y, shift, p=p)
    for seed in range(200):
        away = torch.randn(z.shape, generator=draws(seed)).double()
        away = shift * away / torch.linalg.vector_norm(away, ord=p, dim=1, keepdim=True)
        assert bool((margins(head, z + away, y) >= bound - 1e-12).all())
    least = torch.full_like(bound, math.inf)
    for j in range(3):  # the worst direction against each class
        gap = head.weight[j] - head.weight[y]
        worst = {1.0: nn.functional.one_hot(gap.abs().argmax(1), 4) * gap.sign(),
                 2.0: gap / gap.norm(dim=1, keepdim=True).clamp_min(1e-300),
                 math.inf: gap.sign()}[p]  # fmt: skip
        here = margins(head, z + shift * worst, y)
        least = torch.where(y == j, least, torch.minimum(least, here))
    torch.testing.assert_close(least, bound)


def test_each_image_may_have_a_shift_of_its_own():
    head, z, y = case()
    shifts = torch.arange(5.0).double()
    found = margin_bound(head, z, y, shifts)
    for k in range(5):
        rows = slice(k, k + 1)
        torch.testing.assert_close(found[rows], margin_bound(head, z[rows], y[rows], float(k)))


def test_the_bound_holds_for_a_network_at_the_shift_that_its_attack_makes():
    extractor, head = split(LightCNN(generator=draws()))
    x, y = torch.rand(5, 1, 28, 28, generator=draws(1)), torch.arange(5)
    x_adv = (x + 0.1 * torch.randn(x.shape, generator=draws(2)).sign()).clamp(0, 1)
    shift = feature_shift(extractor, x, x_adv)
    after = margins(head, extractor(x_adv), y)
    assert bool((after >= margin_bound(head, extractor(x), y, shift) - 1e-6).all())


def test_the_largest_shift_of_a_linear_extractor_is_its_closed_form():
    extractor, _ = split(MLP(shape=(6,), hidden=(1,), classes=2, generator=draws()))
    extractor.layers = nn.Sequential(extractor.layers[0])  # without its ReLU
    extractor = extractor.double()
    x = 0.5 * torch.ones(3, 6).double()
    found = largest_shift(extractor, x, eps=0.2, step=0.1, steps=10, generator=draws())
    expected = 0.2 * extractor.layers[0].weight.abs().sum()
    torch.testing.assert_close(found, expected.expand(3))


def test_more_steps_find_no_less_and_the_mode_is_restored():
    extractor, _ = split(LightCNN(generator=draws()).train())
    x = torch.rand(4, 1, 28, 28, generator=draws(1))
    few, many = (largest_shift(extractor, x, eps=0.1, step=0.02, steps=steps, generator=draws())
                 for steps in (1, 10))  # fmt: skip
    assert bool((many >= few - 1e-6).all()) and extractor.training
    assert not any(w.grad is not None for w in extractor.parameters())


def test_bad_input_is_refused():
    head, z, y = case()
    with pytest.raises(ValueError, match="shift"):
        margin_bound(head, z, y, -1.0)
    with pytest.raises(ValueError, match="shift"):
        margin_bound(head, z, y, torch.ones(2).double())
    with pytest.raises(ValueError, match="norm"):
        head_norms(head, y, p=0.5)
