from __future__ import annotations

import pytest
import torch

from robustnb.attacks import (
    MIFGSMConfig,
    PGDConfig,
    craft,
    evaluate,
    lp_distance,
    mifgsm,
    misclassified,
    pgd,
)
from small_inputs import seeded


def by_hand(model, x, y, *, eps, step, steps, decay):
    """Algorithm 1 of Dong 2018, one image at a time."""
    found = []
    for image, label in zip(x, y, strict=True):
        at, total = image.clone(), torch.zeros_like(image)
        for _ in range(steps):
            leaf = at[None].clone().requires_grad_()
            loss = torch.nn.functional.cross_entropy(model(leaf), label[None])
            (grad,) = torch.autograd.grad(loss, leaf)
            total = decay * total + grad[0] / grad.abs().sum()
            at = torch.min(torch.max(at + step * total.sign(), image - eps), image + eps)
            at = at.clamp(0, 1)
        found.append(at)
    return torch.stack(found)


def test_it_is_dongs_algorithm(curved, images):
    model, y = curved().eval(), torch.arange(40) % 4
    given = {"eps": 0.06, "step": 0.02, "steps": 7}
    found = mifgsm(model, images, y, decay=0.8, **given)
    torch.testing.assert_close(found, by_hand(model, images, y, decay=0.8, **given))
    assert float(lp_distance(found, images, "linf").max()) <= 0.06


def test_without_memory_it_is_projected_gradient_ascent(curved, images):
    model, y = curved(), torch.arange(40) % 4
    given = {"eps": 0.06, "step": 0.02, "steps": 5}
    plain = pgd(model, images, y, start="zero", keep="last", **given)
    assert torch.equal(mifgsm(model, images, y, decay=0, **given), plain)


def test_an_evaluation_runs_it(curved, images):
    model = curved().eval()
    y = model(images).argmax(1)
    attack = MIFGSMConfig("MI-10", eps=0.06, step=0.02, steps=10, start="zero")
    found = evaluate(model, images, y, attacks=[attack], generator=seeded())
    x_adv = craft(model, images, y, attack=attack, generator=seeded())
    assert torch.equal(~misclassified(model(x_adv), y), found.robust)
    assert 0 < int(found.robust.sum()) < 40
    assert attack.to_json()["decay"] == 1.0


def test_without_memory_an_evaluation_is_that_of_projected_gradient_ascent(curved, images):
    model = curved().eval()
    y = model(images).argmax(1)
    same = {"eps": 0.05, "step": 0.01, "steps": 8, "restarts": 2}
    ours = MIFGSMConfig("a", decay=0.0, **same)
    plain = PGDConfig("a", **same)
    pair = [
        evaluate(model, images, y, attacks=[attack], generator=seeded()).robust
        for attack in (ours, plain)
    ]
    assert torch.equal(*pair)


def test_radius_zero_gives_the_images_back(curved, images):
    y = torch.zeros(40, dtype=torch.int64)
    assert torch.equal(mifgsm(curved(), images, y, eps=0, step=0.1, steps=2), images)


def test_a_negative_decay_is_refused(curved, images):
    y = torch.zeros(40, dtype=torch.int64)
    with pytest.raises(ValueError, match="decay"):
        mifgsm(curved(), images, y, eps=0.1, step=0.1, steps=2, decay=-1)
    with pytest.raises(ValueError, match="decay"):
        MIFGSMConfig("a", eps=0.1, step=0.1, steps=2, decay=-1)
