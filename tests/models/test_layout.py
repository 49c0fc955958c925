"""The format in which a network is asked: measured, inert where chosen, and given back exactly.

No test measures time: a clock runs by what the network itself adds to it.
"""

from __future__ import annotations

import copy
import threading

import pytest
import torch
import torchvision
from torch import nn

from robustnb.attacks import (
    pgd,
)
from robustnb.attacks.losses import cross_entropy
from robustnb.attacks.queries import ModelQueries
from robustnb.models import build, layout, use_layout
from robustnb.models.ask import ask
from small_inputs import coloured_images, seeded
from small_inputs import convolutional as small

LAST = torch.channels_last


def is_last(weight):
    return weight.is_contiguous(memory_format=LAST) and not weight.is_contiguous()


class Clock:
    """Seconds that networks add to: by how much depends on the format they are in."""

    def __init__(self, plain, last):
        self.seconds, self.cost, self.seen = 0.0, {False: plain, True: last}, []

    def watch(self, net):
        weight = next(p for p in net.parameters() if p.ndim == 4 and p.shape[1] > 1)

        def tick(module, inputs):
            self.seen.append((is_last(weight), is_last(inputs[0])))
            self.seconds += self.cost[is_last(weight)]

        net.register_forward_pre_hook(tick)
        return net

    @property
    def formats(self):
        return [weight for weight, _ in self.seen]


@pytest.fixture
def clock(monkeypatch):
    """A clock by which channels-last takes half the time; networks are free to choose."""
    found = Clock(plain=2.0, last=1.0)
    monkeypatch.setattr(layout, "now", lambda device: found.seconds)
    with use_layout("auto"):
        yield found


X, Y = coloured_images()


def attack(net, x=X, y=Y, *, steps=40, **settings):
    return pgd(net, x, y, eps=0.1, step=0.02, steps=steps, generator=seeded(), **settings)


def state_of(net):
    return [
        (id(p), p.data_ptr(), p.stride(), p.requires_grad, p.detach().clone())
        for p in [*net.parameters(), *net.buffers()]
    ]


def assert_same_state(before, net):
    after = state_of(net)
    assert [entry[:4] for entry in before] == [entry[:4] for entry in after]
    assert all(torch.equal(a[4], b[4]) for a, b in zip(before, after, strict=True))


def test_the_faster_format_is_chosen_after_comparing_both(clock):
    attack(clock.watch(small()))
    last = clock.formats[:40]
    assert not any(last[:20])
    assert last[20:28] == [True, False] * 4
    assert all(last[28:])


def test_the_plain_format_stays_where_it_is_faster(clock):
    clock.cost[True] = 3.0
    attack(clock.watch(small()))
    assert not any(clock.formats[28:])


def test_a_gain_within_the_noise_of_timing_changes_nothing(clock):
    clock.cost[True] = 1.99
    attack(clock.watch(small()))
    assert not any(clock.formats[28:])


def test_the_choice_is_remembered_and_few_passes_make_none(clock):
    net = clock.watch(small())
    attack(net, steps=5, keep="last")
    assert not any(clock.formats)
    attack(net, keep="last")
    clock.seen.clear()
    attack(net, steps=3, keep="last")
    assert clock.formats == [True] * 3


def test_batches_of_other_sizes_are_compared_on_their_own(clock):
    net = clock.watch(small())
    attack(net, keep="last")
    clock.seen.clear()
    attack(net, X[:2], Y[:2], steps=5, keep="last")
    assert not any(clock.formats)


def test_the_images_come_in_the_format_of_the_weights(clock):
    attack(clock.watch(small()))
    assert set(clock.seen) == {(False, False), (True, True)}


def test_parameters_have_their_own_memory_again(clock):
    net = clock.watch(small())
    net[0].weight.requires_grad_(False)
    before = state_of(net)
    attack(net)
    assert any(clock.formats)
    assert_same_state(before, net)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, torch.cuda.OutOfMemoryError])
def test_parameters_have_their_own_memory_after_an_error(clock, error):
    net = clock.watch(small())
    before = state_of(net)

    def loss(logits, y):
        if len(clock.seen) > 35:
            raise error("enough")
        return logits.logsumexp(1)

    with pytest.raises(error, match="enough"):
        attack(net, loss=loss)
    assert clock.formats[35]
    assert_same_state(before, net)


def test_tied_weights_stay_tied(clock):
    net = small()
    tied = nn.Conv2d(6, 6, 3, padding=1)
    net = clock.watch(nn.Sequential(net[0], tied, nn.ReLU(), tied, *net[1:])).eval()
    before = state_of(net)
    found = attack(net, steps=30)
    assert net[1].weight is net[3].weight and any(clock.formats)
    assert_same_state(before, net)
    assert found.shape == X.shape


def test_views_of_one_buffer_stay_views(clock):
    net = small()
    flat = torch.cat([p.detach().reshape(-1) for p in net.parameters()])
    nn.utils.vector_to_parameters(flat, net.parameters())
    before = state_of(net)
    attack(clock.watch(net))
    assert_same_state(before, net)
    flat.zero_()
    assert not any(bool(p.any()) for p in net.parameters())


def test_a_graph_made_before_the_attack_still_has_its_gradients(clock):
    net = clock.watch(small())
    with use_layout("keep"):
        (expected,) = torch.autograd.grad(net(X).square().sum(), net[2].weight)
    loss = net(X).square().sum()
    attack(net)
    assert any(clock.formats)
    loss.backward()
    assert torch.equal(net[2].weight.grad, expected)
    assert net[2].weight.grad.stride() == net[2].weight.stride()


def test_weights_that_change_within_the_block_keep_their_values():
    net = small()
    pointer = net[2].weight.data_ptr()
    with layout.channels_last(net), torch.no_grad():
        assert is_last(net[2].weight)
        net[2].weight.fill_(3.0)
    assert net[2].weight.data_ptr() == pointer and net[2].weight.is_contiguous()
    assert bool((net[2].weight == 3.0).all())


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_images_come_back_as_they_were_laid_out(clock, norm):
    net = clock.watch(small())
    for images in (X, X.contiguous(memory_format=LAST)):
        with use_layout("keep"):
            expected = attack(net, images, norm=norm).stride()
        assert attack(net, images, norm=norm).stride() == expected
    assert any(clock.formats)
    assert attack(net, norm=norm).is_contiguous()


def test_gradients_lie_in_memory_as_the_images_do():
    net = small()
    with layout.channels_last(net):
        grad = ModelQueries(net).loss_and_grad(X, Y, cross_entropy).grad
    assert grad.stride() == X.stride()


def test_answers_and_gradients_of_both_formats_are_equal_to_rounding():
    torch.manual_seed(0)
    net = torchvision.models.resnet18(num_classes=10).double().eval()
    x = torch.rand(4, 3, 32, 32, generator=seeded(), dtype=torch.float64, requires_grad=True)
    found = []
    for last in (False, True):
        with layout.channels_last(net) if last else use_layout("auto"):
            logits = ask(net, x)
        found.append((logits, *torch.autograd.grad(logits.square().sum(), x)))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(
            one, other, rtol=1e-9, atol=1e-9 * float(one.detach().abs().max())
        )


class Views(nn.Module):
    """A network that only works in the plain format."""

    def __init__(self):
        super().__init__()
        self.features, self.last = small()[:3], small()[4]

    def forward(self, x):
        x = self.features(x)
        return self.last(x.view(len(x), -1))


def test_a_network_that_takes_a_view_is_asked_as_it_comes(clock):
    net = Views().eval()
    before = state_of(net)
    found = attack(clock.watch(net))
    assert clock.formats.count(True) == 1
    assert_same_state(before, net)
    with use_layout("keep"):
        assert torch.equal(found, attack(net))


def test_a_caller_s_mistake_is_told_in_either_format(clock):
    net = clock.watch(small())
    attack(net)
    with pytest.raises(ValueError, match=r"y must be in 0..3"):
        attack(net, y=Y + 1)
    clock.seen.clear()
    attack(net, steps=2, keep="last")
    assert clock.formats == [True, True]


def marked():
    net = small()
    net.layout_chosen = True
    return net


def partly_channels_last():
    net = small()
    net[2].to(memory_format=LAST)
    return net


def strided_otherwise():
    net = small()
    net[2].weight.data = net[2].weight.data.transpose(2, 3)
    return net


def our_own():
    return build("light_cnn", generator=seeded()).eval()


SETTLED = {
    "marked": marked,
    "partly channels-last": partly_channels_last,
    "strided otherwise": strided_otherwise,
    "scripted": lambda: torch.jit.script(small()),
    "our own": our_own,
    "our own, within": lambda: nn.Sequential(nn.Identity(), our_own()),
}


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
@pytest.mark.parametrize("name", SETTLED)
def test_a_format_that_was_chosen_is_left_alone(clock, name):
    net = SETTLED[name]()
    x = torch.rand(9, 1, 28, 28, generator=seeded()) if name.startswith("our own") else X
    before, expected = state_of(net), ask(net, x)
    with layout.fastest_layout(net):
        for _ in range(40):
            asked = layout.in_faster_format(net, x, lambda: ask(net, x), backward=False)
            assert layout.format_in_use(net, x) == torch.preserve_format
    assert torch.equal(asked, expected)
    assert_same_state(before, net)


def test_a_network_compiled_for_its_format_is_left_alone(clock):
    compiled, inside = torch.compile(small(), backend="eager"), small()
    inside.compile(backend="eager")
    for net in (compiled, inside):
        with layout.fastest_layout(net):
            assert layout.is_faster_in_channels_last(net, X, lambda: None) is False
            assert layout.in_faster_format(net, X, lambda: 3, backward=False) == 3
            assert layout.format_in_use(net, X) == torch.preserve_format


def test_plain_functions_and_images_that_are_none_are_left_alone(clock):
    net = clock.watch(small())
    attack(lambda x: net(x))
    assert not any(clock.formats)
    flat = nn.Sequential(nn.Unflatten(1, (3, 6, 6)), *net)
    attack(clock.watch(flat), X.flatten(1))
    assert not any(clock.formats)


@pytest.mark.parametrize("by", ["flag", "variable"])
def test_keep_asks_every_network_as_it_comes(clock, monkeypatch, by):
    net = clock.watch(small())
    if by == "flag":
        with use_layout("keep"):
            attack(net)
    else:
        monkeypatch.setenv("ROBUSTNB_LAYOUT", "keep")
        layout._set.set(None)
        attack(net)
    assert len(clock.seen) > 40 and not any(clock.formats)


def test_the_flag_goes_before_the_variable_and_ends_with_its_block(monkeypatch):
    monkeypatch.setenv("ROBUSTNB_LAYOUT", "keep")
    with use_layout("auto"):
        assert layout.layout_in_use() == "auto"
    assert layout.layout_in_use() == "keep"
    monkeypatch.delenv("ROBUSTNB_LAYOUT")
    assert layout.layout_in_use() == "auto"


def test_an_unknown_choice_is_refused_with_those_there_are(monkeypatch):
    with pytest.raises(ValueError, match="layout must be one of auto, keep, got 'fast'"):
        use_layout("fast").__enter__()
    monkeypatch.setenv("ROBUSTNB_LAYOUT", "fast")
    with pytest.raises(ValueError, match="ROBUSTNB_LAYOUT must be one of auto, keep, got 'fast'"):
        attack(small())


def test_the_last_of_two_threads_gives_the_weights_back(clock):
    net = small()
    before, inside, ended = state_of(net), threading.Event(), threading.Event()

    def other():
        with use_layout("auto"), layout.fastest_layout(net):
            inside.set()
            ended.wait()
            layout._open[net].put(last=True)

    thread = threading.Thread(target=other)
    with layout.fastest_layout(net):
        thread.start()
        inside.wait()
    ended.set()
    thread.join()
    assert net not in layout._open
    assert_same_state(before, net)


def test_a_copy_of_a_network_begins_anew(clock):
    net = clock.watch(small())
    attack(net)
    clock.seen.clear()
    attack(clock.watch(copy.deepcopy(net)), steps=5, keep="last")
    assert not any(clock.formats)
