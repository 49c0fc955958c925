"""The whole loop against its definition, and the matrix of transfers."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from robustnb.blackbox import (
    Oracle,
    jacobian_augmentation,
    labels_of,
    periodic_step,
    query_budget,
    random_signs,
    train_substitute,
    transfer_matrix,
)

D, CLASSES = 5, 3


def linear(seed):
    net = nn.Linear(D, CLASSES)
    draws = torch.Generator().manual_seed(seed)
    net.weight.data = torch.randn(CLASSES, D, generator=draws)
    net.bias.data = torch.randn(CLASSES, generator=draws) / 4
    return net


def fit(images, labels, round):
    """Softmax regression from zero weights, by Newton-like steps on all examples at once."""
    net = nn.Linear(D, CLASSES)
    nn.init.zeros_(net.weight), nn.init.zeros_(net.bias)
    steps = torch.optim.LBFGS(net.parameters(), max_iter=30, line_search_fn="strong_wolfe")

    def loss():
        steps.zero_grad()
        found = nn.functional.cross_entropy(net(images), labels)
        (found + 1e-3 * net.weight.square().sum()).backward()
        return found

    steps.step(loss)
    return net


def seeds(n=10):
    return torch.rand(n, D, generator=torch.Generator().manual_seed(5))


def test_without_a_reservoir_the_set_doubles_and_each_example_costs_one_query():
    oracle = Oracle(labels_of(linear(0)))
    found = train_substitute(oracle, seeds(), fit=fit, rounds=4, step=0.1, period=2)
    assert found.sizes == tuple(query_budget(10, r) for r in range(5))
    assert oracle.queries == query_budget(10, 4) == len(found.images)
    assert found.labels.tolist() == labels_of(linear(0))(found.images).tolist()


def test_with_a_reservoir_it_adds_as_many_as_asked():
    oracle = Oracle(labels_of(linear(0)))
    found = train_substitute(
        oracle, seeds(), fit=fit, rounds=4, doubling=2, size=12,
        generator=torch.Generator().manual_seed(1),
    )  # fmt: skip
    assert found.sizes == tuple(query_budget(10, r, doubling=2, size=12) for r in range(5))
    assert oracle.queries == 64


def test_the_rounds_are_those_of_equations_4_and_5():
    found = train_substitute(
        labels_of(linear(0)), seeds(), fit=fit, rounds=3, step=0.2, period=1, clip=None
    )
    images, labels = seeds(), labels_of(linear(0))(seeds())
    for round in range(3):
        net = fit(images, labels, round)
        step = periodic_step(0.2, round, period=1)
        new = jacobian_augmentation(net, images, labels, step=step, clip=None)
        images = torch.cat([images, new])
        labels = torch.cat([labels, labels_of(linear(0))(new)])
    assert torch.equal(images, found.images) and torch.equal(labels, found.labels)
    assert len(found.models) == 4


def test_more_queries_agree_more_with_a_linear_oracle():
    answer = labels_of(linear(0))
    held_out = torch.rand(2000, D, generator=torch.Generator().manual_seed(9))
    found = train_substitute(answer, seeds(6), fit=fit, rounds=7, period=1)
    first = labels_of(found.models[0])(held_out) == answer(held_out)
    assert found.agreement(answer, held_out).double().mean() > first.double().mean() + 0.05


def test_bad_parts_are_named():
    answer = labels_of(linear(0))
    with pytest.raises(ValueError, match="at least one example"):
        train_substitute(answer, seeds()[:0], fit=fit, rounds=1)
    with pytest.raises(TypeError, match="trained torch module"):
        train_substitute(answer, seeds(), fit=lambda *_: None, rounds=1)
    with pytest.raises(ValueError, match="go together"):
        train_substitute(answer, seeds(), fit=fit, rounds=1, size=3)


def matrix():
    x = seeds(40)
    y = labels_of(linear(0))(x)
    y[:4] = (y[:4] + 1) % CLASSES  # four that the first target misclassifies when clean
    adversarial = {"signs": random_signs(x, eps=0.3, generator=torch.Generator().manual_seed(3)),
                   "none": x.clone()}  # fmt: skip
    return (
        x,
        y,
        transfer_matrix(adversarial, {"a": labels_of(linear(0)), "b": labels_of(linear(1))}, x, y),
    )


def test_both_readings_of_a_matrix_and_their_difference():
    x, y, found = matrix()
    assert int(found.misclassified("none", "a").sum()) == 4
    assert int(found.changed("none", "a").sum()) == 0
    assert found.success_rate("none", "a").n == 36 and found.success_rate("none", "a").count == 0
    assert found.error_rate("none", "a").n == 40
    moved = labels_of(linear(1))(
        random_signs(x, eps=0.3, generator=torch.Generator().manual_seed(3))
    )
    assert torch.equal(found.changed("signs", "b"), moved != labels_of(linear(1))(x))
    assert torch.equal(found.misclassified("signs", "b"), moved != y)
    assert found.size["none"] == (0.0, 0.0) and found.size["signs"][1] <= 0.3 + 1e-6


def test_every_target_is_asked_once_about_every_set():
    x, y, asked = seeds(4), torch.zeros(4, dtype=torch.int64), []

    def answer(images):
        asked.append(len(images))
        return torch.zeros(len(images), dtype=torch.int64)

    transfer_matrix({"s": x, "t": x}, {"a": answer}, x, y)
    assert asked == [4, 4, 4]


def test_a_vote_is_the_majority_of_the_answers_that_are_there():
    _, _, found = matrix()
    voted = found.with_vote("vote", ["a", "b", "b"], classes=CLASSES)
    assert torch.equal(voted.misclassified("signs", "vote"), found.misclassified("signs", "b"))
    assert torch.equal(voted.changed("signs", "vote"), found.changed("signs", "b"))
    with pytest.raises(ValueError, match="no pair 'signs', 'c'"):
        found.with_vote("vote", ["c"], classes=CLASSES)


def test_a_matrix_names_what_is_wrong():
    x, y, found = matrix()
    with pytest.raises(ValueError, match="no pair 'c', 'a'"):
        found.misclassified("c", "a")
    with pytest.raises(ValueError, match="craft them all from the same x"):
        transfer_matrix({"s": x[:3]}, {"a": labels_of(linear(0))}, x, y)
    with pytest.raises(ValueError, match="at least one model"):
        transfer_matrix({}, {"a": labels_of(linear(0))}, x, y)


def test_random_signs_have_their_size_and_stay_in_the_box():
    x = torch.full((2000, 4), 0.5)
    moved = random_signs(x, eps=0.25, generator=torch.Generator().manual_seed(0)) - x
    assert set(moved.flatten().tolist()) == {-0.25, 0.25}
    assert abs(float(moved.mean())) < 4 * 0.25 / 8000**0.5
    assert float(random_signs(torch.ones(3, 2), eps=0.5).max()) == 1.0
