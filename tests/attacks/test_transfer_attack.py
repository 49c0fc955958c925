from __future__ import annotations

import torch

from robustnb.attacks import (
    PGDConfig,
    craft,
    evaluate,
    lp_distance,
    margin,
    misclassified,
    transfer,
)
from small_inputs import seeded

ATTACK = PGDConfig("both", eps=0.06, step=0.02, steps=6, losses=("ce", "margin"), restarts=2)


def test_the_crafted_images_fool_exactly_where_the_evaluation_says_so(curved, images):
    model = curved().eval()
    y = model(images).argmax(1)
    x_adv = craft(model, images, y, attack=ATTACK, generator=seeded())
    found = evaluate(model, images, y, attacks=[ATTACK], generator=seeded())
    assert torch.equal(~misclassified(model(x_adv), y), found.robust)
    assert 0 < int(found.robust.sum()) < 40
    assert float(lp_distance(x_adv, images, "linf").max()) <= 0.06


def test_more_runs_never_craft_a_smaller_margin(curved, images):
    model, y = curved().eval(), torch.arange(40) % 4
    one = PGDConfig("one", eps=0.06, step=0.02, steps=6)
    weak = craft(model, images, y, attack=one, generator=seeded())
    both = PGDConfig("two", eps=0.06, step=0.02, steps=6, restarts=3)
    strong = craft(model, images, y, attack=both, generator=seeded(), batch_size=11)
    assert bool((margin(model(strong), y) >= margin(model(weak), y) - 1e-12).all())


def test_transfer_to_the_source_itself_is_the_white_box(curved, images):
    model, y = curved(), torch.arange(40) % 4
    found = transfer(model, model, images, y, attack=ATTACK, generator=seeded())
    assert torch.equal(found.source_misclassified, ~found.adv_correct)


def test_both_denominators_are_given():
    """Target: class 1 if the pixel exceeds its bar; the source moves every pixel up by 0.2."""

    def source(x):
        return torch.stack([0.5 - x[:, 0], x[:, 0] - 0.5], 1)

    def target(x):
        return torch.stack([0.3 - x[:, 0], x[:, 0] - 0.3], 1)

    x = torch.tensor([[0.0], [0.05], [0.2], [0.4]], dtype=torch.float64)
    y = torch.zeros(4, dtype=torch.int64)
    attack = PGDConfig("up", eps=0.2, step=0.2, steps=2, start="zero")
    found = transfer(source, target, x, y, attack=attack)
    assert found.clean_correct.tolist() == [True, True, True, False]
    assert found.adv_correct.tolist() == [True, True, False, False]
    assert found.source_misclassified.tolist() == [False, False, False, True]
    assert (found.error_rate().count, found.error_rate().n) == (2, 4)
    assert (found.success_rate().count, found.success_rate().n) == (1, 3)
    assert found.to_json()["success_rate"]["n"] == 3


def test_no_correct_example_gives_a_rate_over_nothing(curved, images):
    model = curved().eval()
    wrong = (model(images).argmax(1) + 1) % 4
    found = transfer(model, model, images, wrong, attack=ATTACK, generator=seeded())
    assert (found.success_rate().count, found.success_rate().n) == (0, 0)
    assert found.error_rate().share == 1


def test_an_empty_set_transfers_to_nothing(curved):
    x, y = torch.zeros(0, 1, 4, 4).double(), torch.zeros(0, dtype=torch.int64)
    assert transfer(curved(), curved(1), x, y, attack=ATTACK).error_rate().n == 0
