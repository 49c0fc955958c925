from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import optimize

from robustnb.theory.ilyas2019 import (
    adversarial_excess,
    attacked_loss,
    gaussian_loss,
    optimal_perturbation,
    robust_fit,
    worst_cosine,
)

REFERENCE = [
    (0.1, 9.325151, (25.214018, 1.204930), 20.92571, 0.417269),
    (0.5, 1.405888, (26.403427, 2.191750), 12.04673, 0.532063),
    (1.0, 0.548428, (28.530253, 3.763322), 7.58114, 0.641730),
    (2.0, 0.197647, (34.374359, 7.863777), 4.37123, 0.778499),
    (10.0, 0.014405, (125.415116, 78.267566), 1.60239, 0.972841),
]


@pytest.mark.parametrize(("radius", "multiplier", "variances", "condition", "cosine"), REFERENCE)
def test_reference_values(radius, multiplier, variances, condition, cosine):
    fit = robust_fit(np.array([25.0, 1.0]), radius=radius)
    assert fit.multiplier == pytest.approx(multiplier, abs=1e-6)
    assert fit.variances == pytest.approx(variances, abs=1e-6)
    assert (fit.condition, fit.cosine) == pytest.approx((condition, cosine), abs=1e-5)


def test_without_an_adversary_the_fit_is_the_truth():
    fit = robust_fit(np.array([4.0, 1.0, 0.25]), radius=0)
    assert fit.variances.tolist() == [4, 1, 0.25] and fit.multiplier == math.inf
    assert fit.cosine == pytest.approx(worst_cosine(16))


@pytest.mark.parametrize("true", [(25.0, 1.0), (4.0, 1.0, 0.25)])
@pytest.mark.parametrize("radius", [0.3, 1.5])
def test_the_closed_form_is_the_minimax(true, radius):
    true = np.array(true)
    fit = robust_fit(true, radius=radius)
    searched = optimize.minimize(
        lambda logs: attacked_loss(np.exp(logs), true, radius=radius), np.log(true) + 0.3,
        method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-14, "maxiter": 8000},
    )  # fmt: skip
    assert np.exp(searched.x) == pytest.approx(fit.variances, rel=1e-5)
    moved = 1 / (fit.multiplier * fit.variances - 1)
    assert float((true * moved**2).sum()) == pytest.approx(radius**2)


def test_the_attacked_loss_is_a_maximum_over_the_matrices():
    true, variances = np.array([3.0, 1.0]), np.array([4.0, 2.0])
    angles = np.linspace(0, 2 * math.pi, 20_001)
    moves = 0.7 * np.stack([np.cos(angles), np.sin(angles)], 1) / np.sqrt(true)
    losses = 0.5 * (true * (1 + moves) ** 2 / variances + np.log(variances)).sum(1)
    assert attacked_loss(variances, true, radius=0.7) == pytest.approx(losses.max(), abs=1e-7)


def test_the_optimal_perturbation_beats_the_sphere():
    variances, v = np.array([9.0, 1.0]), np.array([2.0, 0.5])
    delta, multiplier = optimal_perturbation(variances, v, radius=0.8)
    assert np.linalg.norm(delta) == pytest.approx(0.8)
    assert multiplier > 1
    angles = np.linspace(0, 2 * math.pi, 50_001)
    sphere = 0.8 * np.stack([np.cos(angles), np.sin(angles)], 1)
    best = gaussian_loss(variances, v + sphere).max()
    assert gaussian_loss(variances, v + delta) == pytest.approx(best, abs=1e-7)


def test_the_excess_is_the_mean_over_draws():
    variances, penalty = np.array([4.0, 1.0]), 3.0
    v = np.random.default_rng(0).standard_normal((400_000, 2)) * np.sqrt(variances)
    moved = v + v / (penalty * variances - 1)
    found = (gaussian_loss(variances, moved) - gaussian_loss(variances, v)).mean()
    assert adversarial_excess(variances, penalty) == pytest.approx(found, rel=0.01)


def test_what_has_no_answer_is_refused():
    with pytest.raises(ValueError, match="unbounded"):
        adversarial_excess(np.array([1.0, 0.1]), 5.0)
    with pytest.raises(ValueError, match="radius"):
        robust_fit(np.array([1.0]), radius=-1)
    with pytest.raises(ValueError, match="radius"):
        optimal_perturbation(np.array([1.0]), np.array([1.0]), radius=0)
    with pytest.raises(ValueError, match="smallest variance"):
        optimal_perturbation(np.array([4.0, 1.0]), np.array([1.0, 0.0]), radius=1.0)
