from __future__ import annotations

import copy
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from robustnb import identity
from robustnb.errors import UsageError
from robustnb.models import (
    MLP,
    BinaryCNN,
    LightCNN,
    Normalize,
    ResNet,
    SmallCNN,
    ThresholdFilter,
    build,
    parameter_count,
    resnet18,
    wide_resnet,
)
from small_inputs import seeded

SMALL = {
    "small_cnn": {},
    "light_cnn": {},
    "mlp": {},
    "binary_cnn": {},
    "resnet18": {},
    "wide_resnet": {"depth": 10, "widen": 1},
}


def batch(name, n=2):
    shape = (3, 32, 32) if name in ("resnet18", "wide_resnet") else (1, 28, 28)
    return torch.rand(n, *shape, generator=seeded())


def same(a, b):
    pairs = zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    return all(torch.equal(p, q) for p, q in pairs)


@pytest.mark.parametrize("name", SMALL)
def test_one_seed_gives_one_network_and_leaves_the_global_generator_alone(name):
    before = torch.get_rng_state()
    a, b, c = (build(name, **SMALL[name], generator=seeded(s)) for s in (1, 1, 2))
    assert same(a, b)
    assert not same(a, c)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("name", SMALL)
def test_every_network_gives_ten_logits_or_one_score(name):
    out = build(name, **SMALL[name], generator=seeded()).eval()(batch(name))
    assert out.shape == ((2,) if name == "binary_cnn" else (2, 10))
    assert bool(out.isfinite().all())


@pytest.mark.parametrize("name", [name for name in SMALL if name != "mlp"])
def test_memory_format_changes_no_result(name):
    x = batch(name)
    a, b = (
        build(name, **SMALL[name], channels_last=flag, generator=seeded()).eval().double()
        for flag in (False, True)
    )
    assert same(a, b)
    torch.testing.assert_close(a(x.double()), b(x.double()))


@pytest.mark.parametrize("name", SMALL)
def test_every_weight_gets_a_gradient(name):
    """No dead layer, such as the unused sub_block1 of the published WideResNet."""
    settings = {"zero_last": False} if name == "small_cnn" else SMALL[name]
    model = build(name, **settings, generator=seeded()).train()
    model(batch(name, 4)).square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in model.parameters())


@pytest.mark.parametrize(
    ("model", "count"),
    [
        (SmallCNN(), 9 * 32 + 32 + 9 * 32 * 32 + 32 + 9 * 32 * 64 + 64 + 9 * 64 * 64 + 64
         + 1024 * 200 + 200 + 200 * 200 + 200 + 200 * 10 + 10),
        (BinaryCNN(), 250 + 10 + 5000 + 20 + 320 * 50 + 50 + 50 + 1),
        (MLP(hidden=()), 7850),
        (resnet18(), 11_173_962),
        (wide_resnet(), 46_160_474),
    ],
    ids=["small", "binary", "linear", "resnet18", "wrn-34-10"],
)  # fmt: skip
def test_the_networks_have_the_papers_sizes(model, count):
    assert parameter_count(model) == count


def test_the_default_initialisation_is_that_of_torch_layers():
    """Same generator stream, same bytes as layers made the ordinary way."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(3)
        plain = nn.Sequential(nn.Linear(784, 5), nn.ReLU(), nn.Linear(5, 10))
    ours = MLP(hidden=(5,), generator=seeded(3))
    assert same(plain, ours)


def test_small_cnn_starts_with_he_convolutions_and_constant_logits():
    model = SmallCNN(generator=seeded())
    spread = float(model.features[5].weight.detach().std()) / (2 / (9 * 32)) ** 0.5
    assert abs(spread - 1) < 0.03
    assert not model.features[5].bias.any()
    assert not model.eval()(batch("small_cnn")).any()
    assert SmallCNN(zero_last=False, generator=seeded()).eval()(batch("small_cnn")).any()


def test_small_cnn_is_the_function_of_the_paper():
    """ReLU before pooling, as published."""
    model = SmallCNN(zero_last=False, generator=seeded()).double().eval()
    convs = [m for m in model.features if isinstance(m, nn.Conv2d)]
    x = batch("small_cnn").double()
    h = x
    for i, conv in enumerate(convs):
        h = F.relu(conv(h))
        h = F.max_pool2d(h, 2) if i % 2 else h
    torch.testing.assert_close(model(x), model.last(model.hidden(h.flatten(1))))


def test_light_cnn_begins_with_an_ordinary_strided_convolution():
    """A 4 x 4 kernel of stride 2 is a 2 x 2 kernel on blocks of 2 x 2 pixels."""
    model = LightCNN(in_channels=3, generator=seeded()).double()
    block = model.features[2]
    kernel = F.pixel_shuffle(block.weight, 2)
    x = torch.rand(2, 3, 28, 28, generator=seeded()).double()
    torch.testing.assert_close(
        model.features[:3](x), F.conv2d(x, kernel, block.bias, stride=2, padding=1)
    )


def test_dropout_is_the_only_randomness():
    model = SmallCNN(zero_last=False, generator=seeded())
    x = batch("small_cnn")
    assert not torch.equal(model.train()(x), model(x))
    assert torch.equal(model.eval()(x), model(x))


def test_normalize_is_per_channel():
    x = torch.rand(2, 2, 3, 3, generator=seeded())
    out = Normalize([0.1, 0.2], [0.5, 2.0])(x)
    torch.testing.assert_close(out[:, 1], (x[:, 1] - 0.2) / 2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Normalize([0.1], [0.0]), "std > 0"),
        (lambda: Normalize([0.1], [1.0])(torch.zeros(1, 3, 2, 2)), r"x must be \(N, 1, H, W\)"),
        (lambda: SmallCNN()(torch.zeros(1, 3, 28, 28)), r"SmallCNN wants \(N, 1, 28, 28\)"),
        (lambda: LightCNN()(torch.zeros(1, 1, 32, 32)), "resize the images"),
        (lambda: MLP()(torch.zeros(1, 1, 3, 3)), "784 numbers per example"),
        (lambda: wide_resnet(depth=12), r"6 n \+ 4"),
    ],
    ids=["std", "channels", "colour", "size", "mlp", "depth"],
)
def test_wrong_shapes_are_refused_with_the_fix(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_misspelt_model_is_answered_with_the_nearest():
    with pytest.raises(UsageError, match="did you mean 'light_cnn'"):
        build("lightcnn")


def test_a_copy_of_a_network_computes_the_same():
    model = resnet18(generator=seeded()).eval()
    x = batch("resnet18")
    assert torch.equal(copy.deepcopy(model)(x), model(x))


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("light_cnn", {"width": np.int64(4), "classes": torch.tensor(3)}),
        ("small_cnn", {"dropout": Fraction(1, 2), "in_channels": np.int8(1)}),
        ("binary_cnn", {"dropout": torch.tensor(0.25)}),
        ("mlp", {"hidden": np.array([8]), "shape": torch.Size([1, 28, 28])}),
        ("wide_resnet", {"depth": np.int64(10), "widen": torch.tensor(1), "in_channels": 1}),
    ],
)
def test_sizes_and_shares_may_be_numbers_of_any_kind(name, settings):
    net = build(name, generator=seeded(), **settings).train()
    plain = {k: v.tolist() if hasattr(v, "tolist") else v for k, v in settings.items()}
    plain = {k: float(v) if isinstance(v, Fraction) else v for k, v in plain.items()}
    assert same(net, build(name, generator=seeded(), **plain))
    assert len(net(torch.rand(2, 1, 28, 28))) == 2
    assert identity.settings(net) == identity.settings(build(name, **plain))


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: build("light_cnn", width=0), "width must be an integer >= 1, got 0"),
        (lambda: build("light_cnn", width="16"), "width must be an integer >= 1, got '16'"),
        (lambda: build("small_cnn", classes=-1), "classes must be an integer >= 1"),
        (lambda: build("small_cnn", in_channels=2.5), "in_channels must be an integer"),
        (lambda: build("small_cnn", dropout=1.5), r"dropout must lie in \[0, 1\]"),
        (lambda: build("binary_cnn", dropout=float("nan")), "dropout must be finite"),
        (lambda: build("small_cnn", dropout=True), "dropout must be a real number, got True"),
        (lambda: build("mlp", hidden=8), r"hidden must be a list of numbers, got 8; write \[8\]"),
        (lambda: build("mlp", hidden=(0,)), "a number in hidden must be an integer >= 1"),
        (lambda: build("mlp", shape=784), r"shape must be a list .* write \[784\]"),
        (lambda: build("wide_resnet", depth=10.0), "depth must be an integer"),
        (lambda: build("wide_resnet", depth=10, widen=0), "widen must be an integer >= 1"),
        (lambda: ResNet(blocks=(1, 1, 1)), "blocks must list four numbers"),
        (lambda: ResNet(blocks=(1, 1, 1, -1)), "a number in blocks must be an integer >= 1"),
        (lambda: ThresholdFilter("x"), "eps must be a real number, got 'x'"),
        (lambda: Normalize(0.5, 0.5), r"mean must be a list of numbers, got 0.5; write \[0.5\]"),
        (lambda: Normalize([float("nan")], [1]), "a mean must be finite"),
        (lambda: Normalize([], []), "mean and std must be as long"),
    ],
)
def test_sizes_and_shares_that_cannot_be_are_refused_in_plain_words(make, why):
    with pytest.raises((TypeError, ValueError), match=why):
        make()
