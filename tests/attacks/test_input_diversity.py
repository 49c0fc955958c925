from __future__ import annotations

import pytest
import torch
from torch import nn

from robustnb.attacks import InputDiversity, lp_distance, mifgsm
from robustnb.models import LightCNN
from small_inputs import seeded


def changed(x, **settings):
    return InputDiversity(nn.Identity(), generator=seeded(), **settings)(x)


def test_at_probability_zero_the_model_is_asked_about_the_image():
    x = torch.rand(3, 1, 8, 8, generator=seeded(1))
    assert torch.equal(changed(x, probability=0), x)
    assert torch.equal(changed(x, probability=1, smallest=1), x)


def test_every_image_is_made_smaller_and_surrounded_by_zeros():
    x = torch.ones(200, 1, 8, 8)
    sides = changed(x, probability=1, smallest=0.5).sum((1, 2, 3)).sqrt()
    assert sorted(set(sides.tolist())) == [4, 5, 6, 7]
    mixed = changed(x, probability=0.5).sum((1, 2, 3))
    assert 70 < int((mixed == 64).sum()) < 130


def test_places_reach_all_corners():
    x = torch.ones(300, 1, 4, 4)
    made = changed(x, probability=1, smallest=0.5)
    assert bool((made.amax(0)[0] == 1).all())


def test_draws_are_those_of_the_generator_and_gradients_pass():
    x = torch.rand(4, 1, 28, 28, generator=seeded(1))
    net = LightCNN(generator=seeded(2))
    y = torch.tensor([0, 1, 2, 3])
    first, again = (
        mifgsm(InputDiversity(net, generator=seeded()), x, y, eps=0.1, step=0.05, steps=3)
        for _ in range(2)
    )
    assert torch.equal(first, again)
    assert 0 < float(lp_distance(first, x, "linf").min()) <= 0.1


@pytest.mark.parametrize("settings", [{"probability": 1.2}, {"smallest": 0}, {"smallest": 1.5}])
def test_shares_outside_their_range_are_refused(settings):
    with pytest.raises(ValueError, match=r"probability|smallest"):
        changed(torch.ones(1, 1, 4, 4), **settings)


def test_images_that_are_not_square_are_refused():
    with pytest.raises(ValueError, match="square"):
        changed(torch.ones(1, 1, 4, 5))
