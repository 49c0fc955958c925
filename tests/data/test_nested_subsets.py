from __future__ import annotations

import pytest
import torch

from robustnb.data import nested_subsets, repeat_to
from small_inputs import seeded


@pytest.fixture
def pair():
    labels = torch.cat([torch.full((100 * (k + 1),), k) for k in range(4)])
    return torch.arange(1000), labels


def test_each_subset_is_the_beginning_of_every_larger_one(pair):
    found = nested_subsets(*pair, sizes=[10, 50, 500], generator=seeded())
    assert [len(y) for _, y in found.values()] == [10, 50, 500]
    assert torch.equal(found[500][0][:50], found[50][0])
    assert torch.equal(found[50][0][:10], found[10][0])


@pytest.mark.parametrize("size", [20, 100, 333, 1000])
def test_every_class_has_its_share_in_every_subset(pair, size):
    _, labels = nested_subsets(*pair, sizes=[size], generator=seeded(3))[size]
    shares = size * torch.tensor([0.1, 0.2, 0.3, 0.4])
    assert bool(((torch.bincount(labels, minlength=4) - shares).abs() < 4).all())


def test_images_keep_their_labels_and_none_comes_twice(pair):
    images, labels = nested_subsets(*pair, sizes=[700], generator=seeded(1))[700]
    assert torch.equal(pair[1][images], labels)
    assert len(torch.unique(images)) == 700


def test_the_seed_decides_the_subset(pair):
    a, b, c = (nested_subsets(*pair, sizes=[50], generator=seeded(s))[50][0] for s in (1, 1, 2))
    assert torch.equal(a, b) and not torch.equal(a, c)


def test_repeating_gives_the_count_asked_for_and_uses_all_examples_alike():
    images, labels = repeat_to(
        torch.arange(30), torch.arange(30) % 3, count=100, generator=seeded()
    )
    times = torch.bincount(images, minlength=30)
    assert len(labels) == 100 and times.min() == 3 and times.max() == 4
    assert torch.equal(images % 3, labels)


def test_bad_sizes_are_refused(pair):
    with pytest.raises(ValueError, match="sizes must be"):
        nested_subsets(*pair, sizes=[1001], generator=seeded())
    with pytest.raises(ValueError, match="images and"):
        nested_subsets(pair[0][:9], pair[1], sizes=[3], generator=seeded())
    with pytest.raises(ValueError, match="count must be"):
        repeat_to(*pair, count=0, generator=seeded())
