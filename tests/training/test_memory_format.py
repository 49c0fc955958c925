"""fit(channels_last="auto"): timed before training, and the same weights as with that flag set.

No test measures time: the clock runs by what the network adds to it.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook

from robustnb.models import layout, use_layout
from robustnb.training import memory_format, pgd_training, standard, training_loop
from robustnb.training.checkpoint import save
from robustnb.training.training_loop import fit

IMAGES = torch.rand(24, 3, 6, 6, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(24) % 4


class Clock:
    """Seconds that networks add to: by how much depends on the format in which they are asked."""

    def __init__(self):
        self.seconds, self.plain, self.last = 0.0, 2.0, 1.0

    def tick(self, module, inputs):
        if isinstance(module, Network):
            plain = module.features[0].weight.is_contiguous()
            self.seconds += self.plain if plain else self.last


class Network(nn.Module):
    """A small network with batch norm and dropout."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.features = nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout2d(0.2),
            nn.Conv2d(6, 5, 3), nn.Flatten(), nn.Linear(80, 4),
        )  # fmt: skip

    def forward(self, x):
        return self.features(x)


class Views(Network):
    """One that works in the plain format alone."""

    def forward(self, x):
        x = super().forward(x)
        maps = self.features[:5](x.new_ones(2, 3, 6, 6).contiguous(memory_format=self.form))
        return x + 0 * maps.view(2, -1).sum()

    @property
    def form(self):
        plain = self.features[0].weight.is_contiguous()
        return torch.contiguous_format if plain else torch.channels_last


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    found = Clock()
    monkeypatch.setattr(layout, "now", lambda device: found.seconds)
    monkeypatch.setattr(memory_format, "LEAST_STEPS", 6)
    hook = register_module_forward_pre_hook(found.tick)
    with use_layout("auto"):
        yield found
    hook.remove()


def train(channels_last, *, net=None, epochs=2, objective=None, **settings):
    net = net or Network()
    fit(
        net, IMAGES, LABELS, objective=objective or standard(), epochs=epochs, batch_size=8,
        lr=0.05, generator=torch.Generator().manual_seed(1), channels_last=channels_last,
        **settings,
    )  # fmt: skip
    return net


def same(one, other):
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


ATTACKING = pgd_training(eps=0.1, step=0.05, steps=2)


@pytest.mark.parametrize("objective", [standard(), ATTACKING], ids=["standard", "pgd"])
@pytest.mark.parametrize("last", [True, False], ids=["channels-last", "plain"])
def test_auto_gives_the_bits_of_the_format_that_it_chooses(clock, objective, last):
    clock.last = 1.0 if last else 3.0
    expected, other = (train(flag, objective=objective) for flag in (last, not last))
    assert not same(expected, other)
    assert same(train("auto", objective=objective), expected)


def test_the_network_keeps_its_memory_and_its_parameters():
    net = Network()
    before = [(id(p), p.data_ptr(), p.stride()) for p in net.parameters()]
    train("auto", net=net)
    assert [(id(p), p.data_ptr(), p.stride()) for p in net.parameters()] == before


def test_the_global_random_state_is_left_alone():
    net = Network()
    state = torch.get_rng_state()
    train("auto", net=net)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("why", ["few steps", "keep", "a view"])
def test_auto_stays_plain(why):
    net = Views() if why == "a view" else Network()
    again = Views() if why == "a view" else Network()
    epochs = 1 if why == "few steps" else 2
    with use_layout("keep" if why == "keep" else "auto"):
        assert same(train("auto", net=net, epochs=epochs), train(False, net=again, epochs=epochs))


def test_a_training_goes_on_in_the_format_it_began_in(tmp_path, monkeypatch, clock):
    file, net, whole = tmp_path / "training.safetensors", Network(), train(True, epochs=3)

    def save_once(*args):
        save(*args)
        raise InterruptedError

    with monkeypatch.context() as patch, pytest.raises(InterruptedError):
        patch.setattr(training_loop, "save", save_once)
        train("auto", net=net, epochs=3, checkpoint=file)
    assert net.features[0].weight.is_contiguous()
    clock.last = 3.0  # by now the plain format is the faster one
    train("auto", net=net, epochs=3, checkpoint=file)
    assert same(net, whole)


def test_validation_chooses_no_format_by_its_own_timing():
    seen = []

    def validate(model):
        seen.append(layout.layout_in_use())
        return 0.0

    train(False, validate=validate)
    assert seen == ["keep", "keep"]


def test_another_word_is_refused():
    with pytest.raises(ValueError, match='channels_last must be True, False or "auto"'):
        train("fast")
