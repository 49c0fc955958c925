from __future__ import annotations

import pytest
import torch
from torch import nn

from robustnb.zoo import Count, collapsed, counts, measure
from robustnb.zoo.accuracy import radius
from robustnb.zoo.measuring import agrees, threats
from robustnb.zoo.recipes import find

RECIPE = find("cifar10_standard").recipe


class _Zero(nn.Module):
    """Takes every image for class 0 with a margin that no radius of the zoo closes."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))

    def forward(self, x):
        logits = x.new_zeros(len(x), 10)
        logits[:, 0] = 100 + x.flatten(1).mean(1) + self.weight
        return logits


class _Shade(nn.Module):
    """The shade of grey nearest to the mean of the image, in the toy's steps of 24/255."""

    def __init__(self):
        super().__init__()
        self.register_buffer("shades", (24 * torch.arange(10) + 5.5) / 255)
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, x):
        return -100 * self.weight * (x.flatten(1).mean(1)[:, None] - self.shades).square()


def test_a_network_without_adversary_meets_every_threat_of_the_zoo():
    assert threats(find("cifar10_standard").recipe) == [("l2", 0.5), ("linf", 8 / 255)]
    assert threats(find("cifar10_l2").recipe) == [("l2", 0.5)]


@pytest.mark.usefixtures("toy")
def test_counts_of_a_network_that_nothing_fools():
    against = [("linf", 8 / 255)]
    found = counts(measure(_Zero(), RECIPE, images=20, clean=40, against=against))
    assert [(c.right, c.images) for c in found] == [(4, 40), (2, 20), (2, 20), (2, 20)]


@pytest.mark.usefixtures("toy")
@pytest.mark.filterwarnings("ignore")
def test_counts_of_a_network_whose_robust_radius_is_known():
    # shades are 24/255 apart, so 12/255 in linf, and no less, takes an image to the next
    against = [("linf", 8 / 255), ("linf", 16 / 255)]
    found = counts(measure(_Shade(), RECIPE, images=20, clean=20, against=against))
    assert [c.right for c in found] == [20, 20, 20, 20, 20, 0, 0]
    assert found[-1].what == "linf 16/255, ensemble"


def test_a_recorded_share_must_lie_in_the_interval_of_the_measured_one():
    measured = Count("clean", 50, 100)
    assert agrees(Count("clean", 5_500, 10_000), measured)
    assert not agrees(Count("clean", 7_000, 10_000), measured)


def test_radii_are_written_as_papers_do():
    assert [radius(8 / 255), radius(0.5), radius(2.5 * 8 / 255)] == ["8/255", "0.5", "20/255"]


@pytest.mark.parametrize(
    ("scores", "epoch"),
    [([], None), ([0.3, 0.2, 0.31], None), ([0.1, 0.3, 0.14], 3), ([0.3, 0.0, 0.3], 2)],
)
def test_a_fall_below_half_of_the_best_is_a_collapse(scores, epoch):
    assert collapsed(scores) == epoch
