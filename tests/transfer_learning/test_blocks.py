from __future__ import annotations

import pytest
import torch
from torch import nn

from robustnb.models import LightCNN, resnet18
from robustnb.models.resnets import wide_resnet
from robustnb.training import fit, standard
from robustnb.transfer_learning import blocks, reinitialise


def draws(seed=0):
    return torch.Generator().manual_seed(seed)


def images(count=4):
    return torch.rand(count, 1, 28, 28, generator=draws(1))


def residual():
    return resnet18(in_channels=1, classes=3, generator=draws())


def test_blocks_of_a_small_network_from_the_output():
    assert blocks(LightCNN(), images()) == [
        ("head.2",), ("head.0",), ("features.4",), ("features.2",)]  # fmt: skip


def test_a_residual_unit_is_one_block_and_batch_norm_goes_with_the_stem():
    found = blocks(residual(), images())
    assert len(found) == 10
    assert (found[0], found[1], found[-1]) == (("last",), ("blocks.7",), ("stem", "bn"))


def test_the_networks_of_the_paper_have_seventeen_blocks():
    net = wide_resnet(depth=34, widen=1, in_channels=1, generator=draws())
    found = blocks(net, images(2))
    assert len(found) == 17
    assert found[:2] == [("last",), ("blocks.14", "bn")]


def test_every_weight_is_in_one_block():
    for net in (residual(), LightCNN()):
        names = [name for block in blocks(net, images()) for name in block]
        inside = [id(w) for name in names for w in net.get_submodule(name).parameters()]
        assert sorted(inside) == sorted(id(w) for w in net.parameters())


def test_the_order_is_that_of_the_calls_not_that_of_the_definition():
    class Turned(nn.Module):
        def __init__(self):
            super().__init__()
            self.last = nn.Linear(4, 2)
            self.first = nn.Linear(784, 4)

        def forward(self, x):
            return self.last(self.first(x.flatten(1)))

    assert blocks(Turned(), images()) == [("last",), ("first",)]


def test_a_layer_asked_twice_is_refused():
    class Loop(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(784, 784)

        def forward(self, x):
            return self.layer(self.layer(x.flatten(1)))

    with pytest.raises(ValueError, match="more than once"):
        blocks(Loop(), images())


@pytest.mark.parametrize("count", [1, 2, 4])
def test_only_the_blocks_drawn_anew_differ_and_train(count):
    net, x = residual(), images()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    fresh = reinitialise(net, x, count=count, generator=draws(7))
    names = [name for block in blocks(net, x)[:count] for name in block]

    def inside(name):
        return any(name.startswith(f"{part}.") for part in names)

    assert {n for n, w in fresh.model.named_parameters() if w.requires_grad} == {
        n for n, _ in net.named_parameters() if inside(n)}  # fmt: skip
    for name, value in fresh.model.state_dict().items():
        if not inside(name):
            assert torch.equal(value, before[name])
    assert not torch.equal(fresh.model.last.weight, before["last.weight"])
    fit(fresh, x, torch.arange(4) % 3, objective=standard(), epochs=1, batch_size=2, lr=0.1,
        generator=draws())  # fmt: skip
    for name, value in fresh.model.state_dict().items():
        assert inside(name) or torch.equal(value, before[name]), name
    assert any(not torch.equal(v, before[n]) for n, v in fresh.model.state_dict().items()
               if "running_mean" in n) is (count > 1)  # fmt: skip
    assert all(torch.equal(v, before[n]) for n, v in net.state_dict().items())


def test_no_block_leaves_the_model_as_it_was_and_all_blocks_forget_it():
    net, x = LightCNN(generator=draws()).eval(), images()
    assert torch.equal(reinitialise(net, x, count=0, generator=draws())(x), net(x))
    fresh = reinitialise(net, x, count=4, generator=draws(3))
    again = LightCNN(generator=draws(3))
    for one, other in zip(fresh.model.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)


def test_more_blocks_than_there_are_and_unknown_layers_are_refused():
    with pytest.raises(ValueError, match="at most 4"):
        reinitialise(LightCNN(), images(), count=5, generator=draws())
    net = nn.Sequential(nn.Flatten(), nn.LayerNorm(784), nn.Linear(784, 2))
    with pytest.raises(TypeError, match="LayerNorm"):
        reinitialise(net, images(), count=2, generator=draws())
    with pytest.raises(ValueError, match="count"):
        reinitialise(LightCNN(), images(), count=-1, generator=draws())
