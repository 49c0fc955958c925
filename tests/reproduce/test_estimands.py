from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as s
from scipy import stats as st

from robustnb.reproduce.estimand_forms import check_estimand
from robustnb.reproduce.estimands import (
    Arm,
    arms_of,
    beyond,
    bootstrap,
    interpolate,
    per_seed,
    spearman,
    statistic,
)

FRONTIER = {"frontier": {"curve": [["n1", "r1"], ["n2", "r2"]], "point": ["n", "r"]}}


def arm(values) -> Arm:
    x = np.asarray(values, dtype=float)
    return Arm(x.size, float(x.mean()), x)


def values(estimand, **means) -> float:
    row = np.array([means[name] for name in arms_of(estimand)], dtype=float)
    return float(statistic(estimand)(row))


@pytest.mark.parametrize(
    ("estimand", "expected"),
    [
        ({"mean": "a"}, 0.5),
        ({"difference": ["b", "a"]}, 0.25),
        ({"max_step": ["b", "a", "c"]}, 0.125),
        ({"max_step": ["c", "b", "a"]}, 0.125),
        ({"spearman": {"arms": ["a", "c", "b"], "against": [1, 2, 3]}}, 1.0),
        ({"spearman": {"arms": ["b", "c", "a"], "against": [1, 2, 10]}}, -1.0),
    ],
)
def test_estimands_have_their_closed_form(estimand, expected):
    assert values(estimand, a=0.5, b=0.75, c=0.625) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("nat", "height"), [(0.85, 0.45), (0.8, 0.5), (0.7, 0.5), (0.9, 0.4), (0.95, 0.4)]
)
@pytest.mark.parametrize("swapped", [False, True])
def test_the_frontier_joins_the_points_and_is_flat_beyond_them(nat, height, swapped):
    ends = [(0.8, 0.5), (0.9, 0.4)][:: -1 if swapped else 1]
    (n1, r1), (n2, r2) = ends
    found = values(FRONTIER, n1=n1, r1=r1, n2=n2, r2=r2, n=nat, r=0.3)
    assert found == pytest.approx(height - 0.3)


@given(s.lists(s.floats(0, 1), min_size=2, max_size=6, unique=True), s.floats(-0.5, 1.5))
def test_interpolation_is_numpys_on_a_sorted_curve(xs, at):
    x = np.sort(np.array(xs))
    y = np.cos(np.arange(x.size) * 2.0)
    assert interpolate(x, y, np.asarray(at)) == pytest.approx(np.interp(at, x, y), abs=1e-6)


@given(s.lists(s.integers(0, 4), min_size=3, max_size=7))
def test_rank_correlation_is_scipys_and_zero_when_all_tie(xs):
    against = list(range(len(xs)))
    expected = 0.0 if len(set(xs)) == 1 else st.spearmanr(xs, against).statistic
    assert float(spearman(np.array(xs, dtype=float), against)) == pytest.approx(expected)


@pytest.mark.parametrize(("natural", "off"), [(0.95, 0.05), (0.78, 0.02), (0.85, -0.05)])
def test_a_point_off_either_end_of_the_curve_is_measured(natural, off):
    means = np.array([[0.8, 0.5, 0.9, 0.4, natural, 0.3]])
    assert beyond(FRONTIER, means) == pytest.approx(off)
    assert beyond({"mean": "a"}, means) == -np.inf


@pytest.mark.parametrize(
    "estimand",
    [
        None,
        {"median": "a"},
        {"mean": ["a"]},
        {"difference": ["a"]},
        {"difference": ["a", "b", "c"]},
        {"spearman": {"arms": ["a", "b", "c"], "against": [1, 2]}},
        {"frontier": {"curve": [["a", "b"]], "point": ["c", "d"]}},
        {"mean": "a", "difference": ["a", "b"]},
    ],
)
def test_a_malformed_estimand_is_refused_with_its_shape(estimand):
    with pytest.raises(ValueError, match="estimand"):
        check_estimand(estimand)


def test_paired_arms_share_the_examples_that_are_drawn():
    rng = np.random.default_rng(0)
    a = rng.random(400) < 0.5
    runs = [{"a": arm(a), "b": arm(a)}]
    assert (bootstrap({"difference": ["a", "b"]}, runs, draws=200) == 0).all()


def test_examples_are_drawn_jointly_over_seeds():
    rng = np.random.default_rng(0)
    a = rng.random(400) < 0.5
    same = [{"a": arm(a)} for _ in range(4)]
    spread = bootstrap({"mean": "a"}, same, draws=4000).std()
    assert spread == pytest.approx(a.std() / 20, rel=0.06)


def test_counts_are_redrawn_as_binomials():
    runs = [{"a": Arm(100, 0.3)}]
    spread = bootstrap({"mean": "a"}, runs, draws=8000).std()
    assert spread == pytest.approx(np.sqrt(0.21 / 100), rel=0.05)


def test_the_bootstrap_is_the_same_every_time():
    runs = [{"a": arm([0, 1, 1, 0, 1.0])}]
    first, second = (bootstrap({"mean": "a"}, runs, draws=50) for _ in range(2))
    assert (first == second).all()


def test_one_number_per_seed():
    runs = [{"a": arm([1, 0]), "b": arm([0, 0])}, {"a": arm([1, 1]), "b": arm([0, 1])}]
    assert per_seed({"difference": ["a", "b"]}, runs).tolist() == [0.5, 0.5]
