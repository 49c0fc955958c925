from __future__ import annotations

import pytest
import torch
from torch import nn

from robustnb.features import class_probability_path, interpolate, is_monotone, largest_jump
from robustnb.models import MLP


def draws(seed=0):
    return torch.Generator().manual_seed(seed)


def test_a_path_is_straight_and_its_ends_are_exact():
    x, x_adv = torch.rand(2, 3, 1, 4, 4, generator=draws())
    path = interpolate(x, x_adv, points=5)
    assert path.shape == (5, 3, 1, 4, 4)
    assert torch.equal(path[0], x)
    assert torch.equal(path[-1], x_adv)
    torch.testing.assert_close(path[1], 0.75 * x + 0.25 * x_adv)


def test_probabilities_along_a_path_are_those_of_its_images():
    net = MLP(shape=(4,), hidden=(8,), classes=3, generator=draws())
    x, x_adv = torch.rand(2, 6, 4, generator=draws(1))
    classes = torch.tensor([0, 1, 2, 0, 1, 2])
    found = class_probability_path(net, x, x_adv, classes, points=4, batch_size=4)
    for row, images in zip(found, interpolate(x, x_adv, points=4), strict=True):
        torch.testing.assert_close(row, net(images).softmax(1)[range(6), classes].detach())


def test_scores_of_two_classes_have_the_logistic_probability():
    def model(x):
        return 3 * x[:, 0] - 1

    ends = torch.tensor([[0.0], [1.0]])
    found = class_probability_path(
        model, ends[:1], ends[1:], torch.tensor([-1]), points=2
    )  # fmt: skip
    torch.testing.assert_close(found[:, 0], torch.sigmoid(torch.tensor([1.0, -2.0])))


def test_a_network_with_dropout_is_asked_in_evaluation_mode():
    net = nn.Sequential(nn.Dropout(), nn.Linear(4, 2)).train()
    x, x_adv = torch.rand(2, 3, 4, generator=draws())
    classes = torch.zeros(3, dtype=torch.long)
    first = class_probability_path(net, x, x_adv, classes, points=3)
    assert torch.equal(first, class_probability_path(net, x, x_adv, classes, points=3))
    assert net.training
    assert class_probability_path(net, x[:0], x[:0], classes[:0], points=3).shape == (3, 0)


def test_monotone_paths_and_jumps():
    path = torch.tensor([[0.1, 0.1, 0.9], [0.4, 0.9, 0.89], [0.8, 0.7, 0.95]])
    assert is_monotone(path).tolist() == [True, False, False]
    assert is_monotone(path, tolerance=0.05).tolist() == [True, False, True]
    assert largest_jump(path).tolist() == pytest.approx([0.4, 0.8, 0.06])


def test_what_is_no_path_is_refused():
    x = torch.rand(2, 4)
    with pytest.raises(ValueError, match="points"):
        interpolate(x, x, points=1)
    with pytest.raises(ValueError, match="alike"):
        interpolate(x, x[:1], points=3)
    with pytest.raises(ValueError, match="at least 2 points"):
        is_monotone(torch.rand(1, 3))
    with pytest.raises(ValueError, match="tolerance"):
        is_monotone(torch.rand(3, 3), tolerance=-0.1)
