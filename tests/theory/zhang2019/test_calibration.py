"""Surrogate losses: closed forms against search, the shape of psi, and calibration."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st

import robustnb.theory.zhang2019 as theory
from robustnb.theory.zhang2019 import calibration, piecewise_losses

LOSSES = [*calibration.LOSSES.values(), calibration.NATURAL_LOGISTIC]
THETA = np.linspace(0, 1, 41)
ids = [loss.name for loss in LOSSES]


@pytest.mark.parametrize("loss", LOSSES, ids=ids)
def test_the_searched_minimal_risk_is_the_closed_form(loss: calibration.Loss) -> None:
    eta = np.linspace(0, 1, 41)
    np.testing.assert_allclose(calibration.minimal_risk(loss, eta), loss.minimal(eta), atol=1e-8)


@pytest.mark.parametrize("loss", LOSSES, ids=ids)
def test_the_best_score_of_the_wrong_sign_is_zero(loss: calibration.Loss) -> None:
    eta = np.linspace(0, 1, 41)
    risk = calibration.wrong_sign_risk(loss, eta)
    away = np.abs(eta - 0.5) > 1e-9
    np.testing.assert_allclose(risk[away], float(loss.phi(0.0)), atol=1e-12)


@pytest.mark.parametrize("loss", LOSSES, ids=ids)
def test_psi_is_the_table(loss: calibration.Loss) -> None:
    theta, psi = calibration.psi_numeric(loss, grid=41)
    np.testing.assert_allclose(psi, loss.transform(theta), atol=1e-8)


@pytest.mark.parametrize("loss", LOSSES, ids=ids)
def test_psi_starts_at_zero_increases_and_is_convex(loss: calibration.Loss) -> None:
    psi = np.asarray(loss.transform(THETA))
    assert psi[0] == 0
    assert (np.diff(psi) > 0).all()
    assert (np.diff(psi, 2) > -1e-12).all()


@pytest.mark.parametrize("loss", LOSSES, ids=ids)
def test_psi_inverse_undoes_psi(loss: calibration.Loss) -> None:
    np.testing.assert_allclose(
        calibration.psi_inverse(loss, loss.transform(THETA)), THETA, atol=1e-7
    )


@pytest.mark.parametrize("loss", LOSSES, ids=ids)
def test_psi_inverse_is_one_above_its_range(loss: calibration.Loss) -> None:
    assert calibration.psi_inverse(loss, [1.5, 40.0]).tolist() == [1.0, 1.0]


@pytest.mark.parametrize("loss", LOSSES, ids=ids)
def test_every_loss_of_the_table_is_calibrated(loss: calibration.Loss) -> None:
    assert calibration.calibrated(loss)


def test_a_loss_that_rewards_mistakes_is_not_calibrated() -> None:
    flat = calibration.Loss(
        "rising", lambda a: np.maximum(1 + a, 0), *[calibration.HINGE.minimal] * 3
    )
    assert not calibration.calibrated(flat)


def test_only_the_natural_logarithm_puts_phi_of_zero_below_one() -> None:
    below = [loss.name for loss in LOSSES if float(loss.phi(0.0)) < 1]
    assert below == ["natural logistic"]


@pytest.mark.parametrize("loss", calibration.LOSSES.values(), ids=list(calibration.LOSSES))
def test_every_loss_of_the_table_is_at_least_one_on_mistakes(loss: calibration.Loss) -> None:
    assert (loss.phi(-np.linspace(0, 50, 501)) >= 1).all()


def test_psi_of_the_logistic_loss_is_the_symbolic_minimum() -> None:
    theta = sympy.Symbol("theta")
    eta = (1 + theta) / 2
    best = sympy.log(eta / (1 - eta))
    risk = eta * sympy.log(1 + sympy.exp(-best), 2) + (1 - eta) * sympy.log(1 + sympy.exp(best), 2)
    value = float((1 - risk).subs(theta, sympy.Rational(3, 7)).evalf())
    assert abs(value - float(calibration.LOGISTIC.transform(3 / 7))) < 1e-14


def test_the_nonconvex_loss_has_the_derived_transform() -> None:
    third, half = Fraction(1, 3), Fraction(1, 2)
    tilde, psi = theory.NONCONVEX.tilde, theory.NONCONVEX.transform
    assert tilde.knots == (0, third, half, 1)
    assert tilde.values == (0, Fraction(4, 15), half, 1)
    assert psi.knots == (0, third, 1)
    assert (tilde(half), psi(half)) == (half, Fraction(9, 20))


@pytest.mark.parametrize("loss", [theory.NONCONVEX, theory.DIPPING], ids=lambda loss: loss.name)
def test_the_exact_psi_tilde_is_the_difference_of_its_two_minima(loss: theory.StepLoss) -> None:
    for k in range(1, 61):
        eta = (1 + Fraction(k, 60)) / 2
        assert loss.tilde(Fraction(k, 60)) == loss.wrong_sign(eta) - loss.minimal(eta)


@pytest.mark.parametrize("loss", [theory.NONCONVEX, theory.DIPPING], ids=lambda loss: loss.name)
def test_the_actions_of_a_step_loss_cover_all_its_values(loss: theory.StepLoss) -> None:
    def pairs(scores: list[Fraction]) -> set[tuple[Fraction, Fraction]]:
        return {(loss.phi(a), loss.phi(-a)) for a in scores}

    fine = [Fraction(k, 8) for k in range(-60, 61)]
    for sign in (-1, 0, 1):
        listed = [a for a in loss.actions if (a > 0) - (a < 0) == sign]
        assert pairs(listed) == pairs([a for a in fine if (a > 0) - (a < 0) == sign])


@pytest.mark.parametrize("theta", [Fraction(k, 12) for k in range(13)])
def test_two_points_attain_psi(theta: Fraction) -> None:
    gamma, low, high = theory.NONCONVEX.split(theta)
    tilde = theory.NONCONVEX.tilde
    assert gamma * low + (1 - gamma) * high == theta
    assert gamma * tilde(low) + (1 - gamma) * tilde(high) == theory.NONCONVEX.transform(theta)


values = st.lists(st.fractions(0, 5, max_denominator=20), min_size=2, max_size=12)


@given(values)
@settings(max_examples=60, deadline=None)
def test_the_hull_is_convex_below_and_touches_both_ends(heights: list[Fraction]) -> None:
    knots = tuple(Fraction(i) for i in range(len(heights)))
    hull = piecewise_losses.PiecewiseLinear(knots, tuple(heights)).hull()
    slopes = np.diff(hull.values) / np.diff(hull.knots)
    assert (np.diff(slopes) > 0).all()
    assert all(hull(t) <= y for t, y in zip(knots, heights, strict=True))
    assert (hull.values[0], hull.values[-1]) == (heights[0], heights[-1])


@given(values)
@settings(max_examples=40, deadline=None)
def test_the_hull_is_the_best_mixture_of_two_points(heights: list[Fraction]) -> None:
    last = len(heights) - 1
    hull = piecewise_losses.PiecewiseLinear(
        tuple(map(Fraction, range(last + 1))), tuple(heights)
    ).hull()
    for t in range(last + 1):
        mixtures = [heights[t]] + [
            (heights[i] * (j - t) + heights[j] * (t - i)) / (j - i)
            for i in range(t + 1)
            for j in range(t, last + 1)
            if i < j
        ]
        assert hull(Fraction(t)) == min(mixtures)


def test_the_inverse_of_a_piecewise_linear_psi_is_capped() -> None:
    psi = theory.NONCONVEX
    assert psi.inverse(Fraction(9, 20)) == Fraction(1, 2)
    assert psi.inverse(Fraction(7)) == 1


def test_a_point_outside_the_domain_is_refused_with_the_domain() -> None:
    with pytest.raises(ValueError, match=r"outside \[0, 1\]"):
        theory.NONCONVEX.transform(Fraction(2))
