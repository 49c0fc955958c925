from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from robustnb.attacks.losses import cross_entropy, margin
from robustnb.features import (
    clip_at_sigmas,
    cosine,
    gini,
    has_shape,
    input_gradients,
    total_variation,
)
from robustnb.models import MLP, LightCNN


def draws(seed=0):
    return torch.Generator().manual_seed(seed)


def test_input_gradients_are_autograds_one_by_one():
    net, x = LightCNN(generator=draws()), torch.rand(7, 1, 28, 28, generator=draws(1))
    y = torch.arange(7)
    found = input_gradients(net, x, y, batch_size=3)
    for image, label, grad in zip(x, y, found, strict=True):
        leaf = image[None].clone().requires_grad_()
        cross_entropy(net(leaf), label[None]).sum().backward()
        torch.testing.assert_close(grad, leaf.grad[0], rtol=1e-4, atol=1e-7)


def test_input_gradients_of_a_linear_model_in_closed_form():
    net = MLP(shape=(4,), hidden=(), classes=3, generator=draws()).double()
    x, y = torch.rand(5, 4, generator=draws(1)).double(), torch.tensor([0, 1, 2, 0, 1])
    weights = net.layers[0].weight
    residual = net(x).softmax(1) - nn.functional.one_hot(y, 3)
    torch.testing.assert_close(input_gradients(net, x, y), (residual @ weights).detach())


def test_input_gradients_leave_model_and_images_alone():
    net = nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(4, 2)).train()
    x, y = torch.rand(3, 1, 2, 2), torch.zeros(3, dtype=torch.long)
    before = x.clone()
    first = input_gradients(net, x, y)
    assert net.training
    assert torch.equal(first, input_gradients(net, x, y))
    assert torch.equal(x, before)
    assert all(p.grad is None for p in net.parameters())
    assert input_gradients(net, x[:0], y[:0]).shape == (0, 1, 2, 2)
    assert not torch.equal(first, input_gradients(net, x, y, loss=margin))


def test_total_variation_of_noise_constants_and_edges():
    noise = torch.randn(200, 3, 20, 20, generator=draws())
    assert total_variation(noise).mean() == pytest.approx(math.sqrt(2), abs=0.02)
    assert total_variation(torch.full((2, 1, 5, 5), 3.0)).tolist() == [0, 0]
    edge = torch.tensor([[[[1.0, -1.0], [1.0, -1.0]]]])
    assert total_variation(edge).item() == 1  # 2 across, 0 down, mean absolute value 1
    torch.testing.assert_close(total_variation(7 * noise), total_variation(noise))


def test_gini_of_equal_and_of_single_entries():
    assert gini(torch.tensor([[2.0, -2.0, 2.0, 2.0]])).item() == pytest.approx(0)
    assert gini(torch.tensor([[0.0, 0.0, -5.0, 0.0]])).item() == pytest.approx(0.75)
    values = torch.rand(6, 30, generator=draws())
    apart = (values[:, :, None] - values[:, None]).abs().mean((1, 2))
    torch.testing.assert_close(gini(values), apart / (2 * values.mean(1)))


def test_cosine_of_parallel_opposite_and_orthogonal_pictures():
    a = torch.tensor([[1.0, 0.0], [1.0, 1.0], [2.0, 0.0]])
    b = torch.tensor([[3.0, 0.0], [-1.0, -1.0], [0.0, 1.0]])
    assert cosine(a, b).tolist() == pytest.approx([1, -1, 0])


def test_pictures_for_the_eye_keep_zero_grey_and_clip_outliers():
    noise = torch.randn(2, 1, 30, 30, generator=draws())
    noise[0, 0, 0, 0], noise[0, 0, 0, 1] = 100.0, 0.0
    shown = clip_at_sigmas(noise)
    assert (shown[0, 0, 0, 0], shown[0, 0, 0, 1]) == (1, 0.5)
    torch.testing.assert_close(clip_at_sigmas(5 * noise), shown)
    spread = noise[1].square().mean().sqrt()
    torch.testing.assert_close(shown[1], (noise[1] / (3 * spread)).clamp(-1, 1) / 2 + 0.5)


def test_a_zero_gradient_has_no_shape_and_leaves_the_others_alone():
    pictures = torch.randn(3, 1, 4, 4, generator=draws())
    pictures[1] = 0
    assert has_shape(pictures).tolist() == [True, False, True]
    for function in (total_variation, gini, lambda a: cosine(a, a)):
        found = function(pictures)
        assert found.isnan().tolist() == [False, True, False]
        torch.testing.assert_close(found[[0, 2]], function(pictures[[0, 2]]))
    assert cosine(pictures, pictures.roll(1, 0)).isnan().tolist() == [False, True, True]
    shown = clip_at_sigmas(pictures)
    assert bool((shown[1] == 0.5).all())
    torch.testing.assert_close(shown[[0, 2]], clip_at_sigmas(pictures[[0, 2]]))


def test_a_sure_network_has_gradients_without_a_shape():
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    nn.init.zeros_(net[1].weight)
    net[1].weight.data[0] = 1000.0
    grads = input_gradients(net, torch.full((1, 1, 2, 2), 0.9), torch.tensor([0]))
    assert has_shape(grads).tolist() == [False]
    assert total_variation(grads).isnan().tolist() == [True]


def test_tiny_pictures_have_the_numbers_of_large_ones():
    noise = torch.randn(2, 1, 6, 6, generator=draws())
    tiny = 1e-30 * noise
    torch.testing.assert_close(cosine(tiny, noise), torch.ones(2))
    torch.testing.assert_close(clip_at_sigmas(tiny), clip_at_sigmas(noise))


def test_pictures_of_one_row_one_column_one_pixel_and_of_none():
    row = torch.tensor([1.0, -1.0, 1.0]).reshape(1, 1, 1, 3)
    assert total_variation(row).tolist() == [2]
    assert total_variation(row.transpose(2, 3)).tolist() == [2]
    assert total_variation(torch.ones(1, 1, 1, 1)).tolist() == [0]
    none = torch.empty(0, 1, 4, 4)
    for function in (total_variation, gini, has_shape, lambda a: cosine(a, a)):
        assert function(none).shape == (0,)
    assert clip_at_sigmas(none).shape == none.shape


def test_pictures_that_are_not_finite_are_refused():
    broken = torch.ones(2, 1, 4, 4)
    broken[1, 0, 0, 0] = math.nan
    for function in (total_variation, gini, clip_at_sigmas, has_shape, lambda a: cosine(a, a)):
        with pytest.raises(ValueError, match="1 of 2 pictures are not finite"):
            function(broken)
    with pytest.raises(ValueError, match="one shape"):
        cosine(torch.ones(2, 3), torch.ones(2, 4))
    with pytest.raises(ValueError, match="sigmas"):
        clip_at_sigmas(torch.ones(2, 3), sigmas=0)
    with pytest.raises(ValueError, match=r"\(N, C, H, W\)"):
        total_variation(torch.ones(2, 3))


def test_images_outside_the_box_and_labels_without_a_class_are_refused():
    net, x = LightCNN(generator=draws()), torch.rand(2, 1, 28, 28)
    with pytest.raises(ValueError, match="must be in"):
        input_gradients(net, 255 * x, torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="one label per image"):
        input_gradients(net, x, torch.tensor([0]))
    with pytest.raises(ValueError, match="10"):
        input_gradients(net, x, torch.tensor([0, 10]))
