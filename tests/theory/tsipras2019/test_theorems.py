from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from scipy import integrate, optimize, stats

from robustnb.theory.tsipras2019 import (
    DataModel,
    accuracy_bound,
    adversarial_minimiser,
    adversarial_objective,
    expected_hinge,
    largest_shifted_accuracy,
    natural_minimiser,
    natural_objective,
    shifted_accuracy,
    standard_accuracy,
    unit_norm_decay,
)

MODEL = DataModel.of_strength(0.95, 1000, 4)


def test_accuracies_of_a_table_are_those_of_its_definition():
    p, table = 0.7, {"++": 0.9, "+-": 0.4, "-+": 0.6, "--": 0.2}

    def accuracy(moved):
        total = 0.0
        for y, agrees in itertools.product("+-", (True, False)):
            other = "-" if y == "+" else "+"
            says_plus = table[(y if agrees else other) + (other if moved else y)]
            right = says_plus if y == "+" else 1 - says_plus
            total += (p if agrees else 1 - p) * right / 2
        return total

    assert standard_accuracy(p, list(table.values())) == pytest.approx(accuracy(False))
    assert shifted_accuracy(p, list(table.values())) == pytest.approx(accuracy(True))


@pytest.mark.parametrize("p", [Fraction(1, 2), Fraction(7, 10), Fraction(19, 20)])
@pytest.mark.parametrize("part", [Fraction(0), Fraction(1, 3), Fraction(1)])
def test_the_linear_program_attains_the_bound_up_to_one_minus_p(p, part):
    delta = part * (1 - p)
    assert largest_shifted_accuracy(p, delta) == accuracy_bound(p, delta)


def test_the_linear_program_agrees_with_scipy():
    for p, delta in itertools.product((0.5, 0.6, 0.9), (0.0, 0.03, 0.2, 0.4)):
        gain = np.array([-(1 - p), p, -p, 1 - p]) / 2
        cost = np.array([p, -(1 - p), 1 - p, -p]) / 2
        found = optimize.linprog(-gain, A_ub=[-cost], b_ub=[delta - 0.5], bounds=[(0, 1)] * 4)
        exact = largest_shifted_accuracy(Fraction(p), Fraction(delta))
        assert float(exact) == pytest.approx(0.5 - found.fun)


def test_probabilities_that_are_none_are_refused():
    with pytest.raises(ValueError, match="p must lie"):
        largest_shifted_accuracy(Fraction(1, 3), Fraction(0))


@pytest.mark.parametrize(("mean", "spread"), [(0.0, 1.0), (2.0, 0.5), (-1.0, 3.0)])
def test_the_expected_hinge_is_the_integral(mean, spread):
    def integrand(m):
        return max(0.0, 1 - m) * stats.norm.pdf(m, mean, spread)

    whole, _ = integrate.quad(integrand, mean - 12 * spread, 1, limit=200)
    assert expected_hinge(mean, spread) == pytest.approx(whole, abs=1e-9)
    assert expected_hinge(mean, 1e-9) == pytest.approx(expected_hinge(mean, 0.0))


@pytest.mark.parametrize("l2", [1e-4, 1e-2, 0.1])
def test_the_natural_minimiser_beats_a_search(l2):
    w_1, v = natural_minimiser(MODEL, l2=l2)
    searched = optimize.minimize(
        lambda at: natural_objective(MODEL, at[0], at[1], l2=l2), [0.3, 0.6], method="Nelder-Mead",
        options={"xatol": 1e-9, "fatol": 1e-14, "maxiter": 5000},
    )  # fmt: skip
    assert [w_1, v] == pytest.approx(searched.x, abs=1e-5)
    assert 0.936 < v / math.hypot(w_1, v) < 0.942


def test_at_unit_norm_the_natural_learner_is_accurate_and_not_robust():
    w_1, v = natural_minimiser(MODEL, l2=unit_norm_decay(MODEL))
    assert math.hypot(w_1, v) == pytest.approx(1)
    assert MODEL.linear_accuracy(w_1, v) > 0.99
    assert MODEL.linear_accuracy(w_1, v, eps=2 * MODEL.eta) < 0.01


@pytest.mark.parametrize("eps", [0.253, 0.5, 0.85, 0.92])
@pytest.mark.parametrize("l2", [0.01, 0.3])
def test_the_adversarial_minimiser_beats_a_search(eps, l2):
    def objective(at):
        return adversarial_objective(MODEL, at[0], at[1], eps=eps, l2=l2)

    w_1 = adversarial_minimiser(MODEL.p, eps=eps, l2=l2)
    least = min(
        objective((a, b)) for a in np.linspace(-1, 12, 261) for b in np.linspace(-0.2, 0.2, 21)
    )
    assert objective((w_1, 0.0)) <= least + 1e-9


def test_reference_values_of_the_adversarial_learner():
    assert adversarial_minimiser(0.95, eps=0.5, l2=0.01) == pytest.approx(2)
    assert adversarial_objective(MODEL, 2, 0, eps=0.5, l2=0.01) == pytest.approx(0.22)
    assert adversarial_minimiser(0.95, eps=0.9, l2=0.01) == pytest.approx(0)
    assert adversarial_minimiser(0.95, eps=0.95, l2=0.01) == 0


def test_useless_settings_are_refused():
    with pytest.raises(ValueError, match="l2"):
        natural_minimiser(MODEL, l2=0)
    with pytest.raises(ValueError, match="eps"):
        adversarial_minimiser(0.9, eps=1, l2=0.1)
    with pytest.raises(ValueError, match="too faint"):
        unit_norm_decay(DataModel(0.5, 3, 0.0))
