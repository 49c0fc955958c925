"""The nearest neighbour, exact; the soft one: its limit, its gradient, an attack through it."""

from __future__ import annotations

import pytest
import torch

from robustnb.attacks import fgsm
from robustnb.models import NearestNeighbour, SoftNearestNeighbour


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def sets():
    points = torch.rand(40, 5, generator=seeded(), dtype=torch.float64)
    return points, torch.arange(40) % 3, torch.rand(7, 5, generator=seeded(1), dtype=torch.float64)


def test_scores_are_the_logarithms_of_the_sums(sets):
    points, labels, x = sets
    found = SoftNearestNeighbour(points, labels, classes=3, bandwidth=0.3)(x)
    weights = (-torch.cdist(x, points).square() / 0.3).exp()
    exact = torch.stack([weights[:, labels == k].sum(1).log() for k in range(3)], 1)
    torch.testing.assert_close(found, exact)


def test_a_small_bandwidth_answers_as_the_nearest_point(sets):
    points, labels, x = sets
    found = SoftNearestNeighbour(points, labels, classes=3, bandwidth=1e-4)(x).argmax(1)
    assert torch.equal(found, labels[torch.cdist(x, points).argmin(1)])


def test_the_gradient_is_a_difference_of_means(sets):
    points, labels, x = sets
    net = SoftNearestNeighbour(points, labels, classes=3, bandwidth=0.5)
    leaf = x.clone().requires_grad_()
    log_share = net(leaf).log_softmax(1)[:, 1].sum()
    (found,) = torch.autograd.grad(log_share, leaf)
    weights = (-torch.cdist(x, points).square() / 0.5).exp()
    own = weights * (labels == 1)
    means = [w @ points / w.sum(1, keepdim=True) for w in (own, weights)]
    torch.testing.assert_close(found, 2 / 0.5 * (means[0] - means[1]))


def test_the_margin_has_a_gradient_where_cross_entropy_has_none():
    points = torch.rand(60, 1, 28, 28, generator=seeded())
    labels = torch.arange(60) % 2
    net = SoftNearestNeighbour(points, labels, classes=2)
    x = (points + 0.01 * torch.rand(points.shape, generator=seeded(1))).clamp(0, 1)
    still = fgsm(net, x, labels, eps=0.3)
    moved = fgsm(net, x, labels, eps=0.3, loss="margin")
    assert (still == x).flatten(1).all(1).float().mean() > 0.9
    assert float((net(moved).argmax(1) != labels).float().mean()) > 0.9


def test_what_is_no_training_set_is_refused(sets):
    points, labels, x = sets
    with pytest.raises(ValueError, match="needs a point"):
        SoftNearestNeighbour(points, labels, classes=4)
    with pytest.raises(ValueError, match="int64"):
        SoftNearestNeighbour(points, labels.double(), classes=3)
    with pytest.raises(ValueError, match="bandwidth"):
        SoftNearestNeighbour(points, labels, classes=3, bandwidth=0)
    with pytest.raises(ValueError, match="5"):
        SoftNearestNeighbour(points, labels, classes=3)(x[:, :2])


def test_the_nearest_is_that_of_all_differences(sets):
    points, labels, x = sets
    found = NearestNeighbour(points, labels, classes=3)
    assert torch.equal(found.nearest(x), torch.cdist(x, points).argmin(1))
    assert torch.equal(found(x).argmax(1), labels[found.nearest(x)])
    assert found(x).sum(1).tolist() == [1.0] * len(x)


@pytest.mark.parametrize("pixels", [784, 20])
def test_it_answers_as_scikit_learns(pixels):
    neighbors = pytest.importorskip("sklearn.neighbors")
    points = torch.rand(500, pixels, generator=seeded())
    points[:, :9] = 0.25  # a border that tells no point from another
    labels = torch.arange(500) % 10
    x = torch.cat([torch.rand(50, pixels, generator=seeded(1)), points[:20]])
    theirs = neighbors.KNeighborsClassifier(1, algorithm="brute")
    theirs.fit(points.numpy(), labels.numpy())
    ours = NearestNeighbour(points, labels, classes=10)(x).argmax(1)
    assert ours.tolist() == theirs.predict(x.numpy()).tolist()


def test_points_that_single_precision_cannot_tell_apart_are_told_apart():
    """Far from the origin |z|^2 - 2 x.z has an error of whole units; the difference has none."""
    points = 1000 + torch.tensor([[0.5, 0.0], [0.25, 0.0], [0.125, 0.0], [0.0, 0.25]])
    x = 1000 + torch.tensor([[0.0, 0.0], [0.25, 0.0], [0.5, 0.0625], [0.0, 0.1875]])
    rough = points.square().sum(1) - 2 * x @ points.T
    assert rough.argmin(1).tolist() != [2, 1, 0, 3]
    found = NearestNeighbour(points, torch.arange(4), classes=4)
    assert found.nearest(x).tolist() == [2, 1, 0, 3]


def test_of_points_that_are_equally_near_the_first_counts():
    points = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 0.0]])
    found = NearestNeighbour(points, torch.arange(4), classes=4)
    assert found.nearest(torch.tensor([[1.0, 0.0], [1.0, 1.0]])).tolist() == [0, 0]


def test_a_single_point_is_the_nearest_to_all(sets):
    points, _, x = sets
    found = NearestNeighbour(points[:1], torch.tensor([2]), classes=3)
    assert found(x).argmax(1).tolist() == [2] * len(x)
    with pytest.raises(ValueError, match="an example has 4 numbers, a training point 5"):
        found(x[:, :4])


def test_a_neighbour_without_points_or_with_a_strange_label_is_refused(sets):
    points, labels, _ = sets
    for some in (0, 40):
        with pytest.raises(ValueError, match=r"0\.\.1"):
            NearestNeighbour(points[:some], labels[:some], classes=2)
