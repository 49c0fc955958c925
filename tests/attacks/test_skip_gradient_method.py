from __future__ import annotations

import itertools
import math

import pytest
import torch
import torchvision
from torch import nn

from robustnb.attacks import pgd, scale_gradient, skip_gradient, skip_junctions
from robustnb.errors import UsageError
from robustnb.models import (
    MLP,
    DenseNet,
    LightCNN,
    efficientnet_lite0,
    efficientnet_lite1,
    resnet18,
    wide_resnet,
)
from small_inputs import seeded

# identity junctions: all blocks but those that change size or width
TORCHVISION = {
    "resnet18": 5, "resnet34": 13, "resnet50": 12, "resnet101": 29, "resnet152": 46,
    "densenet121": 58, "densenet169": 82, "densenet201": 98, "efficientnet_b0": 9,
}  # fmt: skip


class Chain(nn.Module):
    """z + A z for each matrix A, float64."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        draws = torch.randn(depth, 3, 3, generator=seeded(1), dtype=torch.float64)
        self.matrices = nn.ParameterList(draws.unbind())

    def forward(self, x):
        for matrix in self.matrices:
            x = x + x @ matrix.T
        return x


def jacobian(model, x):
    return torch.autograd.functional.jacobian(lambda at: model(at[None])[0], x)


def decayed(net, x, gamma):
    """The gradient of the sum of logits by hand: stop-gradient sums in every identity block."""
    net = net.eval()

    def mix(f):
        return gamma * f + (1 - gamma) * f.detach()

    def basic(block, x):
        out = block.bn2(block.conv2(block.relu(block.bn1(block.conv1(x)))))
        return join(block, x, out)

    def bottleneck(block, x):
        out = block.relu(block.bn1(block.conv1(x)))
        out = block.relu(block.bn2(block.conv2(out)))
        return join(block, x, block.bn3(block.conv3(out)))

    def join(block, x, out):
        if block.downsample is not None:
            return torch.relu(out + block.downsample(x))
        return torch.relu(mix(out) + x)

    leaf = x.clone().requires_grad_()
    z = net.maxpool(net.relu(net.bn1(net.conv1(leaf))))
    for stage in (net.layer1, net.layer2, net.layer3, net.layer4):
        for block in stage:
            z = (bottleneck if hasattr(block, "conv3") else basic)(block, z)
    total = net.fc(torch.flatten(net.avgpool(z), 1)).sum()
    return torch.autograd.grad(total, leaf)[0]


def decayed_dense(net, x, gamma):
    """As `decayed`, for torchvision's dense networks."""
    net, leaf = net.eval(), x.clone().requires_grad_()
    z = leaf
    for name, part in net.features.named_children():
        if name.startswith("denseblock"):
            for layer in part.values():
                f = layer.conv1(torch.relu(layer.norm1(z)))
                f = layer.conv2(torch.relu(layer.norm2(f)))
                z = torch.cat([z, gamma * f + (1 - gamma) * f.detach()], 1)
        else:
            z = part(z)
    z = torch.flatten(nn.functional.adaptive_avg_pool2d(torch.relu(z), 1), 1)
    return torch.autograd.grad(net.classifier(z).sum(), leaf)[0]


@pytest.mark.parametrize("gamma", [0.0, 0.3, 1.0])
def test_a_chain_has_the_product_and_the_sum_over_paths(gamma):
    net, eye = Chain(4), torch.eye(3, dtype=torch.float64)
    x = torch.rand(3, generator=seeded(), dtype=torch.float64)
    matrices = [m.detach() for m in net.matrices]
    product = eye
    for matrix in matrices:
        product = (eye + gamma * matrix) @ product
    paths = torch.zeros(3, 3, dtype=torch.float64)
    for taken in itertools.product((False, True), repeat=4):
        way = eye
        for matrix, through in zip(matrices, taken, strict=True):
            way = matrix @ way if through else way
        paths += gamma ** sum(taken) * way
    found = jacobian(skip_gradient(net, gamma), x)
    torch.testing.assert_close(found, product, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found, paths, rtol=1e-12, atol=1e-12)


def test_each_junction_may_have_numbers_of_its_own():
    net, eye = Chain(3), torch.eye(3, dtype=torch.float64)
    x = torch.rand(3, generator=seeded(), dtype=torch.float64)
    first, _, third = (m.detach() for m in net.matrices)
    found = jacobian(skip_gradient(net, [1, 0, 0.5], skip=[1, 1, 0]), x)
    torch.testing.assert_close(found, 0.5 * third @ eye @ (eye + first))


@pytest.mark.parametrize("name", [name for name in TORCHVISION if "res" in name])
def test_torchvision_residual_networks_have_the_formulas_gradient(name):
    net = getattr(torchvision.models, name)(num_classes=5).double().eval()
    x = torch.rand(1, 3, 33, 33, generator=seeded(), dtype=torch.float64)
    assert [one.kind for one in skip_junctions(net)] == ["sum"] * TORCHVISION[name]
    same(net, x, decayed(net, x, 0.4))


@pytest.mark.parametrize("name", [name for name in TORCHVISION if "dense" in name])
def test_torchvision_dense_networks_have_the_formulas_gradient(name):
    net = getattr(torchvision.models, name)(num_classes=5).double().eval()
    x = torch.rand(1, 3, 33, 33, generator=seeded(), dtype=torch.float64)
    assert [one.kind for one in skip_junctions(net)] == ["join"] * TORCHVISION[name]
    same(net, x, decayed_dense(net, x, 0.4))


def same(net, x, expected, gamma=0.4):
    """The copy answers to the bit as the network, and has the expected gradient."""
    copy, leaf = skip_gradient(net, gamma), x.clone().requires_grad_()
    answer = copy(leaf)
    assert torch.equal(answer, net(x))
    (found,) = torch.autograd.grad(answer.sum(), leaf)
    assert float((found - expected).norm() / expected.norm()) < 1e-10


def test_inverted_residuals_of_torchvision_and_ours_are_decayed_where_they_skip():
    net = torchvision.models.efficientnet_b0(num_classes=5).eval()
    assert len(skip_junctions(net)) == TORCHVISION["efficientnet_b0"]
    for ours, count in ((efficientnet_lite0(), 9), (efficientnet_lite1(), 14)):
        skips = [one for one in ours.body if getattr(one, "skips", False)]
        assert len(skip_junctions(ours)) == len(skips) == count
        expected = by_blocks(ours, torch.rand(1, 3, 32, 32, generator=seeded()), 0.4)
        found = gradient_of(skip_gradient(ours, 0.4), torch.rand(1, 3, 32, 32, generator=seeded()))
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-6)


def by_blocks(net, x, gamma):
    leaf = x.clone().requires_grad_()
    z = leaf
    for block in net.body:
        if getattr(block, "skips", False):
            f = block.residual(z)
            z = z + gamma * f + (1 - gamma) * f.detach()
        else:
            z = block(z)
    return torch.autograd.grad(net.head(z).sum(), leaf)[0]


def gradient_of(net, x):
    leaf = x.clone().requires_grad_()
    return torch.autograd.grad(net(leaf).sum(), leaf)[0]


@pytest.mark.parametrize(
    ("net", "count"),
    [
        (resnet18(), 5), (wide_resnet(depth=16, widen=1), 4),
        (wide_resnet(depth=10, widen=1), 1), (DenseNet(layers=(2, 3), growth=4), 5),
    ],
)  # fmt: skip
def test_our_own_networks_have_a_junction_in_each_identity_block(net, count):
    assert len(skip_junctions(net)) == count
    x = torch.rand(2, 3, 16, 16, generator=seeded())
    copy = skip_gradient(net, 0.3)
    assert torch.equal(copy(x), net.eval()(x))
    assert not torch.allclose(gradient_of(copy, x), gradient_of(net, x))
    torch.testing.assert_close(gradient_of(skip_gradient(net, 1), x), gradient_of(net, x))


def test_the_callers_model_stays_as_it_is():
    net = wide_resnet(depth=10, widen=1).train()
    state = {name: value.clone() for name, value in net.state_dict().items()}
    x = torch.rand(2, 3, 16, 16, generator=seeded())
    pgd(skip_gradient(net, 0.2), x, torch.tensor([0, 1]), eps=0.1, step=0.05, steps=2)
    assert net.training and all(p.requires_grad and p.grad is None for p in net.parameters())
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
    assert not any(m._backward_hooks or m._forward_hooks for m in net.modules())


def test_a_dependence_by_shape_alone_is_no_skip():
    class Shaped(nn.Module):
        def __init__(self):
            super().__init__()
            self.token = nn.Parameter(torch.ones(1, 2))

        def forward(self, x):
            return torch.cat([self.token.expand(x.shape[0], -1), x], 1)

    assert skip_junctions(Shaped()) == ()


@pytest.mark.parametrize("net", [nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), LightCNN()])
def test_a_model_in_which_nothing_would_change_is_refused(net):
    with pytest.raises(UsageError, match=r"no skip connection|cannot follow"):
        skip_gradient(net, 0.5)


def test_a_model_that_cannot_be_followed_is_refused():
    class Turns(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(2, 2)

        def forward(self, x):
            return x + self.inner(x) if x.sum() > 0 else x

    with pytest.raises(UsageError, match="cannot follow Turns"):
        skip_gradient(Turns(), 0.5)
    with pytest.raises(TypeError, match=r"torch\.nn\.Module"):
        skip_gradient(lambda x: x, 0.5)


@pytest.mark.parametrize("gamma", [-0.1, 1.1, math.nan, [0.5], [0.5] * 5])
def test_a_gamma_outside_its_range_or_of_another_number_is_refused(gamma):
    with pytest.raises(ValueError, match="gamma"):
        skip_gradient(Chain(4), gamma)


def test_joined_channels_have_no_way_past_to_cut():
    with pytest.raises(ValueError, match="only sums"):
        skip_gradient(DenseNet(layers=(2,), growth=2), 1.0, skip=0.5)


def test_scaling_keeps_the_value_to_the_bit():
    x = torch.rand(5, generator=seeded(), requires_grad=True)
    value = scale_gradient(x, 0.1)
    assert torch.equal(value, x)
    (grad,) = torch.autograd.grad(value.sum(), x)
    assert torch.equal(grad, torch.full((5,), 0.1))


def test_a_fully_connected_network_is_refused():
    with pytest.raises(UsageError):
        skip_gradient(MLP(), 0.5)
