from __future__ import annotations

import copy

import pytest
import torch
from torch.nn import functional as F

from robustnb.training import fit, free_training, standard

EPS = 0.1


def twin(net, x, y, *, order, batch_size, replays, lr, step, delta):
    """Algorithm 1 of Shafahi 2019 word for word, with plain gradient descent."""
    for rows in torch.split(order, batch_size):
        for _ in range(replays):
            noise = delta[: len(rows)].clone().requires_grad_()
            loss = F.cross_entropy(net((x[rows] + noise).clamp(0, 1)), y[rows])
            weights = list(net.parameters())
            *slopes, towards = torch.autograd.grad(loss, [*weights, noise])
            with torch.no_grad():
                for weight, slope in zip(weights, slopes, strict=True):
                    weight -= lr * slope
                moved = delta[: len(rows)] + step * towards.sign()
                delta[: len(rows)] = moved.clamp(-EPS, EPS)
    return delta


def orders(seed, size, epochs):
    """The orders that `fit` draws: it seeds dropout and noise first."""
    draws = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        torch.randint(2**62, (2,), generator=draws)
        yield torch.randperm(size, generator=draws)


@pytest.mark.parametrize(("replays", "step"), [(1, EPS), (3, EPS), (4, 0.03)])
def test_fit_is_the_algorithm_of_m_replays(small, replays, step):
    x, y = small.batch(11)  # the last batch holds three of four
    net, slow = small.smooth(), small.smooth()
    objective = free_training(eps=EPS, replays=replays, step=step)
    fit(net, x, y, objective=objective, epochs=2, batch_size=4, lr=0.1, momentum=0.0,
        generator=torch.Generator().manual_seed(3))  # fmt: skip
    delta = torch.zeros(4, *x.shape[1:], dtype=x.dtype)
    for order in orders(3, len(y), 2):
        delta = twin(slow, x, y, order=order, batch_size=4, replays=replays, lr=0.1, step=step,
                     delta=delta)  # fmt: skip
    for one, other in zip(net.parameters(), slow.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(objective.delta, delta, rtol=0, atol=1e-15)
    assert float(delta.abs().max()) == pytest.approx(min(EPS, step * 2 * 3 * replays))


def test_the_first_replay_is_a_natural_step_and_moves_by_the_sign(small):
    x, y = small.batch(4)
    net = small.smooth()
    objective = free_training(eps=EPS)
    torch.testing.assert_close(objective(net, x, y), standard()(net, x, y))
    loss = objective(net, x, y)
    loss.backward()
    leaf = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(F.cross_entropy(net(leaf), y), leaf)
    inside = (x > 0) & (x < 1)
    assert torch.equal(objective.delta[inside], EPS * slope.sign()[inside])


def test_the_perturbation_outlives_a_batch_and_stays_in_its_ball(small):
    x, y = small.batch(6)
    net = small.smooth()
    objective = free_training(eps=EPS, replays=2)
    first = objective(net, x, y)
    first.backward()
    kept = objective.delta.clone()
    assert objective(net, x[:2], y[:2]) != standard()(net, x[:2], y[:2])
    for _ in range(5):
        objective(net, x[:2], y[:2]).backward()
    assert torch.equal(objective.delta[2:], kept[2:])
    assert float(objective.delta.abs().max()) <= EPS


def test_a_larger_batch_begins_its_new_rows_at_zero(small):
    x, y = small.batch(6)
    objective = free_training(eps=EPS)
    objective(small.smooth(), x[:2], y[:2]).backward()
    kept = objective.delta.clone()
    objective(small.smooth(), x, y)
    assert torch.equal(objective.delta[:2], kept)
    assert not objective.delta[2:].any()


def test_choosing_a_memory_format_does_not_move_the_perturbation(small):
    x, y = small.batch(4, dtype=torch.float32)
    net = small.smooth(torch.float32)
    other = copy.deepcopy(net)
    for way, model in (("auto", net), (False, other)):
        fit(model, x, y, objective=free_training(eps=EPS, replays=2), epochs=1, batch_size=4,
            lr=0.1, generator=torch.Generator().manual_seed(1), channels_last=way)  # fmt: skip
    for one, two in zip(net.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(one, two)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [({"replays": 0}, "replays"), ({"eps": -1.0}, "eps"), ({"step": 0.0}, "step")],
)
def test_settings_that_cannot_work_are_refused(wrong, says):
    with pytest.raises(ValueError, match=says):
        free_training(**{"eps": EPS, **wrong})


def test_an_objective_with_other_replays_is_refused(small):
    x, y = small.batch(4)
    objective = free_training(eps=EPS)
    objective.replays = 0
    with pytest.raises(ValueError, match="replays"):
        fit(small.smooth(), x, y, objective=objective, epochs=1, batch_size=4, lr=0.1,
            generator=torch.Generator())  # fmt: skip


def test_a_checkpoint_says_that_it_lacks_the_perturbation(small, tmp_path):
    x, y = small.batch(4)
    with pytest.warns(UserWarning, match="checkpoint does not hold"):
        fit(small.smooth(), x, y, objective=free_training(eps=EPS), epochs=2, batch_size=4,
            lr=0.1, generator=torch.Generator(), checkpoint=tmp_path / "at")  # fmt: skip
