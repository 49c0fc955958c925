from __future__ import annotations

import pytest
import torch

from robustnb.models import DenseNet, build, parameter_count
from small_inputs import seeded


def weights(layers, growth, classes=10, channels=3):
    """Stem, dense layers, transitions and head, by Huang 2017's counts."""
    total, width = channels * 2 * growth * 9, 2 * growth
    for block, count in enumerate(layers):
        if block:
            total += 2 * width + width * (width // 2)
            width //= 2
        for _ in range(count):
            total += 2 * width + width * growth * 9
            width += growth
    return total + 2 * width + (width + 1) * classes


@pytest.mark.parametrize(("layers", "growth"), [((4, 4, 4), 12), ((2, 3), 5), ((1,), 4)])
def test_it_has_as_many_weights_as_the_recipe_says(layers, growth):
    assert parameter_count(DenseNet(layers=layers, growth=growth)) == weights(layers, growth)


def test_a_dense_layer_passes_its_input_on():
    net = DenseNet(layers=(2,), growth=3, generator=seeded())
    x = torch.rand(2, 6, 8, 8, generator=seeded(1))
    out = net.blocks[0](x)
    assert out.shape == (2, 9, 8, 8) and torch.equal(out[:, :6], x)


def test_transitions_halve_the_size():
    net = build("densenet", layers=(1, 1, 1), growth=4, in_channels=1, generator=seeded())
    x = torch.rand(2, 1, 16, 16, generator=seeded(1))
    assert net(x).shape == (2, 10) and net.blocks(net.stem(x)).shape[-1] == 4


def test_weights_come_from_the_generator():
    one, two = (DenseNet(generator=seeded(3)).last.weight for _ in range(2))
    assert torch.equal(one, two)


def test_no_blocks_are_refused():
    with pytest.raises(ValueError, match="at least one block"):
        DenseNet(layers=())
