from __future__ import annotations

import json

import pytest
import torch
from torch.nn import functional as F

from robustnb.identity import describe
from robustnb.models import LightCNN, SmallCNN
from robustnb.training import fit, standard
from robustnb.transfer_learning import (
    TransferNet,
    feature_distance,
    linear_head,
    split,
    without_forgetting,
)


def draws(seed=0):
    return torch.Generator().manual_seed(seed)


def example():
    x, y = torch.rand(6, 1, 28, 28, generator=draws(1)).double(), torch.arange(6) % 3
    source, _ = split(LightCNN(generator=draws()).double())
    student, _ = split(LightCNN(generator=draws(2)).double())
    head = linear_head(64, 3, generator=draws(3)).double()
    return x, y, source, TransferNet(student, head, frozen=False)


def test_distances_by_hand():
    z, z_0 = torch.tensor([[3.0, -4.0], [0.0, 1.0]]), torch.zeros(2, 2)
    assert feature_distance(z, z_0, "l1") == (7 + 1) / 2
    assert feature_distance(z, z_0, "l2") == (5 + 1) / 2
    assert feature_distance(z, z_0, "squared_l2") == (25 + 1) / 2


@pytest.mark.parametrize("distance", ["l1", "l2", "squared_l2"])
def test_the_loss_is_the_formula_image_by_image(distance):
    x, y, source, net = example()
    weight, total = 0.3, 0.0
    for image, label in zip(x, y, strict=True):
        z, z_0 = net.extractor(image[None])[0], source(image[None])[0]
        gap = z - z_0
        d = {"l1": gap.abs().sum(), "l2": gap.norm(), "squared_l2": (gap**2).sum()}[distance]
        total += -F.log_softmax(net.head(z), 0)[label] + weight * d
    loss = without_forgetting(source, weight=weight, distance=distance)(net, x, y, None)
    torch.testing.assert_close(loss, total / len(y))


def test_weight_zero_is_naive_fine_tuning_and_equal_features_cost_nothing():
    x, y, source, net = example()
    torch.testing.assert_close(without_forgetting(source, weight=0)(net, x, y, None),
                               standard()(net, x, y))  # fmt: skip
    own = without_forgetting(net.extractor, weight=5.0, distance="l2")
    torch.testing.assert_close(own(net, x, y, None), standard()(net, x, y))
    own(net, x, y, None).backward()
    assert all(bool(w.grad.isfinite().all()) for w in net.parameters())


def test_the_source_is_a_copy_in_evaluation_mode_that_no_training_moves():
    source, _ = split(SmallCNN(generator=draws()))
    head = linear_head(200, 3, generator=draws())
    net = TransferNet(source, head, frozen=False)
    objective = without_forgetting(source.train(), weight=0.1)
    kept = {name: w.clone() for name, w in source.named_parameters()}
    x, y = torch.rand(6, 1, 28, 28, generator=draws()), torch.arange(6) % 3
    assert torch.equal(objective(net, x, y, None), objective(net, x, y, None))
    fit(net, x, y, objective=objective, epochs=1, batch_size=3, lr=0.1, generator=draws())
    assert source.training and all(torch.equal(w, kept[n]) for n, w in source.named_parameters())
    assert all(w.requires_grad and w.grad is None for w in source.parameters())


def test_a_large_weight_holds_the_features():
    x, y, source, _ = example()
    head = linear_head(64, 3, generator=draws(3)).double()

    def moved(weight):
        net = TransferNet(source, head, frozen=False)
        fit(net, x, y, objective=without_forgetting(source, weight=weight), epochs=20,
            batch_size=3, lr=0.01, momentum=0.0, generator=draws())  # fmt: skip
        with torch.no_grad():
            return float(feature_distance(net.extractor(x), source(x)))

    assert moved(0.1) < 0.5 * moved(0.0)


def test_what_cannot_be_distilled_is_refused():
    x, y, source, net = example()
    with pytest.raises(TypeError, match="TransferNet"):
        without_forgetting(source, weight=1.0)(LightCNN().double(), x, y, None)
    with pytest.raises(ValueError, match="weight"):
        without_forgetting(source, weight=-1.0)
    with pytest.raises(ValueError, match="distance"):
        without_forgetting(source, weight=1.0, distance="cosine")
    other, _ = split(LightCNN(width=4, generator=draws()).double())
    wide = torch.nn.Sequential(other, torch.nn.Linear(64, 5).double())
    with pytest.raises(ValueError, match="architecture"):
        without_forgetting(wide, weight=1.0)(net, x, y, None)


def test_the_store_of_models_tells_sources_weights_and_distances_apart():
    sources = [split(LightCNN(generator=draws(seed)))[0] for seed in (0, 1)]
    told = {
        json.dumps(describe(without_forgetting(source, weight=weight, distance=distance)))
        for source in sources for weight in (0.1, 0.2) for distance in ("l1", "l2")
    }  # fmt: skip
    again = describe(without_forgetting(sources[0], weight=0.1, distance="l1"))
    assert len(told) == 8 and json.dumps(again) in told
