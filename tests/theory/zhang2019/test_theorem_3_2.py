"""Theorem 3.2: both sides of the construction, exactly where the loss allows."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import robustnb.theory.zhang2019 as theory
from robustnb.theory.zhang2019 import calibration, theorem_3_1_exact, theorem_3_2

THETAS = [Fraction(k, 10) for k in range(11)]
EXACT = [
    theorem_3_1_exact.EXACT_LOSSES["hinge"],
    theorem_3_1_exact.EXACT_LOSSES["truncated squared"],
    theory.NONCONVEX,
]
FLOAT = [loss for loss in calibration.LOSSES.values() if loss.vanishes]


@pytest.mark.parametrize("loss", EXACT, ids=lambda loss: loss.name)
@given(theta=st.fractions(0, 1, max_denominator=30), xi=st.fractions(Fraction(1, 500), 1))
@settings(max_examples=40, deadline=None)
def test_the_construction_is_exact(
    loss: theorem_3_1_exact.Rational, theta: Fraction, xi: Fraction
) -> None:
    found = theorem_3_2.two_point(loss, theta=theta, xi=xi)  # type: ignore[arg-type]
    assert found.excess == theta
    assert 0 <= found.looseness <= xi


@pytest.mark.parametrize("loss", FLOAT, ids=lambda loss: loss.name)
@pytest.mark.parametrize("theta", [0.0, 0.25, 0.4, 0.9, 1.0])
@pytest.mark.parametrize("xi", [0.1, 0.001])
def test_the_construction_holds_for_every_vanishing_loss(
    loss: calibration.Loss, theta: float, xi: float
) -> None:
    found = theorem_3_2.two_point(loss, theta=theta, xi=xi)
    assert found.excess == pytest.approx(theta, abs=1e-12)
    assert -1e-12 <= found.looseness <= xi


@pytest.mark.parametrize("theta", THETAS[1:])
def test_the_hinge_instance_has_the_closed_form(theta: Fraction) -> None:
    nu = min(Fraction(1), Fraction(1, 100) / theta)
    eta = (1 + theta) / 2
    found = theorem_3_2.evaluate_two_point(
        theorem_3_1_exact.EXACT_LOSSES["hinge"],
        gamma=Fraction(1),
        etas=(eta, eta),
        scores=(-nu, -nu),
        lam=nu**2,
    )
    assert (found.excess, found.gap, found.regulariser) == (theta, theta + nu * theta, 0)


def test_the_nonconvex_loss_needs_two_points() -> None:
    two = theorem_3_2.evaluate_two_point(
        theory.NONCONVEX,
        gamma=Fraction(3, 4),
        etas=(Fraction(2, 3), Fraction(1)),
        scores=(Fraction(-2), Fraction(-1, 4)),
        lam=Fraction(1, 100),
    )
    assert (two.excess, two.gap, two.regulariser) == (Fraction(1, 2), Fraction(9, 20), 0)
    eta = Fraction(3, 4)
    one = theory.NONCONVEX.wrong_sign(eta) - theory.NONCONVEX.minimal(eta)
    assert one == Fraction(1, 2)


def test_the_two_point_values_are_those_of_the_finite_instance() -> None:
    found = theorem_3_2.two_point(theory.NONCONVEX, theta=Fraction(1, 2), xi=Fraction(1, 10))
    one = theorem_3_1_exact.ExactInstance(
        (found.gamma, 1 - found.gamma),
        found.etas,
        found.scores,
        theorem_3_1_exact.complete_balls(2),
    )
    bound = theorem_3_1_exact.exact_bound(one, theory.NONCONVEX, lam=found.lam)
    assert (bound["left"], bound["gap"]) == (found.excess, found.gap)
    assert (bound["regulariser"], bound["bdy"]) == (found.regulariser, 0)


def test_the_squared_loss_is_refused_because_it_does_not_vanish() -> None:
    with pytest.raises(ValueError, match="does not vanish"):
        theorem_3_2.two_point(calibration.SQUARED, theta=0.5, xi=0.1)


def test_a_loss_whose_only_good_action_is_zero_is_refused() -> None:
    def spike(a: Fraction) -> Fraction:
        return Fraction(1 if a == 0 else 0 if a > 0 else 5)

    loss = theory.StepLoss("spike", spike, (Fraction(-1), Fraction(0), Fraction(1)))
    with pytest.raises(ValueError, match="needs a < 0"):
        theorem_3_2.two_point(loss, theta=Fraction(1, 2), xi=Fraction(1, 10))


@pytest.mark.parametrize(("theta", "xi"), [(-0.1, 0.1), (1.1, 0.1), (0.5, 0.0)])
def test_theta_and_xi_are_checked(theta: float, xi: float) -> None:
    with pytest.raises(ValueError, match="0 <= theta <= 1"):
        theorem_3_2.two_point(calibration.HINGE, theta=theta, xi=xi)
