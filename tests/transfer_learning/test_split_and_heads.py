from __future__ import annotations

import pytest
import torch
from torch import nn

from robustnb.features import penultimate
from robustnb.models import MLP, LightCNN, SmallCNN, TanhCNN, resnet18
from robustnb.models.resnets import wide_resnet
from robustnb.training import fit, standard
from robustnb.transfer_learning import (
    TransferNet,
    cache_features,
    linear_head,
    mlp_head,
    split,
)


def draws(seed=0):
    return torch.Generator().manual_seed(seed)


NETS = {
    "light": lambda: LightCNN(generator=draws()),
    "small": lambda: SmallCNN(generator=draws(), zero_last=False),
    "tanh": lambda: TanhCNN(generator=draws()),
    "mlp": lambda: MLP(hidden=(20, 10), generator=draws()),
    "linear": lambda: MLP(hidden=(), generator=draws()),
    "resnet18": lambda: resnet18(in_channels=1, generator=draws()),
    "wide": lambda: wide_resnet(depth=10, widen=1, in_channels=1, generator=draws()),
}


def images(count=6, seed=1):
    return torch.rand(count, 1, 28, 28, generator=draws(seed))


def normed():
    """A small network with batch norm and dropout, which depend on the mode."""
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3, 2), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(0.3),
        nn.Linear(4 * 169, 8), nn.ReLU(), nn.Linear(8, 3),
    )  # fmt: skip
    for layer in net:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.normal_(layer.weight, std=0.1, generator=draws(2))
            nn.init.zeros_(layer.bias)
    return net


@pytest.mark.parametrize("name", NETS)
def test_head_after_extractor_is_the_model(name):
    net, x = NETS[name]().eval(), images()
    extractor, head = split(net)
    assert torch.equal(extractor(x), penultimate(net)(x))
    assert torch.equal(head(extractor(x)), net(x))
    assert torch.equal(TransferNet(extractor, head).eval()(x), net(x))


def test_a_network_with_a_stack_as_classifier_is_cut_at_its_last_layer():
    net = normed().eval()
    extractor, head = split(net)
    assert (head.in_features, extractor(images()).shape) == (8, (6, 8))


def test_split_shares_nothing_with_the_model():
    net, x = NETS["light"](), images()
    before = net(x)
    extractor, head = split(net)
    with torch.no_grad():
        for weight in [*extractor.parameters(), *head.parameters()]:
            weight.zero_()
    assert torch.equal(net(x), before)


@pytest.mark.parametrize("net", [nn.Flatten(), nn.Linear(4, 2), nn.Conv2d(1, 1, 3)])
def test_what_has_no_inner_linear_layer_cannot_be_split(net):
    with pytest.raises(ValueError, match="TransferNet"):
        split(net)


def train(net, x, y, **settings):
    given = {"epochs": 2, "batch_size": 3, "lr": 0.1, "objective": standard()}
    fit(net, x, y, generator=draws(5), **{**given, **settings})
    return net.eval()


def state(net):
    return {name: value.clone() for name, value in net.state_dict().items()}


def test_a_frozen_extractor_does_not_move_in_training_nor_its_statistics():
    extractor, _ = split(normed())
    net = TransferNet(extractor, linear_head(8, 3, generator=draws()))
    before = state(net)
    train(net, images(), torch.arange(6) % 3)
    after = net.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {"head.weight", "head.bias"}


def test_statistics_of_the_batch_move_a_frozen_extractor():
    extractor, _ = split(normed())
    head = linear_head(8, 3, generator=draws())
    net = TransferNet(extractor, head, statistics="batch")
    before = state(net)
    train(net, images(), torch.arange(6) % 3)
    moved = {n for n, v in net.state_dict().items() if not torch.equal(before[n], v)}
    assert "extractor.1.running_mean" in moved and "extractor.1.weight" not in moved


def test_an_unfrozen_one_trains_all_weights_with_the_sources_statistics():
    extractor, _ = split(normed())
    net = TransferNet(extractor, linear_head(8, 3, generator=draws())).unfrozen()
    before = state(net)
    train(net, images(), torch.arange(6) % 3)
    moved = {n for n, v in net.state_dict().items() if not torch.equal(before[n], v)}
    assert moved == {name for name, _ in net.named_parameters()}
    assert not net.extractor.training
    net.train()
    assert not net.extractor.training and net.head.training


def test_gradients_towards_images_pass_a_frozen_extractor():
    extractor, head = split(NETS["light"]())
    x = images().requires_grad_()
    TransferNet(extractor, head)(x).sum().backward()
    assert float(x.grad.abs().max()) > 0


def test_a_head_on_cached_features_is_the_head_trained_batch_by_batch():
    extractor, _ = split(normed().double())
    x, y = images().double(), torch.arange(6) % 3
    head = linear_head(8, 3, generator=draws()).double()
    batchwise = train(TransferNet(extractor, head), x, y).head
    train(head, cache_features(extractor, x, batch_size=4).of(extractor), y, inputs="features")
    torch.testing.assert_close(head.weight, batchwise.weight, rtol=1e-12, atol=1e-14)


def test_cached_features_of_another_extractor_are_refused():
    extractor, _ = split(NETS["light"]())
    cached = cache_features(extractor, images())
    assert torch.equal(cached.of(extractor), cached.features)
    with torch.no_grad():
        next(extractor.parameters()).add_(0.01)
    with pytest.raises(ValueError, match="cache_features"):
        cached.of(extractor)


def test_features_beyond_one_are_refused_as_images():
    head = linear_head(8, 3, generator=draws())
    z, y = 5 * torch.rand(6, 8), torch.arange(6) % 3
    with pytest.raises(ValueError, match="0, 1"):
        train(head, z, y)
    with pytest.raises(ValueError, match="NaN"):
        train(head, z / 0, y, inputs="features")
    with pytest.raises(ValueError, match="features"):
        train(head, z, y, inputs="feature")


def test_an_extractor_without_rows_of_features_is_refused():
    net = TransferNet(nn.Conv2d(1, 2, 3), linear_head(8, 3))
    with pytest.raises(ValueError, match="flatten"):
        net(images())
    with pytest.raises(ValueError, match="statistics"):
        TransferNet(nn.Flatten(), linear_head(8, 3), statistics="moving")


def test_heads_have_the_layers_asked_for_and_draw_from_the_generator():
    head = mlp_head(8, 3, hidden=(5, 4), dropout=0.2, batch_norm=True, generator=draws())
    kinds = [type(layer).__name__ for layer in head]
    inner = ["BatchNorm1d", "ReLU", "Dropout"]
    assert kinds == ["Linear", *inner, "Linear", *inner, "Linear"]
    again = mlp_head(8, 3, hidden=(5, 4), dropout=0.2, batch_norm=True, generator=draws())
    assert all(torch.equal(a, b) for a, b in zip(head.parameters(), again.parameters(),
                                                 strict=True))  # fmt: skip
    assert torch.equal(head[1].running_var, torch.ones(5))
    plain = mlp_head(8, 3, hidden=(5,), generator=draws())
    assert [type(layer).__name__ for layer in plain] == ["Linear", "ReLU", "Linear"]
    state = torch.get_rng_state()
    linear_head(4, 2, generator=draws())
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    "call",
    [lambda: linear_head(0, 3), lambda: mlp_head(8, 3, hidden=()),
     lambda: mlp_head(8, 3, dropout=1.5), lambda: mlp_head(8, 0)],
)  # fmt: skip
def test_heads_of_no_size_are_refused(call):
    with pytest.raises(ValueError):
        call()
