from __future__ import annotations

import pytest

from robustnb.errors import UsageError
from robustnb.reproduce.parameters import override, parse_assignments, read_parameters

CELL = """
seed: int = 0
eps: float = 0.1  # radius, in pixels
fast: bool = True
name: str = "x"
betas: list[float] = [1, 6]
"""


@pytest.fixture
def declared():
    return read_parameters(CELL, where="x.md")


def test_declared_parameters_have_name_type_default_and_comment(declared):
    assert declared["eps"].annotation == "float"
    assert declared["eps"].help == "radius, in pixels"
    assert declared["betas"].default == [1.0, 6.0]


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("eps=1e-3", {"eps": 1e-3}),
        ("eps=1", {"eps": 1.0}),
        ("fast=False", {"fast": False}),
        ("name=007", {"name": "007"}),
        ("betas=[1, 2.5]", {"betas": [1.0, 2.5]}),
        ("seed=3", {"seed": 3}),
    ],
)
def test_a_word_is_read_as_the_declared_type(declared, word, value):
    assert parse_assignments(declared, [word]) == value


@pytest.mark.parametrize(
    "word", ["seed=1.5", "seed=true", "fast=1", "eps=abc", "betas=3", 'betas=["a"]', "eps=NaN"]
)
def test_a_value_of_another_type_is_refused_with_an_example(declared, word):
    with pytest.raises(UsageError, match="write"):
        parse_assignments(declared, [word])


def test_an_unknown_parameter_is_refused_with_the_nearest_name(declared):
    with pytest.raises(UsageError, match="did you mean 'betas'"):
        parse_assignments(declared, ["beta=3"])


def test_a_word_without_equals_is_refused(declared):
    with pytest.raises(UsageError, match="name=value"):
        parse_assignments(declared, ["eps"])


def test_an_override_equal_to_the_default_is_dropped(declared):
    assert override(declared, {"eps": 0.1, "seed": 2}) == {"seed": 2}


@pytest.mark.parametrize("cell", ["eps = 0.1", "eps: float", "import os", "eps: int = 0.5"])
def test_a_parameters_cell_holds_only_typed_literals(cell):
    with pytest.raises(UsageError):
        read_parameters(cell, where="x.md")
