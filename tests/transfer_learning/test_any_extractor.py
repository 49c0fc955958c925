"""Extractors that give no features are refused in one way, and cached features know their own."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from robustnb.transfer_learning import (
    PartlyTrained,
    TransferNet,
    blocks,
    cache_features,
    feature_shift,
    head_norms,
    largest_shift,
    margin_bound,
    split,
    without_forgetting_loss,
)
from small_inputs import linear_case, seeded

NET, X, Y = linear_case()
HEAD = nn.Linear(3, 3)
BALL = {"eps": 0.1, "step": 0.1, "steps": 1, "generator": seeded()}
WAYS = [
    lambda model: cache_features(model, X),
    lambda model: feature_shift(model, X, X),
    lambda model: largest_shift(model, X, **BALL),
]


class Gives(nn.Module):
    """A module that answers as a function does."""

    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def forward(self, x):
        return self.answer(x)


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        (lambda x: (NET(x),), TypeError, "got a tuple"),
        (lambda x: {"z": NET(x)}, TypeError, r"a dict with the keys \['z'\]"),
        (lambda x: NET(x) / 0, ValueError, "NaN or infinite features"),
        (lambda x: x, ValueError, "flatten its output"),
        (lambda x: NET(x).long(), TypeError, "float features"),
    ],
)
def test_what_is_no_features_is_refused_everywhere(answer, error, message):
    for way in WAYS:
        with pytest.raises(error, match=message):
            way(Gives(answer))
    if "NaN" not in message:
        with pytest.raises(error, match=message):
            TransferNet(Gives(answer), HEAD)(X)


def test_an_extractor_that_counts_its_calls_is_still_the_same():
    class Counts(nn.Module):
        def __init__(self, scale):
            super().__init__()
            self.layer, self.scale, self.calls = nn.Linear(9, 2), scale, 0

        def forward(self, x):
            self.calls += 1
            return self.scale * self.layer(x.flatten(1))

    extractor = Counts(1.0)
    cached = cache_features(extractor, X, batch_size=5)
    extractor(X)
    assert torch.equal(cached.of(extractor.train()), cached.features)
    extractor.scale = 2.0
    with pytest.raises(ValueError, match="other weights or settings"):
        cached.of(extractor)


def test_labels_without_a_class_are_refused():
    z = torch.rand(12, 3, generator=seeded())
    for wrong in (Y - 1, torch.full_like(Y, -100), Y + 3):
        with pytest.raises(ValueError, match=r"y must be in 0\.\.2"):
            head_norms(HEAD, wrong)
        with pytest.raises(ValueError, match=r"y must be in 0\.\.2"):
            margin_bound(HEAD, z, wrong, 0.1)
    with pytest.raises(ValueError, match="shift must be >= 0"):
        margin_bound(HEAD, z, Y, float("nan"))
    own = TransferNet(nn.Flatten(), nn.Linear(9, 3))
    with pytest.raises(ValueError, match=r"y must be in 0\.\.2"):
        without_forgetting_loss(own, X, torch.full_like(Y, -100), source=nn.Flatten(), weight=1)


def test_images_of_two_shapes_have_no_shift():
    with pytest.raises(ValueError, match="x_adv must be like x"):
        feature_shift(NET, X, X[:1])


def test_a_compiled_module_shows_no_layers():
    script = torch.jit.script(NET)
    for way in (lambda m: blocks(m, X), split, lambda m: PartlyTrained(m, [])):
        with pytest.raises(TypeError, match=r"compiled by torch\.jit"):
            way(script)
        with pytest.raises(TypeError, match="needs a torch module, got function"):
            way(lambda x: x)
    with pytest.raises(ValueError, match="trained must be a list of names"):
        PartlyTrained(nn.Sequential(NET), ["7"])
    with pytest.raises(TypeError, match=r"the model is torch\.float64"):
        blocks(nn.Linear(9, 2).double(), X.flatten(1))
