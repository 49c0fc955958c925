from __future__ import annotations

import pytest
import torch

from robustnb.attacks import skip_junctions
from robustnb.models import PlainCNN, build, parameter_count
from small_inputs import seeded


def test_it_has_as_many_weights_as_its_layers_say():
    expected = 9 * 3 * 4 + 9 * 4 * 4 + 9 * 4 * 6 + 9 * 6 * 6 + 2 * 2 * (4 + 6) + 7 * 10
    assert parameter_count(PlainCNN(widths=(4, 6))) == expected


def test_it_takes_images_of_any_size_and_has_no_skip():
    net = build("plain_cnn", widths=(4, 6), in_channels=1, generator=seeded())
    assert net(torch.rand(2, 1, 14, 14)).shape == net(torch.rand(2, 1, 32, 32)).shape == (2, 10)
    assert skip_junctions(net) == ()


def test_no_stages_are_refused():
    with pytest.raises(ValueError, match="at least one stage"):
        PlainCNN(widths=())
