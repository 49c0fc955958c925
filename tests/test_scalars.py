"""Any library's numbers are plain numbers, and nothing else is one."""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
import torch

from robustnb.scalars import finite, is_scalar, real, whole


@pytest.mark.parametrize(
    "value",
    [0.5, np.float32(0.5), np.float64(0.5), np.array(0.5), torch.tensor(0.5), Fraction(1, 2)],
)
def test_reals(value):
    assert type(real("x", value)) is float and real("x", value) == 0.5 and is_scalar(value)


@pytest.mark.parametrize("value", [3, np.int8(3), np.uint64(3), np.array(3), torch.tensor(3)])
def test_whole_numbers(value):
    assert type(whole("n", value)) is int and whole("n", value) == real("n", value) == 3


@pytest.mark.parametrize(
    "value", ["1", None, True, np.True_, torch.tensor(True), 1j, [1], torch.ones(1), Decimal(1)]
)
def test_what_is_no_number(value):
    with pytest.raises((TypeError, ValueError), match="x must be"):
        real("x", value)
    with pytest.raises(ValueError, match="x must be an integer"):
        whole("x", value)


@pytest.mark.parametrize("value", [0, -1, 2.0, np.float32(2), torch.tensor(2.5)])
def test_whole_numbers_have_a_least_and_are_no_floats(value):
    with pytest.raises(ValueError, match=r"n must be an integer >= 1, got .*; hint"):
        whole("n", value, hint="; hint")


def test_bounds_of_finite_numbers():
    assert finite("x", np.float32(0), least=0) == 0
    for value, bounds in [(-1, {"least": 0}), (0, {"above": 0}), (math.nan, {}), (math.inf, {})]:
        with pytest.raises(ValueError, match="x must be finite"):
            finite("x", value, **bounds)
