"""No oracle, substitute or store changes an input, takes another's answers, or hides a fault."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest
import torch
from sklearn.tree import DecisionTreeClassifier
from torch import nn

from robustnb.blackbox import (
    Adapter,
    LocalService,
    RemoteOracle,
    ServiceLimits,
    Substitute,
    jacobian_augmentation,
    labels_of,
    majority_vote,
    random_signs,
    train_substitute,
    transfer_matrix,
)
from small_inputs import linear_case, seeded

NET, X, Y = linear_case()
ANSWER = labels_of(NET)
CLASSES = torch.arange(12) % 3


def in_place(x):
    """The labels of the network, from images that it spoils."""
    found = ANSWER(x)
    x.zero_()
    return found


def fit(images, labels, round):
    return NET


def test_an_oracle_that_works_in_place_spoils_no_image():
    x = X.clone()
    found = train_substitute(in_place, x, fit=fit, rounds=1)
    expected = train_substitute(ANSWER, X, fit=fit, rounds=1)
    assert torch.equal(x, X) and torch.equal(found.images, expected.images)
    assert torch.equal(found.labels, expected.labels)
    assert torch.equal(majority_vote([in_place, ANSWER, ANSWER], classes=3)(x), Y)
    assert Substitute(x, Y, (NET,), (len(x),)).agreement(in_place, x).all()
    assert torch.equal(x, X)


def test_settings_of_a_substitute_are_refused_before_anything_is_asked():
    def nobody(x):
        raise AssertionError("asked")

    for wrong in ({"step": float("nan")}, {"period": 0}, {"clip": (1, 0)}, {"seeds": X * 255}):
        seeds = wrong.pop("seeds", X)
        with pytest.raises((TypeError, ValueError), match="must be"):
            train_substitute(nobody, seeds, fit=fit, rounds=1, **wrong)


def test_a_gradient_that_is_not_finite_moves_nothing():
    def root(x):
        flat = x.flatten(1)
        return torch.stack([flat[:, 0].sqrt(), 1 + flat[:, 1]], 1)

    x = torch.zeros(2, 1, 1, 2)
    moved = jacobian_augmentation(root, x, torch.tensor([0, 1]), step=0.5)
    assert moved[0].flatten().tolist() == [0, 0] and moved[1].flatten().tolist() == [0, 0.5]


def test_what_has_no_gradient_is_told_with_the_cause():
    with pytest.raises(ValueError, match="detaches"):
        jacobian_augmentation(lambda x: NET(x.detach()), X, Y, step=0.1)
    with torch.inference_mode(), pytest.raises(RuntimeError, match="inference_mode"):
        jacobian_augmentation(NET, X, Y, step=0.1)
    with torch.inference_mode():
        x, y = X.clone(), Y.clone()
    expected = jacobian_augmentation(NET, X, Y, step=0.1)
    assert torch.equal(jacobian_augmentation(NET, x, y, step=0.1), expected)
    assert not jacobian_augmentation(NET, X.clone().requires_grad_(), Y, step=0.1).requires_grad


def test_nan_scores_are_no_label():
    with pytest.raises(ValueError, match="NaN"):
        labels_of(nn.Sequential(NET, nn.Threshold(-100, 0), nn.LogSigmoid()).double())(
            X.double() / 0
        )
    with pytest.raises(TypeError, match=r"the model is torch\.float64 and x is torch\.float32"):
        labels_of(nn.Linear(9, 3).double())(X.flatten(1))


def test_labels_that_are_no_numbers_are_told_of():
    tree = DecisionTreeClassifier(random_state=0).fit(X.flatten(1), np.array(list("abc"))[Y])
    with pytest.raises(TypeError, match="integer labels"):
        labels_of(tree)(X)
    with pytest.raises(TypeError, match="is the class DecisionTreeClassifier"):
        labels_of(DecisionTreeClassifier)
    with pytest.raises(ValueError, match=r"votes must be labels 0\.\.1, got -1\.\.1"):
        majority_vote([lambda x: 1 - 2 * (Y > 0).long()], classes=2)(X)
    with pytest.raises(TypeError, match=r"y\.long\(\)"):
        transfer_matrix({"a": X}, {"b": ANSWER}, X, Y.double())


def test_random_signs_of_bytes_are_refused():
    with pytest.raises(TypeError, match="to_unit"):
        random_signs((X * 255).to(torch.uint8), eps=0.1, generator=seeded())


def test_limits_are_plain_numbers():
    limits = ServiceLimits(features=np.int64(3), most=torch.tensor(2), rate=np.float32(0.5))
    assert json.loads(json.dumps(asdict(limits)))["most"] == 2


def test_another_model_on_the_same_port_is_another_service():
    limits = ServiceLimits(features=9)
    trees = [
        DecisionTreeClassifier(random_state=0).fit(X.flatten(1), y) for y in (CLASSES, 2 - CLASSES)
    ]
    paths = []
    for tree in trees:
        with LocalService(tree, limits) as service:
            paths.append(service.url.partition("//")[2].partition("/")[2])
            oracle = RemoteOracle(service.url)
            assert oracle(X).tolist() == tree.predict(X.flatten(1)).tolist()
            oracle.close()
    assert paths[0] != paths[1]


def test_answers_read_by_another_adapter_are_not_taken_for_ones_own(tmp_path):
    limits = ServiceLimits(features=9)
    tree = DecisionTreeClassifier(random_state=0).fit(X.flatten(1), CLASSES)
    with LocalService(tree, limits) as service:
        plain = RemoteOracle(service.url, cache=tmp_path / "answers")
        turned = RemoteOracle(
            service.url, cache=tmp_path / "answers",
            adapter=Adapter(response=lambda body: [2 - label for label in body["labels"]]),
        )  # fmt: skip
        assert torch.equal(plain(X), CLASSES) and torch.equal(turned(X), 2 - CLASSES)
        with_key = RemoteOracle(
            service.url, cache=tmp_path / "answers", adapter=Adapter(headers={"key": "other"})
        )
        assert torch.equal(with_key(X), CLASSES) and with_key.queries == 0
        for oracle in (plain, turned, with_key):
            oracle.close()
