"""Defences that only hide the gradient: the ensemble breaks them, or says that it was misled."""

from __future__ import annotations

import torch
from torch import nn

from robustnb.attacks import AttackEnsemble, apgd, misclassified, run_ensemble
from small_inputs import seeded

SHORT = AttackEnsemble(0.1, steps=12, targets=2, queries=150)


class Plain(nn.Module):
    """Nothing masked."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return self.net(x)


class Rounded(Plain):
    """Masked by quantising the input: the gradient is 0 everywhere."""

    def forward(self, x):
        return self.net((x * 8).round() / 8)


class Saturated(Plain):
    """Masked by scale: p(y) is 1 to the last bit of float32."""

    def forward(self, x):
        return 1e4 * self.net(x)


class Noisy(Plain):
    """Masked by chance: noise of the size of eps on every image."""

    def forward(self, x):
        return self.net(x + 0.05 * torch.randn_like(x))


def attacked(model, images):
    """The share that falls of those the model takes for what its net does, and the result."""
    x = images.float()
    y = model.eval().net(x).argmax(1)
    found = run_ensemble(model, x, y, ensemble=SHORT, generator=seeded())
    return float(found.broken_by.ge(0).sum() / found.natural_correct.sum()), found


def test_a_quantised_input_is_broken_by_the_black_box_and_flagged(curved, images):
    model = Rounded(curved().float().eval())
    share, found = attacked(model, images)
    assert not found.findings["gradients"]["ok"] and not found.findings["black_box"]["ok"]
    x, y = images.float(), model.net(images.float()).argmax(1)
    by_gradient = misclassified(model(apgd(model, x, y, eps=0.1, steps=12)), y)
    assert share > 0.75 > 0.3 > float(by_gradient.float().mean())


def test_saturated_logits_are_broken_as_if_they_were_not_and_flagged(curved, images):
    share, found = attacked(Saturated(curved().float()), images)
    plain, sound = attacked(Plain(curved().float()), images)
    assert abs(share - plain) < 0.03
    assert sound.findings["gradients"]["ok"] and not found.findings["gradients"]["ok"]
    assert int(found.broken_under("apgd-ce").sum()) < int(found.broken_under("apgd-dlr").sum())


def test_a_randomised_layer_is_broken_and_flagged_and_still_reproducible(curved, images):
    share, found = attacked(Noisy(curved().float()), images)
    again = attacked(Noisy(curved().float()), images)[1]
    assert share > 0.8
    assert not found.findings["deterministic"]["ok"] and not found.findings["again"]["ok"]
    assert torch.equal(found.broken_by, again.broken_by)
    assert torch.equal(found.x_adv, again.x_adv)


def test_a_sound_model_raises_no_flag(curved, images):
    _, found = attacked(Plain(curved().float()), images)
    assert {name: finding["ok"] for name, finding in found.findings.items()} == dict.fromkeys(
        ["deterministic", "gradients", "black_box", "again"], True
    )
