from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from robustnb.attacks import PGDConfig, half_cosine, robustness_audit
from robustnb.attacks.audit import _curve
from robustnb.attacks.sanity_checks import batch_invariance

SOUND = PGDConfig(
    "sound", eps=0.06, step=half_cosine(0.06, 40), steps=40, losses=("ce", "margin"), restarts=4
)


def audit(model, images, attack=SOUND, **extra):
    y = model.eval()(images).argmax(1)
    return robustness_audit(
        model, images, y, attack=attack, generator=torch.Generator().manual_seed(0), **extra
    )


class Rounded(nn.Module):
    """A defence by masking: rounding has gradient zero."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x):
        return self.net((x * 4).round() / 4)


def test_a_sound_attack_on_a_smooth_model_passes_every_check(curved, images):
    findings = audit(curved(), images, source=curved(1))
    assert {name: found["ok"] for name, found in findings.items()} == dict.fromkeys(
        [
            "zero_gradients",
            "loss",
            "steps",
            "restarts",
            "large_eps",
            "deterministic",
            "batch",
            "square",
            "transfer",
        ],
        True,
    )
    assert json.loads(json.dumps(findings)) == findings


def test_masked_gradients_are_found(curved, images):
    findings = audit(Rounded(curved()), images)
    assert findings["zero_gradients"]["value"] == 1
    assert not findings["zero_gradients"]["ok"]


def test_a_transfer_stronger_than_the_attack_is_found(curved, images):
    blind = PGDConfig("blind", eps=0.1, step=0.02, steps=10, start="zero")
    findings = audit(Rounded(curved()), images, attack=blind, source=curved())
    assert findings["transfer"]["value"]["white_box"] == 1
    assert not findings["transfer"]["ok"]
    assert not findings["large_eps"]["ok"]


def test_an_answer_that_depends_on_its_batch_is_found(curved, images):
    net = curved()

    def crowded(x):
        return net(x) * (1 + x.mean())

    findings = robustness_audit(
        crowded, images, net.eval()(images).argmax(1), attack=SOUND, batch_size=3,
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    assert not findings["batch"]["ok"]
    assert batch_invariance(net, images, batch_size=3)["ok"]
    assert batch_invariance(net, images[:0])["ok"]


def test_saturated_cross_entropy_is_found(curved, images):
    assert not audit(curved(scale=1e3), images)["zero_gradients"]["ok"]


def test_an_attack_of_too_few_steps_is_found(curved, images):
    short = PGDConfig("short", eps=0.1, step=0.05, steps=2, start="zero")
    findings = audit(curved(scale=10.0), images, attack=short)
    assert findings["steps"]["value"]["2"] < findings["steps"]["value"]["1"]
    assert not findings["steps"]["ok"]


def test_an_attack_that_lives_on_restarts_is_found(curved, images):
    guess = PGDConfig("guess", eps=0.12, step=1e-9, steps=1, restarts=8)
    assert not audit(curved(), images, attack=guess)["restarts"]["ok"]


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_with_the_whole_box_allowed_a_smooth_model_falls(curved, images, norm):
    attack = PGDConfig("any", eps=0.05, step=0.01, steps=5, norm=norm, losses=("margin",))
    assert audit(curved(), images, attack=attack)["large_eps"]["value"] == 0


def test_a_curve_may_fall_by_exactly_the_tolerance_and_no_more():
    assert _curve({1: 0.62, 3: 0.61, 5: 0.60}, "restarts")["ok"]
    assert not _curve({1: 0.62, 3: 0.62, 5: 0.60}, "restarts")["ok"]


def test_an_attack_that_gets_nowhere_is_found_though_its_curves_are_flat(curved, images):
    findings = audit(Rounded(curved()), images, attack=PGDConfig("blind", 0.02, 0.005, 10))
    assert findings["steps"]["ok"] and findings["restarts"]["ok"]
    assert not findings["loss"]["ok"]


def test_a_black_box_attack_that_is_stronger_is_found(curved, images):
    blind = PGDConfig("blind", eps=0.1, step=0.02, steps=10, start="zero")
    findings = audit(Rounded(curved()), images, attack=blind)
    assert findings["square"]["value"]["square"] < findings["square"]["value"]["white_box"]
    assert not findings["square"]["ok"]


def test_answers_drawn_anew_are_found_and_leave_the_global_generator_alone(curved, images):
    net = curved()

    def noisy(x):
        return net(x) + 0.1 * torch.randn(len(x), 4, dtype=x.dtype)

    state = torch.get_rng_state()
    y = net.eval()(images).argmax(1)
    first, second = (
        robustness_audit(noisy, images, y, attack=SOUND, generator=torch.Generator().manual_seed(0))
        for _ in range(2)
    )
    assert not first["deterministic"]["ok"]
    assert first == second
    assert torch.equal(torch.get_rng_state(), state)
