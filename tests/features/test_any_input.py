"""What the features room is given is what it works on, or is refused with the way to mend it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from robustnb.features import (
    ConstructedDataset,
    LinearLearner,
    fit_linear,
    match_representation,
    penultimate,
    relabelled_dataset,
    representation_dataset,
    worst_inputs,
)
from small_inputs import linear_case, seeded

NET, X, Y = linear_case()
FLAT, SIGNS = X.flatten(1), 2 * (torch.arange(12) % 2) - 1
FIT = {"eps": 0.1, "l2": 0.1, "steps": 3}


def test_labels_that_are_no_signs_are_refused_by_every_linear_function():
    zeros = (SIGNS + 1) // 2
    for way in (
        lambda y: worst_inputs(torch.ones(9), FLAT, y, eps=0.1),
        lambda y: LinearLearner(torch.ones(9), 0.0).margins(FLAT, y, eps=0.1),
        lambda y: fit_linear(FLAT, y, **FIT),
    ):
        with pytest.raises(ValueError, match="y must be -1 or \\+1"):
            way(zeros)
        with pytest.raises(ValueError, match=r"x must be \(N, d\)"):
            way(SIGNS[:, None])


def test_a_linear_fit_asks_nothing_of_the_mode_it_is_called_in():
    expected = fit_linear(FLAT, SIGNS, **FIT).weights
    wanted = FLAT.clone().requires_grad_()
    with torch.no_grad():
        assert torch.equal(fit_linear(wanted, SIGNS, **FIT).weights, expected)
    with torch.inference_mode():
        assert torch.equal(fit_linear(FLAT.clone(), SIGNS.clone(), **FIT).weights, expected)
    assert torch.equal(fit_linear(wanted, SIGNS, **FIT).weights, expected) and wanted.grad is None


def test_representations_are_matched_without_grad_mode_and_told_of_within_inference_mode():
    expected = match_representation(NET, X, X.flip(0), steps=2)
    with torch.no_grad():
        found = match_representation(NET, X, X.flip(0), steps=2)
    assert torch.equal(found[0], expected[0]) and torch.equal(found[1], expected[1])
    with torch.inference_mode(), pytest.raises(RuntimeError, match="inference_mode"):
        match_representation(NET, X, X.flip(0), steps=2)
    with pytest.raises(ValueError, match="NaN or infinite features"):
        match_representation(NET, X, X, steps=2, representation=lambda x: NET(x) / 0)
    with pytest.raises(TypeError, match="got a tuple"):
        match_representation(NET, X, X, steps=2, representation=lambda x: (NET(x),))
    with pytest.raises(TypeError, match=r"compiled by torch\.jit"):
        penultimate(torch.jit.script(nn.Sequential(NET)))


def test_a_data_set_of_numpys_numbers_can_be_saved(tmp_path):
    of_numpy = {"steps": np.int64(2), "step": np.float32(0.5)}
    for made in (
        representation_dataset(NET, X, Y, generator=seeded(), **of_numpy),
        relabelled_dataset(NET, X, Y, targets="next", classes=3, eps=np.float32(0.5), **of_numpy),
    ):
        made.save(tmp_path / "set.safetensors")
        assert ConstructedDataset.load(tmp_path / "set.safetensors").digest == made.digest
