"""Stability training against the published form, its small-noise limit and finite differences."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robustnb.training import stability_loss, stability_training, standard
from robustnb.training.training_loop import fit


def seed(value: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(value)


def noisy(x: Tensor, sigma: float) -> Tensor:
    return (x + sigma * torch.randn(x.shape, generator=seed(), dtype=x.dtype)).clamp(0, 1)


def published(model: nn.Module, x: Tensor, y: Tensor, *, beta: float, sigma: float) -> Tensor:
    """The loss as the official code lists it: noisy pass, clean pass, sum over batch size."""
    log_q = F.log_softmax(model(noisy(x, sigma)), dim=1)
    logits = model(x)
    divergence = F.kl_div(log_q, F.softmax(logits, dim=1), reduction="sum") / len(x)
    return F.cross_entropy(logits, y) + beta * divergence


def norm_net() -> nn.Module:
    net = nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Tanh(), nn.Flatten(), nn.Linear(48, 4)
    ).double()
    with torch.no_grad():
        for weight in net.parameters():
            weight.copy_(torch.randn(weight.shape, generator=seed(3), dtype=weight.dtype) / 2)
    return net


@pytest.mark.parametrize("beta", [0.5, 6.0])
@pytest.mark.parametrize("net", ["smooth", "batch norm"])
def test_it_has_the_loss_gradient_and_statistics_of_the_published_step(
    small: SimpleNamespace, net: str, beta: float
) -> None:
    build = small.smooth if net == "smooth" else norm_net
    x, y = small.batch()
    ours, theirs = build().train(), build().train()
    loss = stability_training(beta=beta, sigma=0.3)(ours, x, y, seed())
    slow = published(theirs, x, y, beta=beta, sigma=0.3)
    torch.testing.assert_close(loss, slow, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(small.gradients(ours, loss), small.gradients(theirs, slow))
    for mine, other in zip(ours.buffers(), theirs.buffers(), strict=True):
        torch.testing.assert_close(mine, other)


def test_one_batch_of_both_is_another_loss_under_batch_norm(small: SimpleNamespace) -> None:
    x, y = small.batch()
    noisy_logits, logits = norm_net().train()(torch.cat([noisy(x, 0.3), x])).chunk(2)
    log_q, p = noisy_logits.log_softmax(1), logits.softmax(1)
    joint = F.cross_entropy(logits, y) + 6 * F.kl_div(log_q, p, reduction="batchmean")
    apart = stability_loss(norm_net().train(), x, y, seed(), beta=6.0, sigma=0.3)
    assert abs(float((joint - apart).detach())) > 1e-3


def test_the_noise_is_clipped_to_the_box(small: SimpleNamespace) -> None:
    x, y = small.batch()
    seen: list[Tensor] = []

    class Spy(nn.Module):
        def forward(self, at: Tensor) -> Tensor:
            seen.append(at)
            return small.smooth()(at)

    stability_loss(Spy(), x, y, seed(), beta=1.0, sigma=2.0)
    assert torch.equal(seen[0], noisy(x, 2.0))
    assert torch.equal(seen[1], x), "the label meets the clean image"
    assert float(seen[0].min()) == 0 and float(seen[0].max()) == 1


def test_small_noise_costs_half_its_variance_times_the_fisher_trace() -> None:
    """E KL(p(x) || p(x + s g)) = s^2 / 2 tr(W^T (diag p - p p^T) W) + O(s^4) for logits W x."""
    weight = torch.randn(4, 6, generator=seed(2), dtype=torch.float64)
    x = torch.full((200_000, 6), 0.5, dtype=torch.float64)
    y = torch.zeros(len(x), dtype=torch.int64)
    sigma = 0.01
    p = (weight @ x[0]).softmax(0)
    fisher = weight.T @ (p.diag() - torch.outer(p, p)) @ weight
    loss = stability_loss(
        lambda at: at @ weight.T, x, y, seed(), beta=1.0, sigma=sigma  # type: ignore[arg-type]
    )  # fmt: skip
    found = float(loss + p[0].log())
    assert found == pytest.approx(float(sigma**2 / 2 * fisher.trace()), rel=0.01)


def test_the_gradient_agrees_with_finite_differences(small: SimpleNamespace) -> None:
    x, y = small.batch(3)
    bias = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(4, 36, generator=seed(4), dtype=torch.float64).requires_grad_()

    def loss(w: Tensor, b: Tensor) -> Tensor:
        model = lambda at: (at.flatten(1) @ w.T + b).tanh()  # noqa: E731
        return stability_loss(model, x, y, seed(), beta=6.0, sigma=0.3)  # type: ignore[arg-type]

    assert torch.autograd.gradcheck(loss, (weight, bias))


def test_the_clean_branch_is_not_detached(small: SimpleNamespace) -> None:
    x, y = small.batch()
    net = small.smooth()
    loss = stability_loss(net, x, y, seed(), beta=4.0, sigma=0.3)
    log_q, p = net(noisy(x, 0.3)).log_softmax(1), net(x).softmax(1).detach()
    stopped = F.cross_entropy(net(x), y) + 4 * F.kl_div(log_q, p, reduction="batchmean")
    small.assert_only_the_gradient_differs(net, loss, stopped)


def test_no_weight_or_no_noise_leaves_the_cross_entropy(small: SimpleNamespace) -> None:
    x, y = small.batch()
    net = small.smooth()
    plain = standard()(net, x, y, seed())
    assert torch.equal(stability_training(beta=0.0, sigma=0.5)(net, x, y, seed()), plain)
    still = stability_training(beta=6.0, sigma=0.0)(net, x, y, seed())
    torch.testing.assert_close(still, plain, rtol=0, atol=1e-14)


def test_training_with_it_makes_predictions_steadier_under_noise(small: SimpleNamespace) -> None:
    x, y = small.blobs()

    def unsteadiness(beta: float) -> float:
        net = small.smooth(torch.float32)
        fit(
            net, x, y, objective=stability_training(beta=beta, sigma=0.5), epochs=20, lr=0.05,
            batch_size=20, generator=seed(),
        )  # fmt: skip
        clean = x / 255
        with torch.no_grad():
            loss = stability_loss(net, clean, y, seed(7), beta=1.0, sigma=0.5)
            return float(loss - F.cross_entropy(net(clean), y))

    assert unsteadiness(6.0) < unsteadiness(0.0) / 2


@pytest.mark.parametrize("wrong", [{"beta": -1.0}, {"sigma": float("nan")}, {"sigma": -0.1}])
def test_settings_that_cannot_work_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be finite and >= 0"):
        stability_training(**{"beta": 6.0, "sigma": 0.25, **wrong})
