"""The Gaussian model: scalar laws against full dimension, bounds against exact values."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import robustnb.theory.schmidt2018 as theory
from robustnb.theory.schmidt2018 import gaussian

Rng = np.random.Generator


@pytest.fixture
def rng() -> Rng:
    return np.random.default_rng(7)


def agree(a: np.ndarray, b: np.ndarray) -> bool:
    """Two samples of one law, by Kolmogorov and Smirnov at a level that never flickers."""
    return bool(stats.ks_2samp(a, b).pvalue > 1e-3)


@pytest.mark.parametrize("d", [1000, 10_000])
@pytest.mark.parametrize("n", [1, 4])
def test_the_fixed_law_is_that_of_the_full_dimension(rng: Rng, d: int, n: int) -> None:
    sigma = d**0.25
    cosine, _ = gaussian.simulate_averaging(rng, np.ones(d), n=n, sigma=sigma, draws=400)
    law = gaussian.fixed_law(rng, d=d, draws=4000)
    assert agree(cosine, law.cosine(n=n, sigma=sigma))
    assert not agree(cosine, 1.1 * law.cosine(n=n, sigma=sigma))


@pytest.mark.parametrize("d", [1000, 10_000])
def test_the_prior_law_is_that_of_the_full_dimension(rng: Rng, d: int) -> None:
    sigma, n = d**0.25, 3
    theta = rng.standard_normal((400, d))
    cosine, share = gaussian.simulate_averaging(rng, theta, n=n, sigma=sigma, draws=400)
    law = gaussian.prior_law(rng, d=d, draws=4000)
    assert agree(cosine, law.cosine(n=n, sigma=sigma))
    assert agree(share, law.share)
    assert not agree(share, np.sqrt(law.share))


def test_the_robust_error_is_the_rate_of_failures_under_the_best_attack(rng: Rng) -> None:
    d, sigma, eps, draws = 50, 2.0, 0.3, 40_000
    w = rng.standard_normal(d)
    w, theta = w / np.linalg.norm(w), np.ones(d)
    w = (w + 0.3 * theta) / np.linalg.norm(w + 0.3 * theta)
    y = rng.choice([-1.0, 1.0], size=draws)
    x = y[:, None] * theta + sigma * rng.standard_normal((draws, d))
    attacked = x - eps * y[:, None] * np.sign(w)
    rate = float((y * (attacked @ w) <= 0).mean())
    exact = float(
        theory.robust_error(
            w @ theta / math.sqrt(d), np.abs(w).sum() / math.sqrt(d), d=d, sigma=sigma, eps=eps
        )
    )
    assert rate == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / draws))


def test_memory_does_not_grow_with_the_dimension(rng: Rng) -> None:
    law = theory.fixed_law(rng, d=1e12, draws=100)
    assert law.cosine(n=1e5, sigma=1e3) == pytest.approx(1 / math.sqrt(11), rel=1e-4)


@given(st.floats(1, 1e6), st.floats(0.1, 1e3), st.floats(2, 1e12))
@settings(max_examples=100, deadline=None)
def test_the_bound_of_the_cosine_is_below_its_limit(n: float, sigma: float, d: float) -> None:
    bound = float(theory.cosine_bound(n, sigma))
    assert bound < 1 / math.sqrt(1 + sigma**2 / n)
    assert 0 <= float(theory.cosine_miss(d, sigma)) <= 2


def test_the_lemma_on_the_cosine_fails_no_more_often_than_it_says(rng: Rng) -> None:
    law = theory.fixed_law(rng, d=1e4, draws=100_000)
    misses = (law.cosine(n=1, sigma=10) <= theory.cosine_bound(1, 10)).sum()
    assert misses == 0 and theory.cosine_miss(1e4, 10) < 1e-5
    assert (law.cosine(n=1, sigma=10) <= 4.2 * theory.cosine_bound(1, 10)).any()


@pytest.mark.parametrize("power", range(1, 13))
def test_the_constants_of_the_corollary_are_admissible(power: int) -> None:
    d = 10.0**power
    for eps in np.geomspace(0.25 * d**-0.25, 0.25, 9):
        n = max(1.0, 64 * eps**2 * math.sqrt(d))
        assert theory.admissible_eps(d=d, n=n, sigma=d**0.25 / 32, beta=0.01) >= eps


def test_the_lower_bound_is_the_chance_that_the_posterior_mean_fits_the_ball(rng: Rng) -> None:
    d, n, sigma, eps, draws = 20, 2, 3.0, 0.9, 40_000
    mean = math.sqrt(n / (sigma**2 + n)) * rng.standard_normal((draws, d))
    rate = float((np.abs(mean).max(axis=1) <= eps).mean()) / 2
    bound = float(theory.minimax_bound(d=d, n=n, sigma=sigma, eps=eps))
    assert rate == pytest.approx(bound, abs=0.01)


LEARNERS = [theory.averaging_label, theory.nearest_label]


@pytest.mark.parametrize("learner", LEARNERS, ids=lambda f: f.__name__)
def test_no_learner_escapes_the_adversary_of_the_proof(rng: Rng, learner: Any) -> None:
    setting = {"d": 20, "n": 2, "sigma": 3.0, "eps": 1.2}
    failed = theory.posterior_attack(rng, learner, draws=10_000, **setting)
    assert failed.mean() >= float(theory.minimax_bound(**setting)) - 0.02
    unlimited = {**setting, "eps": 1e9}
    rate = theory.posterior_attack(rng, learner, draws=10_000, **unlimited).mean()
    assert rate == pytest.approx(0.5, abs=0.02)


def test_without_an_attack_the_learners_do_better_than_guessing(rng: Rng) -> None:
    setting = {"d": 20, "n": 5, "sigma": 2.0, "eps": 0.0, "draws": 10_000}
    averaging, nearest = (
        float(theory.posterior_attack(rng, learner, **setting).mean()) for learner in LEARNERS
    )
    assert averaging < nearest < 0.45


@pytest.mark.parametrize("n", [1, 2, 5, 20])
def test_averaging_errs_at_least_as_often_as_every_learner_must(rng: Rng, n: int) -> None:
    law = theory.prior_law(rng, d=1e4, draws=4000)
    error = float(law.error(n=n, sigma=10.0, eps=0.5).mean())
    assert error >= theory.minimax_bound(d=1e4, n=n, sigma=10.0, eps=0.5)


@given(st.floats(10, 1e12), st.floats(0.01, 0.49), st.floats(0.05, 1))
@settings(max_examples=60, deadline=None)
def test_forced_samples_invert_the_lower_bound(d: float, level: float, eps: float) -> None:
    n = theory.samples_lower_bound(d=d, sigma=d**0.25, eps=eps, level=level)
    if math.isfinite(n):
        bound = theory.minimax_bound(d=d, n=n, sigma=d**0.25, eps=eps)
        assert float(bound) == pytest.approx(level, rel=1e-4)


@given(st.floats(3, 1e12), st.floats(0.05, 1))
@settings(max_examples=60, deadline=None)
def test_the_corollary_follows_from_the_lower_bound(d: float, eps: float) -> None:
    sigma = d**0.25
    n = theory.corollary_samples(d=d, sigma=sigma, eps=eps)
    bound = theory.minimax_bound(d=d, n=n, sigma=sigma, eps=eps)
    assert float(bound) >= (1 - 1 / d) / 2


def test_bisection_finds_where_a_curve_falls_to_a_level() -> None:
    assert theory.samples_needed(lambda n: 1 / n, 0.01) == pytest.approx(100)
    assert theory.samples_needed(lambda n: 1.0, 0.01) == math.inf


@pytest.mark.parametrize("eps", [0.0, 0.25, 0.5])
def test_the_formula_for_plots_is_the_law_in_high_dimension(rng: Rng, eps: float) -> None:
    d = 1e10
    law = theory.fixed_law(rng, d=d, draws=200)
    needed = theory.samples_needed(
        lambda n: float(law.error(n=n, sigma=d**0.25, eps=eps).mean()), 0.01
    )
    assert needed == pytest.approx(float(theory.limit_samples(d=d, c=1, eps=eps, beta=0.01)), 2e-3)


def test_the_formula_for_plots_is_infinite_where_no_n_is_enough() -> None:
    assert theory.limit_samples(d=1e3, c=1, eps=0.9, beta=0.01) == math.inf


def test_the_slope_of_a_power_is_its_exponent() -> None:
    x = np.array([1.0, 10.0, 100.0])
    assert theory.loglog_slope(x, np.stack([3 * x**0.5, x**2])) == pytest.approx([0.5, 2])


def test_bad_arguments_are_refused(rng: Rng) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        theory.fixed_law(rng, d=0, draws=1)
    with pytest.raises(ValueError, match="level must lie"):
        theory.samples_lower_bound(d=10, sigma=1, eps=0.1, level=0.7)
