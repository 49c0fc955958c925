from __future__ import annotations

import numpy as np
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
    with pytest.raises(ValueError, match="labels must have shape"):
        nested_subsets(pair[0][:9], pair[1], sizes=[3], generator=seeded())
    with pytest.raises(ValueError, match="count must be"):
        repeat_to(*pair, count=0, generator=seeded())


@pytest.mark.parametrize("sizes", [np.array([10, 20]), torch.tensor([10, 20]), range(10, 21, 10)])
def test_sizes_of_any_kind_name_the_subsets_by_plain_numbers(pair, sizes):
    found = nested_subsets(*pair, sizes=sizes, generator=seeded())
    assert [type(size) for size in found] == [int, int] and [*found] == [10, 20]


@pytest.mark.parametrize("size", [5.5, 5.0, "5", True, None])
def test_a_size_that_is_no_whole_number_is_refused_by_name(pair, size):
    with pytest.raises(ValueError, match="size must be an integer >= 1"):
        nested_subsets(*pair, sizes=[size], generator=seeded())
    with pytest.raises(ValueError, match="count must be an integer >= 1"):
        repeat_to(*pair, count=size, generator=seeded())


def test_images_without_their_labels_are_refused(pair):
    images, labels = pair
    for few in ((images, labels[:10]), (images[:10], labels), (images, labels[:, None])):
        with pytest.raises(ValueError, match="labels must have shape"):
            repeat_to(*few, count=50, generator=seeded())
        with pytest.raises(ValueError, match="labels must have shape"):
            nested_subsets(*few, sizes=[5], generator=seeded())
