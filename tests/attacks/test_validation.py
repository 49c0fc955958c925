from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from robustnb.attacks import evaluate, pgd, pgd_attack
from robustnb.attacks.config import PGDConfig

X, Y = torch.rand(4, 1, 3, 3), torch.tensor([0, 1, 2, 0])
NET = nn.Sequential(nn.Flatten(), nn.Linear(9, 3))
GOOD = dict(eps=0.1, step=0.1, steps=2)

REFUSED = [
    ("numpy images", dict(x=X.numpy()), TypeError, "torch.as_tensor"),
    ("integer images", dict(x=(X * 255).byte()), TypeError, "to_unit"),
    ("half images", dict(x=X.half()), TypeError, r"x\.float\(\)"),
    ("one image", dict(x=X[0, 0, 0]), ValueError, r"x\[None\]"),
    ("normalised images", dict(x=X * 4 - 2), ValueError, "put Normalize inside the model"),
    ("bytes as floats", dict(x=X * 255), ValueError, r"x must be in \[0, 1\]"),
    ("NaN images", dict(x=X * math.nan), ValueError, "clean the data"),
    ("images of another dtype", dict(x=X.double()), TypeError, r"model\.to"),
    ("list labels", dict(y=[0, 1, 2, 0]), TypeError, "torch.as_tensor"),
    ("one-hot labels", dict(y=torch.eye(4, 3)), ValueError, r"y\.argmax\(1\)"),
    ("too few labels", dict(y=Y[:3]), ValueError, r"shape \(4,\)"),
    ("float labels", dict(y=Y.float()), TypeError, r"y\.long\(\)"),
    ("a label too large", dict(y=Y + 1), ValueError, "0..2 for a model of 3 classes"),
    ("a negative label", dict(y=Y - 1), ValueError, "got -1..1"),
    ("negative eps", dict(eps=-0.1), ValueError, "eps must be finite and >= 0"),
    ("NaN eps", dict(eps=math.nan), ValueError, "eps must be finite"),
    ("NaN in eps per example", dict(eps=torch.tensor([0, 1, 2, math.nan])), ValueError, "finite"),
    ("eps of another length", dict(eps=torch.ones(3)), ValueError, r"tensor \(4,\)"),
    ("no steps", dict(steps=0), ValueError, "steps must be an integer >= 1"),
    ("half a step", dict(steps=1.5), ValueError, "steps must be an integer >= 1"),
    ("negative step", dict(step=-0.1), ValueError, r"2\.5 \* eps / steps"),
    ("NaN step", dict(step=math.nan), ValueError, "step must be finite"),
    ("too few step sizes", dict(step=[0.1]), ValueError, "1 sizes for 2 steps"),
    ("unknown norm", dict(norm="l3"), ValueError, "linf, l2, l1"),
    ("unknown loss", dict(loss="dlr"), ValueError, "ce, margin, kl"),
    ("unknown start", dict(start="random"), ValueError, "uniform, zero, gaussian"),
    ("unknown keep", dict(keep="best"), ValueError, "worst, last"),
    ("no restarts", dict(restarts=0), ValueError, "restarts must be an integer >= 1"),
    ("restarts from one point", dict(start="zero", restarts=2), ValueError, "is the same"),
    ("kl with targets", dict(loss="kl", targets=Y), ValueError, "knows no labels"),
    ("targets out of range", dict(targets=Y + 7), ValueError, "0..2"),
    ("a reduced loss", dict(loss=nn.CrossEntropyLoss()), ValueError, 'reduction="none"'),
    ("NaN logits", dict(model=lambda x: NET(x) * math.nan), ValueError, "NaN or infinite logits"),
    ("maps as logits", dict(model=lambda x: x), ValueError, "flatten its output"),
    ("labels for a score", dict(model=lambda x: NET(x)[:, 0]), ValueError, r"2 \* y - 1"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "error", "message"), [r[1:] for r in REFUSED], ids=[r[0] for r in REFUSED]
)
def test_bad_input_is_refused_with_the_fix(change, error, message):
    call = {"model": NET, "x": X, "y": Y, **GOOD, **change}
    with pytest.raises(error, match=message):
        pgd(call.pop("model"), call.pop("x"), call.pop("y"), **call)


def test_good_input_passes_every_check():
    assert pgd(NET, X, Y, **GOOD).shape == X.shape


def test_images_on_another_device_are_refused():
    with pytest.raises(ValueError, match=r"the model is on the meta device.*to_empty"):
        pgd(nn.Linear(9, 3, device="meta"), X, Y, **GOOD)


def test_labels_on_another_device_are_refused():
    with pytest.raises(ValueError, match=r"y\.to\(x\.device\)"):
        pgd(NET, X, Y.to("meta"), **GOOD)


def test_clip_none_admits_any_range():
    assert pgd(NET, X * 4 - 2, Y, clip=None, **GOOD).min() < 0


def test_an_attack_without_losses_is_refused():
    with pytest.raises(ValueError, match="at least one of"):
        PGDConfig("none", losses=(), **GOOD)


def test_two_attacks_of_one_name_are_refused():
    with pytest.raises(ValueError, match="different names"):
        evaluate(NET, X, Y, attacks=[pgd_attack(**GOOD), pgd_attack(**GOOD)])


def test_an_unknown_column_is_refused():
    found = evaluate(NET, X, Y, attacks=[pgd_attack(**GOOD)])
    with pytest.raises(ValueError, match="attack must be one of PGD-2"):
        found.robust_under("PGD-3")
