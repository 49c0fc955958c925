"""The attack raises the loss of its target, stays in its box, and retrains each time."""

from __future__ import annotations

import pytest
import torch

from robustnb.influence import attack_training_set, cross_entropy, empirical_risk, fit_risk
from tests.influence.conftest import D, smooth_network


@pytest.fixture
def risk(generator):
    x = torch.rand(40, D, generator=generator, dtype=torch.float64)
    y = (x[:, 0] > 0.5).long()
    net = smooth_network(generator)
    return fit_risk(empirical_risk(net, cross_entropy, x, y, l2=0.01, params="last"))


SETTINGS = {"index": torch.tensor([3, 7]), "steps": 5, "step": 0.005, "box": 0.03}


def test_each_step_raises_the_target_loss_more_than_random_signs(risk, generator):
    x, y = risk.x[:2] * 0.9, risk.y[:2]
    found = attack_training_set(risk, x, y, **SETTINGS)
    control = attack_training_set(risk, x, y, **SETTINGS, direction="random", generator=generator)
    mean = found.losses.mean(1)
    assert bool((mean.diff() > 0).all())
    assert mean[-1] - mean[0] > 3 * abs(control.losses.mean(1)[-1] - mean[0])


def test_images_stay_in_their_box_and_the_others_as_they_are(risk):
    found = attack_training_set(risk, risk.x[:1], risk.y[:1], **SETTINGS)
    moved = (found.images - risk.x[SETTINGS["index"]]).abs()
    assert 0 < moved.max() <= 0.03 + 1e-12 and found.images.min() >= 0
    torch.testing.assert_close(found.risk.x[8:], risk.x[8:])
    assert found.risk.gradient().norm() <= 1e-8


def test_losses_are_those_of_the_retrained_models(risk):
    found = attack_training_set(risk, risk.x[:2], risk.y[:2], **SETTINGS)
    assert found.losses.shape == found.wrong.shape == (6, 2)
    torch.testing.assert_close(found.losses[0], risk.losses(risk.x[:2], risk.y[:2]))
    torch.testing.assert_close(found.losses[-1], found.risk.losses(risk.x[:2], risk.y[:2]))


def test_random_signs_need_a_generator(risk):
    with pytest.raises(ValueError, match="generator"):
        attack_training_set(risk, risk.x[:1], risk.y[:1], **SETTINGS, direction="random")
