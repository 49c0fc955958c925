from __future__ import annotations

import math

import numpy as np
import pytest

from robustnb.stats import clopper_pearson
from robustnb.theory.tsipras2019 import DataModel

MODEL = DataModel.of_strength(0.95, 1000, 4)


def test_closed_forms_of_three_rules_at_four_radii():
    radii = (0, MODEL.eta, 2 * MODEL.eta, 0.5)
    rules = {
        (0, 1): [0.999968, 0.5, 0.000032, 0],
        (1, 0): [0.95] * 4,
        MODEL.bayes_rule(): [0.999987, 0.611740, 0.000093, 0],
    }
    for rule, accuracies in rules.items():
        found = [MODEL.linear_accuracy(*rule, eps=eps) for eps in radii]
        assert found == pytest.approx(accuracies, abs=5e-7)


def test_the_sign_of_the_strong_feature_falls_at_radius_one():
    assert MODEL.linear_accuracy(1, 0, eps=0.999) == 0.95
    assert MODEL.linear_accuracy(1, 0, eps=1) == 0
    assert MODEL.linear_accuracy(0, 0) == 0


@pytest.mark.parametrize("eps", [0.0, 0.1, 0.3])
@pytest.mark.parametrize("rule", [(0.4, 0.9), (0.0, 1.0), (-0.3, 0.5), (1.0, -0.4), (0.5, 0.0)])
def test_linear_accuracy_is_that_of_samples_at_their_worst_corner(rule, eps):
    model = DataModel(0.8, 6, 0.4)
    x, y = model.sample(np.random.default_rng(0), 40_000)
    weights = np.array([rule[0], *[rule[1] / math.sqrt(model.d)] * model.d])
    worst = x - eps * y[:, None] * np.sign(weights)
    right = (worst @ weights) * y > 0
    interval = clopper_pearson(int(right.sum()), len(y), level=0.9999)
    assert interval.low <= model.linear_accuracy(*rule, eps=eps) <= interval.high


def test_shifted_accuracy_is_that_of_shifted_samples_for_any_weights():
    model, rng = DataModel(0.9, 8, 0.5), np.random.default_rng(1)
    weights = rng.standard_normal(9)
    x, y = model.sample(rng, 40_000)
    right = (model.shift(x, y, eps=0.6) @ weights) * y > 0
    interval = clopper_pearson(int(right.sum()), len(y), level=0.9999)
    assert interval.low <= model.shifted_accuracy(weights, eps=0.6) <= interval.high
    signs = np.sign(weights[1:])
    moved = x.copy()
    moved[:, 1:] -= 0.2 * y[:, None] * signs
    share = ((moved @ weights) * y > 0).mean()
    assert model.shifted_accuracy(weights, eps=0.2, signs=signs) == pytest.approx(share, abs=0.01)
    alike = np.array([0.7, *[1 / math.sqrt(8)] * 8])
    assert model.shifted_accuracy(alike) == pytest.approx(model.linear_accuracy(0.7, 1.0))


def test_the_shift_is_the_worst_perturbation_of_rules_that_weigh_weak_features_alike():
    eps = 2 * MODEL.eta
    weak_only = np.array([0.0, *[1.0] * MODEL.d])
    assert MODEL.shifted_accuracy(weak_only, eps=eps) == pytest.approx(
        MODEL.linear_accuracy(0, 1, eps=eps)
    )


def test_a_shift_by_twice_eta_turns_the_weak_features_into_those_of_the_other_label():
    model = DataModel(0.7, 5, 0.3)
    x, y = model.sample(np.random.default_rng(2), 50_000)
    moved = model.shift(x, y, eps=2 * model.eta)
    np.testing.assert_array_equal(moved[:, 0], x[:, 0])
    assert (moved[:, 1:] * y[:, None]).mean() == pytest.approx(-model.eta, abs=0.01)
    assert moved[:, 1:].std(axis=0) == pytest.approx(x[:, 1:].std(axis=0), abs=0.02)


@pytest.mark.parametrize(
    ("u", "standard", "robust"),
    [
        (0, 0.999968, 0.000032),
        (2, 0.998862, 0.021613),
        (4, 0.975000, 0.475000),
        (6, 0.951138, 0.928387),
        (8, 0.950002, 0.949970),
    ],
)
def test_threshold_rules(u, standard, robust):
    assert MODEL.threshold_accuracies(u) == pytest.approx((standard, robust), abs=1e-6)


def test_threshold_rules_on_samples():
    model = DataModel.of_strength(0.8, 25, 2)
    x, y = model.sample(np.random.default_rng(3), 50_000)

    def accuracy(points):
        z = points[:, 1:].sum(1) / 5
        says = np.where(np.where(points[:, 0] > 0, z > -1.5, z > 1.5), 1.0, -1.0)
        return (says == y).mean()

    found = accuracy(x), accuracy(model.shift(x, y, eps=2 * model.eta))
    assert found == pytest.approx(model.threshold_accuracies(1.5), abs=0.01)


@pytest.mark.parametrize(
    ("settings", "named"), [((0.4, 3, 1), "p must"), ((0.6, 0, 1), "d must"), ((0.6, 3, -1), "eta")]
)
def test_what_is_no_such_law_is_refused(settings, named):
    with pytest.raises(ValueError, match=named):
        DataModel(*settings)
