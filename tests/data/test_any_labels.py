"""Samples of a set want one label for each image; texts and bytes are not taken for one another."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from robustnb.data import mail_texts, nested_subsets, repeat_to, subset, vocabulary, word_counts
from small_inputs import seeded

X, Y = torch.rand(12, 1, 2, 2, generator=seeded()), torch.arange(12) % 3
WAYS = [
    lambda x, y: subset(x, y, size=3, generator=seeded()),
    lambda x, y: nested_subsets(x, y, sizes=[3], generator=seeded()),
    lambda x, y: repeat_to(x, y, count=15, generator=seeded()),
]


@pytest.mark.parametrize("way", WAYS, ids=["subset", "nested", "repeat"])
def test_one_label_for_each_image(way):
    for wrong in (Y[:, None], Y[:5]):
        with pytest.raises(ValueError, match=r"labels must have shape \(12,\) like the images"):
            way(X, wrong)


def test_sizes_are_whole_numbers_of_any_library():
    found = nested_subsets(X, Y, sizes=[np.int64(3), torch.tensor(6)], generator=seeded())
    assert list(found) == [3, 6] and all(type(size) is int for size in found)
    with pytest.raises(ValueError, match="a size must be an integer"):
        nested_subsets(X, Y, sizes=[2.0], generator=seeded())
    with pytest.raises(ValueError, match="count must be an integer"):
        repeat_to(X, Y, count=2.5, generator=seeded())


def test_mails_are_bytes_and_texts_are_a_list():
    with pytest.raises(TypeError, match="rows must be uint8"):
        mail_texts(torch.zeros(2, 1, 1, 4))
    for way in (
        lambda text: vocabulary(text, most=3), lambda text: word_counts(text, ["word"]),
    ):  # fmt: skip
        with pytest.raises(TypeError, match=r"write \[text\]"):
            way("a word and another word")
