"""Jacobian-based augmentation, the periodic step, reservoir sampling and the query budget."""

from __future__ import annotations

import itertools
from collections import Counter
from fractions import Fraction

import pytest
import torch
from torch import nn

from robustnb.blackbox import (
    jacobian_augmentation,
    periodic_step,
    query_budget,
    reservoir_sample,
)


def linear(weights):
    net = nn.Linear(weights.shape[1], len(weights), bias=False)
    net.weight.data = weights
    return net


def test_the_step_follows_the_row_of_the_oracles_label():
    net = linear(torch.tensor([[1.0, -2.0], [-3.0, 0.0]]))
    x = torch.tensor([[0.5, 0.5], [0.5, 0.5]])
    new = jacobian_augmentation(net, x, torch.tensor([0, 1]), step=0.1)
    assert torch.allclose(new, torch.tensor([[0.6, 0.4], [0.4, 0.5]]))


def test_it_equals_autograd_one_example_at_a_time():
    draws = torch.Generator().manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))
    x, labels = torch.rand(7, 2, 3, generator=draws), torch.arange(7) % 3
    found = jacobian_augmentation(net, x, labels, step=-0.05, clip=None)
    for one, label, moved in zip(x, labels, found, strict=True):
        jacobian = torch.autograd.functional.jacobian(lambda z: net(z[None])[0], one)
        assert torch.equal(moved, one - 0.05 * jacobian[label].sign())


def test_it_leaves_the_box_only_if_told_and_never_its_inputs():
    net, x = linear(torch.tensor([[1.0], [-1.0]])), torch.tensor([[0.95], [0.05]])
    labels = torch.tensor([0, 1])
    assert jacobian_augmentation(net, x, labels, step=0.1).flatten().tolist() == [1.0, 0.0]
    out = jacobian_augmentation(net, x, labels, step=0.1, clip=None)
    assert torch.allclose(out.flatten(), torch.tensor([1.05, -0.05]))
    assert torch.allclose(x.flatten(), torch.tensor([0.95, 0.05])) and net.weight.grad is None
    assert len(jacobian_augmentation(net, x[:0], labels[:0], step=0.1)) == 0


def test_labels_that_the_substitute_has_no_score_for_are_refused():
    net, x = linear(torch.eye(2)), torch.zeros(1, 2)
    with pytest.raises(ValueError, match="build it with a score for each"):
        jacobian_augmentation(net, x, torch.tensor([2]), step=0.1)
    with pytest.raises(ValueError, match="int64"):
        jacobian_augmentation(net, x, torch.tensor([0.0]), step=0.1)


def test_the_step_changes_sign_after_each_period():
    assert [periodic_step(1.0, r, period=1) for r in range(4)] == [1, -1, 1, -1]
    assert [periodic_step(1.0, r) for r in range(3)] == [1, 1, 1]
    with pytest.raises(ValueError, match="period"):
        periodic_step(1.0, 3, period=0)
    with pytest.raises(ValueError, match="round"):
        periodic_step(1.0, -1, period=2)


def slides(n, size, draw):
    """The slides' Algorithm 1, lines 5 to 11, draws given."""
    kept = list(range(size))
    for i in range(size, n):
        r = draw[i - size]
        if r < size:
            kept[r] = i
    return kept


@pytest.mark.parametrize(("n", "size"), [(4, 1), (5, 2), (6, 3)])
def test_each_index_is_kept_equally_often_over_all_draws(n, size):
    """Every sequence of draws has the same chance, so counting them is exact."""
    kept = Counter()
    total = 0
    for draw in itertools.product(*(range(i + 1) for i in range(size, n))):
        kept.update(slides(n, size, draw))
        total += 1
    assert {Fraction(count, total) for count in kept.values()} == {Fraction(size, n)}
    assert len(kept) == n


def test_the_library_follows_the_slides_draw_by_draw():
    for seed, (n, size) in enumerate([(9, 3), (20, 7), (50, 1)]):
        uniform = torch.rand(
            n - size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
        )
        draw = [int(u * (i + 1)) for u, i in zip(uniform.tolist(), range(size, n), strict=True)]
        found = reservoir_sample(n, size, generator=torch.Generator().manual_seed(seed))
        assert found.tolist() == slides(n, size, draw)


def test_a_reservoir_larger_than_the_stream_holds_it_all():
    assert reservoir_sample(3, 5).tolist() == [0, 1, 2]
    assert reservoir_sample(0, 5).tolist() == reservoir_sample(4, 0).tolist() == []


def test_the_slides_numbers_of_queries():
    found = [query_budget(100, r, doubling=3, size=400) for r in (0, 3, 6, 9)]
    assert found == [100, 800, 2000, 3200]
    assert [query_budget(100, r) for r in (3, 6, 9)] == [800, 6400, 51200]
    assert query_budget(2, 3, doubling=0, size=400) == 16
    with pytest.raises(ValueError, match="go together"):
        query_budget(100, 3, doubling=3)
