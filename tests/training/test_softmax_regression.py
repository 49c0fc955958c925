"""The fit whose gradient is written out, against the loop that differentiates."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from robustnb.training import fit, fit_softmax, standard

N, CLASSES = 53, 4
SETTINGS = {"epochs": 6, "batch_size": 10, "lr": 0.5}


def examples(dtype=torch.float64):
    draws = torch.Generator().manual_seed(0)
    x = torch.rand(N, 1, 3, 3, generator=draws, dtype=dtype)
    return x, torch.randint(CLASSES, (N,), generator=draws)


def seeded():
    return torch.Generator().manual_seed(1)


def by_the_loop(x, y, **settings):
    net = nn.Sequential(nn.Flatten(), nn.Linear(9, CLASSES)).to(x.dtype)
    for weights in net.parameters():
        nn.init.zeros_(weights)
    fit(net, x, y, objective=standard(), generator=seeded(), **settings)
    return net


def closed(x, y, **settings):
    return fit_softmax(x, y, classes=CLASSES, generator=seeded(), **settings)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_its_weights_are_those_of_the_loop(momentum):
    """53 examples in tens, so that the last batch is short and counts as a mean, too."""
    x, y = examples()
    loop, own = (net(x, y, momentum=momentum, **SETTINGS) for net in (by_the_loop, closed))
    for ours, theirs in zip(own.parameters(), loop.parameters(), strict=True):
        assert float(theirs.detach().abs().max()) > 0.1
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


def test_it_leaves_its_generator_where_the_loop_does():
    x, y = examples()
    after_loop, after_own = seeded(), seeded()
    net = nn.Sequential(nn.Flatten(), nn.Linear(9, CLASSES)).double()
    fit(net, x, y, objective=standard(), generator=after_loop, **SETTINGS)
    fit_softmax(x, y, classes=CLASSES, generator=after_own, **SETTINGS)
    assert torch.equal(after_loop.get_state(), after_own.get_state())


def test_one_batch_of_all_and_a_small_step_go_down_to_the_gradients_zero():
    """The optimum of a convex loss: no gradient is left."""
    x, y = examples()
    net = closed(x, y, epochs=4000, batch_size=N, lr=1.0)
    nn.functional.cross_entropy(net(x), y).backward()
    assert all(float(weights.grad.abs().max()) < 1e-3 for weights in net.parameters())


def test_the_images_and_the_global_generator_are_left_alone():
    x, y = examples()
    before, state = x.clone(), torch.get_rng_state()
    net = closed(x, y, **SETTINGS)
    assert torch.equal(x, before) and torch.equal(state, torch.get_rng_state())
    assert all(weights.requires_grad for weights in net.parameters())


def test_single_precision_stays_single():
    x, y = examples(torch.float32)
    assert {weights.dtype for weights in closed(x, y, **SETTINGS).parameters()} == {torch.float32}


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"batch_size": N + 1}, ValueError, "number of images"),
        ({"lr": 0.0}, ValueError, "lr"),
        ({"lr": 1e308, "momentum": 1e10}, FloatingPointError, "lower lr"),
    ],
)
def test_settings_that_cannot_work_are_refused(changes, error, words):
    x, y = examples()
    with pytest.raises(error, match=words):
        closed(x, y, **{**SETTINGS, **changes})


def test_labels_without_a_class_are_refused():
    x, y = examples()
    with pytest.raises(ValueError, match="classes"):
        closed(x, y + 1, **SETTINGS)
