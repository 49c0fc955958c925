"""Oracles answer with labels, count, and refuse what is over the budget."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier
from torch import nn

from robustnb.blackbox import Oracle, QueryBudgetError, labels_of, majority_vote


def by_first(x):
    return (x[:, 0] > 0.5).long()


def test_every_example_is_one_query_and_none_is_asked_twice_in_a_call():
    asked = []

    def answer(x):
        asked.append(len(x))
        return by_first(x)

    oracle = Oracle(answer, batch_size=4)
    x = torch.rand(10, 3, generator=torch.Generator().manual_seed(0))
    assert oracle(x).tolist() == by_first(x).tolist()
    assert (oracle.queries, asked) == (10, [4, 4, 2])


def test_a_budget_is_kept_before_anything_is_asked():
    asked = []
    oracle = Oracle(lambda x: asked.append(len(x)) or by_first(x), budget=5)
    oracle(torch.zeros(3, 2))
    with pytest.raises(QueryBudgetError, match="3 more queries after 3 exceed the budget of 5"):
        oracle(torch.zeros(3, 2))
    assert (oracle.queries, asked) == (3, [3])
    assert len(oracle(torch.zeros(2, 2))) == 2
    assert len(oracle(torch.zeros(0, 2))) == 0


def test_queries_that_failed_are_not_counted_and_those_before_are():
    def answer(x):
        if float(x.max()) > 1:
            raise RuntimeError("down")
        return by_first(x)

    oracle = Oracle(answer, batch_size=2)
    with pytest.raises(RuntimeError, match="down"):
        oracle(torch.tensor([[0.0], [1.0], [2.0], [0.0]]))
    assert oracle.queries == 2


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (lambda x: x[:, :1], TypeError, "integer labels, got torch.float32"),
        (lambda x: torch.zeros(len(x), 2, dtype=torch.int64), ValueError, r"labels \(3,\)"),
        (lambda x: torch.zeros(2, dtype=torch.int64), ValueError, r"labels \(3,\), got \(2,\)"),
    ],
)
def test_what_is_no_label_is_refused(answer, error, words):
    with pytest.raises(error, match=words):
        Oracle(answer)(torch.zeros(3, 2))


def test_a_model_itself_is_no_oracle():
    with pytest.raises(TypeError, match="labels_of"):
        Oracle(nn.Linear(2, 2))
    with pytest.raises(TypeError, match="predict"):
        labels_of(object())


def test_an_oracle_that_works_in_place_changes_nothing():
    x = torch.full((2, 3), 0.7)
    Oracle(lambda part: by_first(part.sub_(0.5)))(x)
    assert bool((x == 0.7).all())


def test_labels_of_a_module_and_of_a_classifier():
    net = nn.Sequential(nn.Flatten(), nn.Dropout(0.9), nn.Linear(4, 3))
    x = torch.rand(25, 2, 2, generator=torch.Generator().manual_seed(1))
    found = labels_of(net, batch_size=7)(x)
    assert found.tolist() == net.eval()(x).argmax(1).tolist()
    near = KNeighborsClassifier(1).fit(x.flatten(1).numpy(), np.arange(25) % 3)
    assert labels_of(near)(x).tolist() == (torch.arange(25) % 3).tolist()
    assert len(labels_of(near)(x[:0])) == len(labels_of(net)(x[:0])) == 0


def test_the_majority_wins_and_the_smallest_of_equals():
    voters = [lambda x, k=k: torch.full((len(x),), k) for k in (2, 1, 1, 2, 0)]
    assert majority_vote(voters, classes=3)(torch.zeros(2, 1)).tolist() == [1, 1]
    assert majority_vote(voters[:1], classes=3)(torch.zeros(1, 1)).tolist() == [2]
    with pytest.raises(ValueError, match="at least one"):
        majority_vote([], classes=3)
