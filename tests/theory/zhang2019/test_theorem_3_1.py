"""Finite instances: the exact twin, the identities, and Theorem 3.1 with its gaps."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import robustnb.theory.zhang2019 as theory
from robustnb.theory.zhang2019 import (
    calibration,
    theorem_3_1,
    theorem_3_1_exact,
    theorem_3_1_search,
)

HALF = Fraction(1, 2)


@st.composite
def exact_instances(draw: st.DrawFn) -> theorem_3_1_exact.ExactInstance:
    points = draw(st.integers(1, 5))

    def several(low: int, high: int) -> list[int]:
        return draw(st.lists(st.integers(low, high), min_size=points, max_size=points))

    weights = [w + 1 for w in several(0, 9)]
    places = [Fraction(p, 10) for p in several(0, 10)]
    return theorem_3_1_exact.ExactInstance(
        mass=tuple(Fraction(w, sum(weights)) for w in weights),
        eta=tuple(Fraction(e, 8) for e in several(0, 8)),
        scores=tuple(Fraction(s, 4) for s in several(-8, 8)),
        ball=theorem_3_1_exact.line_balls(places, eps=Fraction(draw(st.integers(1, 5)), 10)),
    )


def as_floats(one: theorem_3_1_exact.ExactInstance, lam: Fraction) -> theorem_3_1.Instances:
    points = range(len(one.mass))
    return theorem_3_1.Instances(
        mass=np.array([one.mass], dtype=float),
        eta=np.array([one.eta], dtype=float),
        scores=np.array([one.scores], dtype=float),
        reach=np.array([[[j in one.ball[i] for j in points] for i in points]]),
        lam=np.array([float(lam)]),
    )


@given(exact_instances())
@settings(max_examples=150, deadline=None)
def test_the_fast_risks_are_the_exact_ones(one: theorem_3_1_exact.ExactInstance) -> None:
    fast, slow = theorem_3_1.risks(as_floats(one, Fraction(1))), theorem_3_1_exact.exact_risks(one)
    for name, value in slow.items():
        assert getattr(fast, name)[0] == pytest.approx(float(value), abs=1e-12)


@given(exact_instances(), st.sampled_from(list(theorem_3_1_exact.EXACT_LOSSES)), st.integers(1, 20))
@settings(max_examples=100, deadline=None)
def test_the_fast_bound_is_the_exact_one(
    one: theorem_3_1_exact.ExactInstance, name: str, lam: int
) -> None:
    slow = theorem_3_1_exact.exact_bound(
        one, theorem_3_1_exact.EXACT_LOSSES[name], lam=Fraction(lam, 4)
    )
    fast, loss = as_floats(one, Fraction(lam, 4)), calibration.LOSSES[name]
    assert theorem_3_1.surrogate_gap(fast, loss)[0] == pytest.approx(float(slow["gap"]), abs=1e-12)
    reg = theorem_3_1.regulariser(fast, loss)[0]
    assert reg == pytest.approx(float(slow["regulariser"]), rel=1e-12)


@given(exact_instances())
@settings(max_examples=150, deadline=None)
def test_robust_risk_is_natural_plus_boundary_risk_exactly(
    one: theorem_3_1_exact.ExactInstance,
) -> None:
    parts = theorem_3_1_exact.exact_risks(one)
    assert parts["rob"] == parts["nat"] + parts["bdy"]


@given(exact_instances(), st.sampled_from(list(theorem_3_1_exact.EXACT_LOSSES)), st.integers(1, 20))
@settings(max_examples=150, deadline=None)
def test_the_repaired_theorem_holds_exactly(
    one: theorem_3_1_exact.ExactInstance, name: str, lam: int
) -> None:
    loss = theorem_3_1_exact.EXACT_LOSSES[name]
    bound = theorem_3_1_exact.exact_bound(one, loss, lam=Fraction(lam, 4))
    undecided = one.expect(lambda i: (one.scores[i] == 0) * min(one.eta[i], 1 - one.eta[i]))
    # psi(left - rest) <= gap, the forward form, needs no square root
    for rest in (bound["bdy"] + undecided, bound["near"], bound["regulariser"]):
        assert (
            loss.transform(min(max(bound["left"] - rest, Fraction(0)), Fraction(1))) <= bound["gap"]
        )


@pytest.mark.parametrize("loss", calibration.LOSSES.values(), ids=list(calibration.LOSSES))
@pytest.mark.parametrize("line", ["first", "second"])
def test_no_random_instance_violates_the_repaired_theorem(
    loss: calibration.Loss, line: theorem_3_1_search.Line
) -> None:
    batches = theorem_3_1_search.mixed_sizes(np.random.default_rng(1), instances=1000, zeros=0.1)
    assert theorem_3_1_search.theorem_slacks(batches, loss, line=line).min() > -1e-9


def test_bayes_signs_attain_line_one_with_equality_for_the_hinge() -> None:
    one = theorem_3_1.random_instance(np.random.default_rng(2), points=6, count=50)
    bayes = replace(one, scores=np.where(one.eta >= 0.5, 1.0, -1.0))
    slack = theorem_3_1_search.theorem_slacks([bayes], calibration.HINGE, line="first")
    np.testing.assert_allclose(slack, 0, atol=1e-12)


def test_at_least_half_of_the_instances_have_five_points_or_more() -> None:
    batches = theorem_3_1_search.mixed_sizes(np.random.default_rng(0), instances=2000)
    large = sum(len(b.eta) for b in batches if b.eta.shape[1] >= 5)
    assert sum(len(b.eta) for b in batches) == 2000
    assert large >= 1000


def test_the_metric_ball_of_the_zero_set_is_the_wrong_boundary() -> None:
    batch = theorem_3_1.random_instance(np.random.default_rng(0), points=6, count=50)
    parts = theorem_3_1.risks(batch)
    assert (theorem_3_1.zero_set_boundary_risk(batch) == 0).all()
    assert parts.bdy.max() > 0.5


def test_one_seed_gives_the_same_instances() -> None:
    one, two = (theorem_3_1.random_instance(np.random.default_rng(3), points=4) for _ in range(2))
    assert one.scores.tobytes() == two.scores.tobytes()


def test_robust_risk_grows_with_eps() -> None:
    rng = np.random.default_rng(4)
    places = rng.random((30, 6, 2))
    base = theorem_3_1.random_instance(rng, points=6, count=30)
    small, large = (
        theorem_3_1.risks(replace(base, reach=theorem_3_1.balls(places, eps=eps))).rob
        for eps in (0.1, 0.4)
    )
    assert (small <= large).all()
    assert (small < large).any()


def test_permuting_the_points_changes_nothing() -> None:
    one = theorem_3_1.random_instance(np.random.default_rng(5), points=5, count=8)
    order = np.random.default_rng(6).permutation(5)
    moved = theorem_3_1.Instances(
        mass=one.mass[:, order],
        eta=one.eta[:, order],
        scores=one.scores[:, order],
        reach=one.reach[:, order][:, :, order],
        lam=one.lam,
    )
    for loss in (calibration.HINGE, calibration.LOGISTIC):
        np.testing.assert_allclose(
            theorem_3_1.upper_bound(one, loss).second, theorem_3_1.upper_bound(moved, loss).second
        )


def test_with_eps_zero_only_points_with_score_zero_are_near_the_boundary() -> None:
    one = theorem_3_1.random_instance(np.random.default_rng(7), points=5, count=20, zeros=0.3)
    alone = replace(one, reach=np.broadcast_to(np.eye(5, dtype=bool), (20, 5, 5)))
    parts = theorem_3_1.risks(alone)
    np.testing.assert_allclose(parts.near, (one.mass * (one.scores == 0)).sum(axis=1))
    np.testing.assert_array_equal(parts.bdy, 0)


def test_the_search_lowers_every_slack_and_stays_above_zero() -> None:
    rng = np.random.default_rng(8)
    start = theorem_3_1.random_instance(rng, points=4, count=12)
    before = theorem_3_1_search.theorem_slacks([start], calibration.HINGE, line="second")
    found, slack = theorem_3_1_search.minimise_slack(
        rng, start, calibration.HINGE, line="second", rounds=150
    )
    again = theorem_3_1_search.theorem_slacks([found], calibration.HINGE, line="second")
    np.testing.assert_array_equal(slack, again)
    assert (slack <= before).all()
    assert -1e-9 < slack.min() < 0.01


def test_the_search_refutes_the_theorem_for_a_loss_below_one_at_zero() -> None:
    rng = np.random.default_rng(9)
    start = theorem_3_1.random_instance(rng, points=4, count=30)
    loss = calibration.NATURAL_LOGISTIC
    _, slack = theorem_3_1_search.minimise_slack(rng, start, loss, line="second", rounds=200)
    assert slack.min() < -0.1


def flipped_pair(scores: tuple[int, int] = (1, -1)) -> theorem_3_1_exact.ExactInstance:
    return theorem_3_1_exact.ExactInstance(
        mass=(HALF, HALF),
        eta=(Fraction(1), Fraction(0)),
        scores=tuple(map(Fraction, scores)),
        ball=theorem_3_1_exact.complete_balls(2),
    )


def test_phi_of_zero_at_least_one_is_not_enough() -> None:
    bound = theorem_3_1_exact.exact_bound(flipped_pair(), theory.DIPPING, lam=Fraction(1))
    right = theory.DIPPING.inverse(bound["gap"]) + bound["regulariser"]
    assert (theory.DIPPING.phi(0), theory.DIPPING.calibrated()) == (1, True)
    assert (bound["left"], right) == (1, Fraction(4, 5))


def test_a_score_of_zero_breaks_line_one_but_not_line_two() -> None:
    one = theorem_3_1_exact.ExactInstance((Fraction(1),), (HALF,), (Fraction(0),), ((0,),))
    bound = theorem_3_1_exact.exact_bound(
        one, theorem_3_1_exact.EXACT_LOSSES["hinge"], lam=Fraction(1)
    )
    assert (bound["left"], bound["gap"] + bound["bdy"]) == (HALF, 0)
    assert bound["gap"] + bound["regulariser"] == 1


def test_the_surrogate_gap_can_leave_the_range_of_psi() -> None:
    one = theorem_3_1_exact.ExactInstance((Fraction(1),), (Fraction(1),), (Fraction(-3),), ((0,),))
    assert (
        theorem_3_1_exact.exact_bound(
            one, theorem_3_1_exact.EXACT_LOSSES["hinge"], lam=Fraction(1)
        )["gap"]
        == 4
    )


def test_impossible_instances_are_refused_with_the_fix() -> None:
    good = theorem_3_1.random_instance(np.random.default_rng(0), points=3)
    with pytest.raises(ValueError, match="divide by it"):
        replace(good, mass=2 * good.mass)
    with pytest.raises(ValueError, match="contains its centre"):
        replace(good, reach=np.zeros_like(good.reach))
    with pytest.raises(ValueError, match=r"eta must lie in \[0, 1\]"):
        replace(good, eta=good.eta + 2)
    with pytest.raises(ValueError, match="lam must be positive"):
        replace(good, lam=0 * good.lam)


def test_neighbours_on_the_path_are_one_step_away() -> None:
    expected = [[1, 1, 0], [1, 1, 1], [0, 1, 1]]
    assert theorem_3_1.path_graph(3).astype(int).tolist() == expected
