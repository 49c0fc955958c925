from __future__ import annotations

import dataclasses
import pkgutil
import subprocess
import sys

import pytest
import torch

import robustnb.data
from robustnb.data import catalogue, describe, find, load
from robustnb.errors import UsageError


def test_reading_the_catalogue_imports_neither_torch_nor_numpy() -> None:
    code = (
        "import sys, robustnb.data as d; d.catalogue(); d.describe(); "
        "print([m for m in ('torch', 'numpy', 'torchvision') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_no_exported_name_is_a_submodule() -> None:
    modules = {module.name for module in pkgutil.iter_modules(robustnb.data.__path__)}
    assert not modules & set(robustnb.data.__all__)


def test_a_mistyped_name_is_answered_with_the_nearest_one() -> None:
    with pytest.raises(UsageError, match="did you mean 'fashion_mnist'"):
        load("fashon_mnist", "train")


def test_a_mistyped_split_is_answered_with_the_nearest_one() -> None:
    with pytest.raises(UsageError, match="split of mnist 'tets'; did you mean 'test'"):
        load("mnist", "tets")


@pytest.mark.parametrize("limit", [0, -1, 1001])
def test_a_limit_outside_the_split_is_refused(limit: int) -> None:
    with pytest.raises(ValueError, match=r"limit must be (from 1 to 1000|an integer >= 1)"):
        load("mnist_embedded", "test", limit=limit)


def test_no_two_arrays_of_the_catalogue_share_a_digest() -> None:
    digests = [
        digest
        for dataset in catalogue().values()
        for split in dataset.splits.values()
        for digest in (split.images, split.labels)
    ]
    assert len(set(digests)) == len(digests) == 22
    assert all(len(digest) == 64 for digest in digests)


def test_the_digest_of_a_set_changes_with_any_of_its_splits() -> None:
    dataset = find("cifar10")
    for name, split in dataset.splits.items():
        other = {**dataset.splits, name: dataclasses.replace(split, labels="0" * 64)}
        assert dataclasses.replace(dataset, splits=other).digest != dataset.digest


def test_sizes_are_those_of_the_decoded_arrays() -> None:
    assert find("mnist").bytes == 70_000 * (28 * 28 + 8)
    assert find("cifar10").bytes == 60_000 * (3 * 32 * 32 + 8)


def test_the_list_says_what_is_cached() -> None:
    assert not any(row.cached for row in describe())
    load("mnist_embedded", "test", limit=1)
    assert [row.name for row in describe() if row.cached] == ["mnist_embedded"]


def test_the_embedded_digits_have_the_digests_of_the_catalogue_and_a_fair_split() -> None:
    train, train_labels = load("mnist_embedded", "train")
    test, test_labels = load("mnist_embedded", "test")
    assert train.shape == (4000, 1, 28, 28) and train.dtype == torch.uint8
    assert torch.bincount(train_labels).tolist() == [400] * 10
    assert torch.bincount(test_labels).tolist() == [100] * 10
    # the first n are balanced for every n, so a limit is a fair sample
    assert train_labels[:20].tolist() == [*range(10), *range(10)]
    # no picture is on both sides
    assert len(torch.cat([train, test]).flatten(1).unique(dim=0)) == 5000
