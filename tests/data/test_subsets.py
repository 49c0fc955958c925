from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from robustnb.data import subset, to_unit


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_every_byte_keeps_its_place_in_the_unit_interval() -> None:
    images = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    unit = to_unit(images)
    assert unit.dtype == torch.float32 and unit.shape == images.shape
    assert unit.min() == 0 and unit.max() == 1
    assert torch.equal((unit * 255).round().to(torch.uint8), images)


def test_scaling_twice_is_refused() -> None:
    with pytest.raises(TypeError, match="must be uint8"):
        to_unit(to_unit(torch.zeros(1, dtype=torch.uint8)))


labels_and_size = st.lists(st.integers(0, 4), min_size=1, max_size=60).flatmap(
    lambda labels: st.tuples(st.just(labels), st.integers(1, len(labels)))
)


@given(labels_and_size, st.integers(0, 2**31))
def test_a_subset_has_its_size_its_shares_and_no_example_twice(case, seed: int) -> None:
    values, size = case
    labels = torch.tensor(values)
    numbers, chosen = subset(
        torch.arange(len(labels)), labels, size=size, generator=generator(seed)
    )
    assert len(set(numbers.tolist())) == size
    assert torch.equal(labels[numbers], chosen)
    for value in set(values):
        share = values.count(value) * size / len(values)
        assert abs(int((chosen == value).sum()) - share) < 1


def test_a_subset_of_everything_is_a_permutation() -> None:
    numbers, _ = subset(torch.arange(30), torch.arange(30) % 3, size=30, generator=generator())
    assert sorted(numbers.tolist()) == list(range(30)) != numbers.tolist()


def test_the_same_seed_gives_the_same_subset_and_another_seed_another() -> None:
    def draw(seed: int) -> list[int]:
        labels = torch.arange(100) % 10
        return subset(torch.arange(100), labels, size=20, generator=generator(seed))[0].tolist()

    assert draw(0) == draw(0) != draw(1)


def test_a_subset_smaller_than_the_classes_favours_none_of_them() -> None:
    labels = torch.arange(100) % 10
    drawn = {
        int(subset(labels, labels, size=1, generator=generator(seed))[1]) for seed in range(100)
    }
    assert drawn == set(range(10))


def test_a_subset_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    subset(torch.arange(9), torch.arange(9) % 3, size=5, generator=generator())
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("size", [0, -1, 11])
def test_a_size_that_cannot_be_drawn_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match=r"size must be (from 1 to the 10|an integer >= 1)"):
        subset(torch.arange(10), torch.arange(10), size=size, generator=generator())


def test_labels_of_another_length_are_refused() -> None:
    with pytest.raises(ValueError, match=r"labels must have shape \(10,\)"):
        subset(torch.arange(10), torch.arange(9), size=3, generator=generator())
