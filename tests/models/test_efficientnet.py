from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn.functional import interpolate

from robustnb import data
from robustnb.models import efficientnet_lite0, efficientnet_lite1, parameter_count
from robustnb.models.efficientnet import InvertedResidual, SamePadConv2d

# of the published implementation, on the images below
KNOWN = [-2.9125, 0.2064, 0.9134, -0.2080, 0.9592]
DOGS = range(151, 269)


def test_it_has_the_published_number_of_parameters():
    assert parameter_count(efficientnet_lite0()) == 4_652_008
    assert parameter_count(efficientnet_lite1()) == 5_416_680


@pytest.mark.parametrize("size", [7, 8, 15])
@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (3, 1), (3, 2), (5, 1), (5, 2)])
def test_a_convolution_pads_so_that_only_the_stride_shrinks(size, kernel, stride):
    conv = SamePadConv2d(2, 2, kernel, stride, bias=False)
    out = conv(torch.ones(1, 2, size, size))
    assert out.shape == (1, 2, math.ceil(size / stride), math.ceil(size / stride))


def test_an_even_image_is_padded_on_the_right_and_below():
    conv = SamePadConv2d(1, 1, 3, 2, bias=False)
    nn.init.ones_(conv.weight)
    assert conv(torch.ones(1, 1, 4, 4)).flatten().tolist() == [9.0, 6.0, 6.0, 4.0]


@pytest.mark.parametrize(
    ("outputs", "stride", "skips"), [(8, 1, True), (8, 2, False), (12, 1, False)]
)
def test_a_block_adds_its_input_only_where_shapes_allow_it(outputs, stride, skips):
    block = InvertedResidual(8, outputs, 3, stride, expansion=2).eval()
    x = torch.randn(1, 8, 6, 6, generator=torch.Generator().manual_seed(0))
    assert block.skips is skips
    torch.testing.assert_close(block(x), block.residual(x) + (x if skips else 0))


@pytest.mark.network
def test_trained_weights_give_the_published_logits_and_know_a_dog():
    net = efficientnet_lite0(pretrained=True)
    x = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert net(x)[0, :5].tolist() == pytest.approx(KNOWN, abs=2e-3)
        images, labels = data.load("cifar10", "test", limit=300)
        dogs = data.to_unit(images[labels == data.find("cifar10").classes.index("dog")])
        large = interpolate(dogs, size=128, mode="bicubic").clamp(0, 1)
        named = net(large).argmax(1).tolist()
        deeper = efficientnet_lite1(pretrained=True)(large).argmax(1).tolist()
    assert sum(name in DOGS for name in named) > len(named) / 2
    assert sum(name in DOGS for name in deeper) > len(deeper) / 2
