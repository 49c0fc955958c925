"""Bad input to every way of attacking: each a clear error that says how to mend it."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from robustnb.attacks import AttackEnsemble, evaluate, fgsm, pgd, pgd_attack, run_ensemble

X, Y = torch.rand(6, 1, 3, 3, generator=torch.Generator().manual_seed(0)), torch.arange(6) % 3
NET = nn.Sequential(nn.Flatten(), nn.Linear(9, 3))
SHORT = AttackEnsemble(0.1, steps=2, targets=1, queries=3)


def by_pgd(model, x, y, eps=0.1):
    return pgd(model, x, y, eps=eps, step=0.05, steps=2)


def by_fgsm(model, x, y, eps=0.1):
    return fgsm(model, x, y, eps=eps)


def by_evaluate(model, x, y, eps=0.1):
    return evaluate(model, x, y, attacks=[pgd_attack(eps=eps, step=0.05, steps=2)]).robust


def by_ensemble(model, x, y, eps=0.1):
    own = AttackEnsemble(eps, steps=2, targets=1, queries=3)
    return run_ensemble(model, x, y, ensemble=own).robust


WAYS = [by_pgd, by_fgsm, by_evaluate, by_ensemble]
EVERY = pytest.mark.parametrize("way", WAYS)


class Sometimes(nn.Module):
    """Finite on the clean images, `value` on any other; FGSM's one step asks about the clean."""

    def __init__(self, value):
        super().__init__()
        self.net, self.value = NET, value

    def forward(self, x):
        clean = x.shape == X.shape and torch.equal(x, X)
        return self.net(x) if clean else self.net(x) * self.value


REFUSED = [
    ("NaN logits", dict(model=lambda x: NET(x) * math.nan), ValueError, "NaN or infinite logits"),
    ("infinite logits", dict(model=lambda x: NET(x) / 0), ValueError, "NaN or infinite logits"),
    ("one infinite logit", dict(model=lambda x: NET(x) + torch.tensor([0, 0, math.inf])),
     ValueError, "NaN or infinite logits"),
    ("maps as logits", dict(model=lambda x: x), ValueError, "flatten its output"),
    ("logits of another count", dict(model=lambda x: NET(x)[:2]), ValueError, "flatten its output"),
    ("one image without its batch", dict(x=X[0, 0, 0], y=Y[:1]), ValueError, r"x\[None\]"),
    ("fewer labels than images", dict(y=Y[:5]), ValueError, r"shape \(6,\)"),
    ("one-hot labels", dict(y=torch.eye(6, 3)), ValueError, r"y\.argmax\(1\)"),
    ("float labels", dict(y=Y.float()), TypeError, r"y\.long\(\)"),
    ("a label too large", dict(y=Y + 1), ValueError, "0..2 for a model of 3 classes"),
    ("a negative label", dict(y=Y - 1), ValueError, "got -1..1"),
    ("bytes", dict(x=(255 * X).byte()), TypeError, "to_unit"),
    ("whole numbers", dict(x=(255 * X).long()), TypeError, "to_unit"),
    ("bytes as floats", dict(x=255 * X), ValueError, r"x must be in \[0, 1\]"),
    ("normalised images", dict(x=2 * X - 1), ValueError, "put Normalize inside the model"),
    ("NaN images", dict(x=X * math.nan), ValueError, "clean the data"),
    ("infinite images", dict(x=X / 0), ValueError, "clean the data"),
    ("half images", dict(x=X.half()), TypeError, r"x\.float\(\)"),
    ("images of another dtype", dict(x=X.double()), TypeError, r"model\.to"),
    ("numpy images", dict(x=X.numpy()), TypeError, "torch.as_tensor"),
    ("a model elsewhere", dict(model=nn.Linear(9, 3, device="meta")), ValueError,
     r"the model is on the meta device.*model\.to_empty"),
    ("labels elsewhere", dict(y=Y.to("meta")), ValueError, r"y\.to\(x\.device\)"),
    ("negative eps", dict(eps=-0.1), ValueError, "eps must be finite and >= 0"),
    ("NaN eps", dict(eps=math.nan), ValueError, "eps must be finite and >= 0"),
    ("infinite eps", dict(eps=math.inf), ValueError, "eps must be finite and >= 0"),
]  # fmt: skip


@EVERY
@pytest.mark.parametrize(
    ("change", "error", "message"), [r[1:] for r in REFUSED], ids=[r[0] for r in REFUSED]
)
def test_bad_input_is_refused_with_the_fix(way, change, error, message):
    call = {"model": NET, "x": X, "y": Y, **change}
    with pytest.raises(error, match=message):
        way(call.pop("model"), call.pop("x"), call.pop("y"), **call)


@pytest.mark.parametrize("way", [by_pgd, by_evaluate, by_ensemble])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_logits_that_break_on_the_way_are_refused_and_never_count_as_robust(way, value):
    with pytest.raises(ValueError, match="NaN or infinite logits"):
        way(Sometimes(value), X, NET(X).argmax(1))


@EVERY
def test_an_empty_batch_has_an_empty_result(way):
    found = way(NET, X[:0], Y[:0])
    assert len(found) == 0


@EVERY
def test_the_modes_are_restored_after_an_error(way):
    model = nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(9, 3)).train()
    model[1].eval()
    with pytest.raises(ValueError, match="model of 3 classes"):
        way(model, X, Y + 1)
    assert [m.training for m in model.modules()] == [True, True, False, True]


def test_a_model_in_training_mode_does_not_mix_the_batch_because_modes_are_set():
    model = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(9), nn.Linear(9, 3)).train()
    before = model[1].running_mean.clone()
    whole = by_pgd_from_x(model, X)
    parts = torch.cat([by_pgd_from_x(model, a) for a in X.split(2)])
    torch.testing.assert_close(whole, parts)
    assert torch.equal(model[1].running_mean, before)


def by_pgd_from_x(model, x):
    y = torch.zeros(len(x), dtype=torch.int64)
    return pgd(model, x, y, eps=0.1, step=0.05, steps=3, start="zero")


def test_a_large_batch_is_asked_in_parts_and_gives_what_its_examples_give_alone():
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(300, 1, 3, 3, generator=generator, dtype=torch.float64)
    y, net = torch.arange(300) % 3, nn.Sequential(nn.Flatten(), nn.Linear(9, 3).double())
    whole = pgd(net, x, y, eps=0.1, step=0.05, steps=4, start="zero")
    alone = torch.cat(
        [pgd(net, a, b, eps=0.1, step=0.05, steps=4, start="zero")
         for a, b in zip(x.split(50), y.split(50), strict=True)]
    )  # fmt: skip
    torch.testing.assert_close(whole, alone)


def test_a_loss_of_the_callers_own_sees_the_whole_batch():
    seen = []

    def loss(logits, y):
        seen.append(len(logits))
        return nn.functional.cross_entropy(logits, y, reduction="none")

    x, y = torch.rand(300, 1, 3, 3), torch.arange(300) % 3
    pgd(NET, x, y, eps=0.1, step=0.05, steps=2, loss=loss)
    assert set(seen) == {300}
