from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robustnb.training.objectives import (
    SURROGATES,
    binary_trades,
    pgd_training,
    pgd_training_loss,
    standard,
    trades,
    trades_loss,
)

ATTACK = {"eps": 0.1, "step": 0.03, "steps": 5}


def seed(value: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(value)


def attacked(model: nn.Module, x: Tensor, *, eps: float, step: float, steps: int) -> Tensor:
    """The inner loop of TRADES as the paper lists it: clean prediction anew at every step."""
    x_adv = x + 0.001 * torch.randn(x.shape, generator=seed(), dtype=x.dtype)
    for _ in range(steps):
        x_adv = x_adv.detach().requires_grad_()
        log_q = F.log_softmax(model(x_adv), dim=1)
        divergence = F.kl_div(log_q, F.softmax(model(x), dim=1), reduction="sum")
        (grad,) = torch.autograd.grad(divergence, x_adv)
        x_adv = x_adv.detach() + step * grad.sign()
        x_adv = torch.min(torch.max(x_adv, x - eps), x + eps).clamp(0, 1)
    return x_adv.detach()


def slow_trades(model: nn.Module, x: Tensor, y: Tensor, *, beta: float, **attack: float) -> Tensor:
    """The whole step with the clean images passed three times, in train mode, for the loss."""
    model.eval()
    x_adv = attacked(model, x, **attack)
    model.train()
    natural = F.cross_entropy(model(x), y)
    log_q = F.log_softmax(model(x_adv), dim=1)
    p = F.softmax(model(x), dim=1)
    return natural + beta * F.kl_div(log_q, p, reduction="sum") / len(x)


def norm_net() -> nn.Module:
    net = nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Tanh(), nn.Flatten(), nn.Linear(48, 4)
    ).double()
    draw = seed(3)
    with torch.no_grad():
        for value in [*net.parameters(), *(b for b in net.buffers() if b.is_floating_point())]:
            value.copy_(torch.rand(value.shape, generator=draw, dtype=value.dtype))
    return net


@pytest.mark.parametrize("net", ["smooth", "batch norm"])
@pytest.mark.parametrize("beta", [0.5, 6.0])
def test_trades_has_the_loss_and_gradient_of_the_published_algorithm(
    small: SimpleNamespace, net: str, beta: float
) -> None:
    build = small.smooth if net == "smooth" else norm_net
    x, y = small.batch()
    ours, theirs = build().train(), build().train()
    loss = trades(beta=beta, **ATTACK)(ours, x, y, seed())
    slow = slow_trades(theirs, x, y, beta=beta, **ATTACK)
    torch.testing.assert_close(loss, slow, rtol=1e-9, atol=1e-9)
    expected = small.gradients(theirs, slow)
    torch.testing.assert_close(small.gradients(ours, loss), expected, rtol=1e-7, atol=1e-9)


def test_one_joint_batch_is_equivalent_without_batch_norm(small: SimpleNamespace) -> None:
    x, y = small.batch()
    net = small.smooth()
    losses = [
        trades(beta=2.0, joint_batch=joint, **ATTACK)(net, x, y, seed()) for joint in (False, True)
    ]
    torch.testing.assert_close(*losses)
    torch.testing.assert_close(*(small.gradients(net, loss) for loss in losses))


def test_batch_norm_sees_the_clean_batch_once_and_then_the_adversarial_one(
    small: SimpleNamespace,
) -> None:
    x, y = small.batch()
    net = norm_net().train()
    trades(beta=1.0, **ATTACK)(net, x, y, seed())
    assert int(net[1].num_batches_tracked) == 2
    slow = norm_net().train()
    slow_trades(slow, x, y, beta=1.0, **ATTACK)
    assert int(slow[1].num_batches_tracked) == 3


def test_the_clean_branch_is_not_detached(small: SimpleNamespace) -> None:
    x, y = small.batch()
    net = small.smooth()
    loss = trades(beta=4.0, **ATTACK)(net, x, y, seed())
    x_adv = attacked(net, x, **ATTACK)
    log_q, p = F.log_softmax(net(x_adv), 1), F.softmax(net(x), 1)
    detached = F.cross_entropy(net(x), y) + 4.0 * F.kl_div(log_q, p.detach(), reduction="batchmean")
    small.assert_only_the_gradient_differs(net, loss, detached)


def test_the_divergence_runs_from_clean_to_adversarial(small: SimpleNamespace) -> None:
    x, y = small.batch()
    net = small.smooth()
    loss = trades(beta=1.0, **ATTACK)(net, x, y, seed())
    regulariser = (loss - F.cross_entropy(net(x), y)).detach()
    p, q = (F.softmax(net(at), 1).detach() for at in (x, attacked(net, x, **ATTACK)))
    torch.testing.assert_close(regulariser, (p * (p / q).log()).sum(1).mean())
    assert abs(float(regulariser - (q * (q / p).log()).sum(1).mean())) > 1e-4


def test_without_noise_the_attack_does_not_move(small: SimpleNamespace) -> None:
    x, y = small.batch()
    net = small.smooth()
    still = trades(beta=5.0, start_noise=0.0, **ATTACK)(net, x, y, seed())
    torch.testing.assert_close(still, F.cross_entropy(net(x), y), rtol=0, atol=1e-14)
    moving = trades(beta=5.0, **ATTACK)(net, x, y, seed())
    assert moving > still + 1e-3


def test_beta_zero_is_standard_training_to_the_bit(small: SimpleNamespace) -> None:
    x, y = small.batch()
    net = small.smooth()
    none, plain = trades(beta=0.0, **ATTACK)(net, x, y, seed()), standard()(net, x, y, seed())
    assert torch.equal(none, plain)
    assert torch.equal(plain, F.cross_entropy(net(x), y, reduction="none").mean())


def test_a_ball_of_radius_zero_leaves_the_cross_entropy(small: SimpleNamespace) -> None:
    x, y = small.batch()
    net = small.smooth()
    loss = trades(beta=6.0, eps=0.0, step=0.01, steps=2)(net, x, y, seed())
    plain = F.cross_entropy(net(x), y, reduction="none").mean()
    torch.testing.assert_close(loss, plain)
    torch.testing.assert_close(small.gradients(net, loss), small.gradients(net, plain))
    still = pgd_training(eps=0.0, step=0.01, steps=2)(net, x, y, seed())
    torch.testing.assert_close(still, plain, rtol=1e-14, atol=0)


@pytest.mark.parametrize("label", [-1, 1])
def test_pgd_training_on_a_linear_score_has_the_closed_form(label: int) -> None:
    """max over the ball of phi(y (w x' + b)) is phi(y (w x + b) - eps |w|_1)."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 1), nn.Flatten(0)).double()
    x = torch.full((3, 1, 2, 2), 0.5, dtype=torch.float64)
    y = torch.full((3,), label)
    loss = pgd_training(eps=0.1, step=0.1, steps=3, loss="exponential")(net, x, y, seed())
    worst = y * net(x) - 0.1 * net[1].weight.abs().sum()
    torch.testing.assert_close(loss, (-worst).exp().mean())


def test_pgd_training_lies_above_training_on_clean_images(small: SimpleNamespace) -> None:
    x, y = small.batch()
    net = small.smooth()
    assert pgd_training(**ATTACK)(net, x, y, seed()) > standard()(net, x, y, seed()) + 1e-3


@pytest.mark.parametrize("name", sorted(SURROGATES))
def test_binary_trades_on_a_linear_score_has_the_closed_form(name: str) -> None:
    """The worst f(x') is f(x) - sign(f(x)) eps |w|_1, and lam divides inside phi."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 1), nn.Flatten(0)).double()
    with torch.no_grad():
        net[1].weight.copy_(torch.tensor([[0.5, -0.25, 0.25, 1.0]]))
    draw = seed(2)
    x = 0.4 + 0.2 * torch.rand(6, 1, 2, 2, generator=draw, dtype=torch.float64)
    y = torch.tensor([1, -1, 1, -1, 1, 1])
    # lam is large enough for the hinge to have a gradient everywhere
    loss = binary_trades(lam=5.0, loss=name, eps=0.1, step=0.1, steps=3)(net, x, y, seed())
    score, phi = net(x), SURROGATES[name]
    worst = score - score.sign() * 0.1 * net[1].weight.abs().sum()
    torch.testing.assert_close(loss, phi(y * score).mean() + phi(score * worst / 5.0).mean())


def test_binary_trades_has_the_gradient_of_its_formula(small: SimpleNamespace) -> None:
    x, y = small.batch()
    y = 2 * (y % 2) - 1
    net = small.scorer()
    loss = binary_trades(lam=2.0, **ATTACK)(net, x, y, seed())
    x_adv = x + 0.001 * torch.randn(x.shape, generator=seed(), dtype=x.dtype)
    for _ in range(ATTACK["steps"]):
        x_adv = x_adv.detach().requires_grad_()
        (grad,) = torch.autograd.grad(F.relu(1 - net(x_adv) * net(x) / 2).mean(), x_adv)
        x_adv = x_adv.detach() + ATTACK["step"] * grad.sign()
        x_adv = torch.min(torch.max(x_adv, x - 0.1), x + 0.1).clamp(0, 1)
    slow = F.relu(1 - y * net(x)).mean() + F.relu(1 - net(x_adv.detach()) * net(x) / 2).mean()
    torch.testing.assert_close(loss, slow)
    torch.testing.assert_close(small.gradients(net, loss), small.gradients(net, slow))


@pytest.mark.parametrize("name", ["hinge", "logistic", "exponential", "sigmoid"])
def test_each_surrogate_is_one_at_zero_and_falls(name: str) -> None:
    at = SURROGATES[name](torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64))
    assert float(at[1]) == pytest.approx(1)
    assert at[0] > at[1] > at[2]


@pytest.mark.parametrize("objective", [trades(beta=1.0, **ATTACK), pgd_training(**ATTACK)])
def test_crafting_runs_in_evaluation_mode_and_restores_every_flag(
    small: SimpleNamespace, objective: object
) -> None:
    x, y = small.batch(dtype=torch.float32)
    net = small.moody().train()
    net[4].eval()
    seen: list[bool] = []
    net[1].register_forward_hook(lambda module, *_: seen.append(module.training))
    objective(net, x, y, seed())  # type: ignore[operator]
    assert seen[: ATTACK["steps"]] == [False] * ATTACK["steps"]
    assert seen[-1]
    assert [m.training for m in net] == [True, True, True, True, False, True]


def test_crafting_restores_the_modes_after_an_error(small: SimpleNamespace) -> None:
    x, y = small.batch(dtype=torch.float32)
    net = small.moody().train()

    def interrupt(module: nn.Module, *_: object) -> None:
        assert not module.training
        raise KeyboardInterrupt

    net[1].register_forward_hook(interrupt)
    with pytest.raises(KeyboardInterrupt):
        trades(beta=1.0, **ATTACK)(net, x, y, seed())
    assert all(module.training for module in net.modules())


def test_no_parameter_gets_a_gradient_from_the_attack(small: SimpleNamespace) -> None:
    x, y = small.batch()
    net = small.smooth()
    trades_loss(net, x, y, seed(), beta=1.0, **ATTACK)
    pgd_training_loss(net, x, y, seed(), **ATTACK)
    assert all(weight.grad is None for weight in net.parameters())


def test_logits_in_bfloat16_are_compared_in_float32(small: SimpleNamespace) -> None:
    x, y = small.batch(dtype=torch.float32)
    net = small.smooth(torch.float32)
    with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
        loss = trades(beta=1.0, **ATTACK)(net, x, y, seed())
    assert loss.dtype == torch.float32
    full = trades(beta=1.0, **ATTACK)(net, x, y, seed())
    torch.testing.assert_close(loss, full, rtol=0.05, atol=0)
    for coarse, exact in zip(small.gradients(net, loss), small.gradients(net, full), strict=True):
        assert float((coarse - exact).norm() / exact.norm()) < 0.25


BAD = [
    (lambda: trades(beta=-1.0, **ATTACK), "beta"),
    (lambda: trades(beta=math.nan, **ATTACK), "beta"),
    (lambda: trades(beta=1.0, start_noise=-0.1, **ATTACK), "start_noise"),
    (lambda: trades(beta=1.0, eps=-0.1, step=0.1, steps=1), "eps"),
    (lambda: pgd_training(eps=0.1, step=0.1, steps=0), "steps"),
    (lambda: pgd_training(eps=0.1, step=0.1, steps=1, start="far"), "start"),
    (lambda: binary_trades(lam=0.0, **ATTACK), "lam"),
    (lambda: binary_trades(lam=-2.0, **ATTACK), "lam"),
    (lambda: binary_trades(lam=1.0, loss="ce", **ATTACK), "loss"),
    (lambda: standard(loss="hing"), "loss"),
]


@pytest.mark.parametrize(("make", "word"), BAD, ids=[word for _, word in BAD])
def test_a_bad_setting_is_refused_when_the_objective_is_made(make: object, word: str) -> None:
    with pytest.raises(ValueError, match=rf"^{word} must"):
        make()  # type: ignore[operator]


def test_labels_of_zero_and_one_are_refused_by_a_surrogate(small: SimpleNamespace) -> None:
    x, y = small.batch()
    with pytest.raises(ValueError, match="2 \\* y - 1"):
        binary_trades(lam=1.0, **ATTACK)(small.scorer(), x, y % 2, seed())
    with pytest.raises(ValueError, match="scores"):
        standard(loss="hinge")(small.smooth(), x, y, None)
