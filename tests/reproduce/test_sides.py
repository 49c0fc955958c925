from __future__ import annotations

from pathlib import Path

import pytest

from robustnb.errors import RobustnbError, RunError
from robustnb.reproduce import keys, profiles
from robustnb.reproduce.sides import Side

ROOT = Path(__file__).resolve().parents[2]
NAME = ("toy2020", "smoke", 0)


@pytest.fixture
def side(toy):
    """The code of this checkout, on the toy project."""
    return Side("today's code", ROOT, toy.root, toy.build, {})


@pytest.fixture
def elsewhere(toy, tmp_path):
    """A folder that holds no package, so that Python takes the installed one."""
    code = tmp_path / "empty"
    code.mkdir()
    return Side("the earlier code", code, toy.root, toy.build, {})


def test_a_side_plans_as_its_code_does_with_all_parameters(side, toy):
    run = keys.resolve_run(toy, "toy2020", profiles.get(toy.notebooks, "laptop"), 3)
    (plan,) = side.plans([("toy2020", "laptop", 3)])
    assert (plan.source, plan.key, plan.closure) == (run.source, run.key, run.closure)
    assert plan.parameters == {
        "seed": 3,
        "size": 80,
        "shift": 0.0,
        "sleep": 0.0,
        "names": ["a", "b"],
    }


def test_another_package_than_the_sides_own_is_refused(elsewhere):
    with pytest.raises(RobustnbError, match=r"took robustnb from .*PYTHONPATH"):
        elsewhere.plans([NAME])


def test_another_package_in_the_kernel_is_refused_before_the_run(elsewhere, side, toy):
    (plan,) = side.plans([NAME])
    with pytest.raises(RobustnbError, match="took robustnb from"):
        elsewhere.run(plan)
    assert not toy.runs.exists()


def test_a_run_that_code_does_not_know_tells_why(side):
    with pytest.raises(RunError, match=r"today's code cannot plan .*'toy2021'"):
        side.plans([("toy2021", "smoke", 0)])


def test_a_run_that_fails_is_told_with_its_error(side, edit):
    edit("import time\n", "raise ValueError('eps must be >= 0')\n")
    (plan,) = side.plans([NAME])
    with pytest.raises(RunError, match=r"today's code did not run toy2020: .*eps must be >= 0"):
        side.run(plan)
