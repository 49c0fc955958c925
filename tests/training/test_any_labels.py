"""Every training loss and score refuses labels and images that it would take wrongly in silence."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from robustnb.attacks import cross_entropy
from robustnb.training import (
    binary_trades_loss,
    fit,
    free_training,
    natural_accuracy,
    pgd_training_loss,
    pseudo_labels,
    robust_accuracy,
    self_training,
    stability_loss,
    standard,
    standard_loss,
    trades_loss,
    train_val_split,
)
from small_inputs import linear_case, seeded

NET, X, Y = linear_case()
BALL = {"eps": 0.1, "step": 0.1, "steps": 1}
LOSSES = {
    "standard": standard_loss,
    "pgd": lambda m, x, y: pgd_training_loss(m, x, y, **BALL),
    "trades": lambda m, x, y: trades_loss(m, x, y, beta=1, **BALL),
    "trades 0": lambda m, x, y: trades_loss(m, x, y, beta=0, **BALL),
    "stability": lambda m, x, y: stability_loss(m, x, y, beta=1, sigma=0.1),
    "stability 0": lambda m, x, y: stability_loss(m, x, y, beta=0, sigma=0.1),
    "free": free_training(eps=0.1),
}
SETTINGS = {"objective": standard(), "epochs": 1, "batch_size": 12, "lr": 0.1}


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_labels_without_a_class_have_no_loss(loss):
    for wrong in (-100, 3):
        with pytest.raises(ValueError, match=r"y must be in 0\.\.2"):
            loss(NET, X, torch.where(torch.arange(12) == 5, wrong, Y))
    with pytest.raises(TypeError, match=r"use y\.long\(\)"):
        loss(NET, X, Y.int())
    with pytest.raises(ValueError, match=r"y must have shape \(12,\)"):
        loss(NET, X, Y[:, None])


def test_torchs_own_mark_of_no_label_is_not_left_out():
    with pytest.raises(IndexError, match="Target -100 is out of bounds"):
        cross_entropy(NET(X), torch.full_like(Y, -100))


def test_labels_of_scores_are_signs():
    with pytest.raises(ValueError, match=r"2 \* y - 1"):
        binary_trades_loss(lambda x: x.flatten(1)[:, 0], X, Y * 0, lam=1.0, **BALL)


@pytest.mark.parametrize(
    "score", [natural_accuracy, lambda x, y: robust_accuracy(x, y, **BALL)], ids=["natural", "pgd"]
)
def test_a_score_wants_one_label_for_each_image(score):
    for wrong in (Y[:, None], Y[:5], nn.functional.one_hot(Y, 3)):
        with pytest.raises(ValueError, match="one for each image"):
            score(X, wrong)
    for images, labels in ((X.numpy(), Y), (X, Y.tolist()), (X.to_sparse(), Y)):
        with pytest.raises(TypeError, match="must be a"):
            score(images, labels)


def test_images_in_other_units_are_refused_where_labels_are_given_to_them():
    for way in (
        lambda x: natural_accuracy(x, Y), lambda x: pseudo_labels(NET, x),
        lambda x: self_training(standard(), x, Y),
    ):  # fmt: skip
        with pytest.raises(ValueError, match="put Normalize inside the model"):
            way(X * 255)
        with pytest.raises(ValueError, match=r"use x\.clamp\(0, 1\)"):
            way(torch.where(X.max() == X, 1.0000001, X))
    assert natural_accuracy(X * 255, Y, inputs="features")(NET) <= 1
    with pytest.raises(ValueError, match="NaN"):
        natural_accuracy(X / 0 * 0, Y, inputs="features")


def test_a_split_wants_one_label_for_each_image():
    with pytest.raises(ValueError, match="one for each image"):
        train_val_split(X, Y[:5], size=2, generator=seeded())


def test_training_fills_no_gradient_of_the_images():
    images = X.clone().requires_grad_()
    net = nn.Sequential(nn.Flatten(), nn.Linear(9, 3))
    fit(net, images, Y, **SETTINGS, generator=seeded())
    assert images.grad is None


def test_training_does_not_ask_for_the_mode_of_its_caller():
    torch.manual_seed(0)
    nets = [nn.Sequential(nn.Flatten(), nn.Linear(9, 3)) for _ in range(2)]
    nets[1].load_state_dict(nets[0].state_dict())
    fit(nets[0], X, Y, **SETTINGS, generator=seeded())
    with torch.no_grad():
        fit(nets[1], X, Y, **SETTINGS, generator=seeded())
        assert not torch.is_grad_enabled()
    assert torch.equal(nets[0][1].weight, nets[1][1].weight)


class Root(nn.Module):
    """Its first logit is |w|, which has no gradient at w = 0."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.zeros(3))

    def forward(self, x):
        return torch.stack([self.w.square().sum().sqrt() + 0 * x[:, 0, 0, 0], x[:, 0, 0, 0]], 1)


def test_weights_that_a_last_step_spoils_are_told_of():
    with pytest.raises(FloatingPointError, match="gradient was not finite where the loss was"):
        fit(Root(), X, Y * 0, **SETTINGS, generator=seeded())


def test_a_free_perturbation_is_not_spoilt_by_a_gradient_that_is_not_finite():
    def root(x):
        flat = x.flatten(1)
        return torch.stack([(flat[:, 0] * 0).sqrt(), flat[:, 1]], 1)

    objective = free_training(eps=0.1)
    objective(root, X, Y * 0).backward()
    assert bool(objective.delta.isfinite().all())


def test_a_score_that_is_nan_chooses_no_epoch():
    net = nn.Sequential(nn.Flatten(), nn.Linear(9, 3))
    with pytest.raises(ValueError, match="validate gave NaN"):
        fit(net, X, Y, **SETTINGS, generator=seeded(), validate=lambda _: float("nan"))
