from __future__ import annotations

import pytest
import torch

from robustnb.models import ThresholdFilter, build_filtered
from small_inputs import seeded


def test_black_pixels_look_the_same_under_every_change_within_the_radius():
    x = torch.zeros(2, 1, 4, 4)
    moved = 0.2 * torch.rand(x.shape, generator=seeded())
    assert torch.equal(ThresholdFilter(0.2)(x), ThresholdFilter(0.2)(moved))
    assert not torch.equal(ThresholdFilter(0.1)(x), ThresholdFilter(0.1)(moved))


def test_the_two_channels_are_the_two_thresholds():
    out = ThresholdFilter(0.3)(torch.tensor([0.2, 0.5, 1.0]).reshape(1, 1, 1, 3))
    assert out.flatten().tolist() == pytest.approx([0, 0.2, 0.7, 0, 0, 0.3], abs=1e-6)


def test_a_filtered_network_takes_the_same_images_and_learns_nothing_in_its_filter():
    net = build_filtered("light_cnn", eps=0.2, generator=seeded(1))
    assert net(torch.rand(3, 1, 28, 28, generator=seeded())).shape == (3, 10)
    assert list(net[0].parameters()) == []


def test_a_radius_that_is_no_threshold_is_refused():
    with pytest.raises(ValueError, match="eps must lie"):
        ThresholdFilter(0.5)
