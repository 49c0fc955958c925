"""The Bernoulli model: exact sums against simulation, thresholding, and the linear lower bound."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import robustnb.theory.schmidt2018 as theory
from robustnb.theory.schmidt2018 import bernoulli

TAU = st.fractions(Fraction(1, 20), Fraction(9, 20), max_denominator=20)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(11)


def test_the_exact_error_of_one_sample_is_the_simulated_one(rng: np.random.Generator) -> None:
    d, tau, eps, draws = 1000, 0.12, 0.05, 20_000
    theta = rng.choice([-1.0, 1.0], size=d)
    (x,), (y,) = theory.draw_model(rng, theta, tau=tau, count=1)
    w = y * x
    xs, ys = theory.draw_model(rng, theta, tau=tau, count=draws)
    agree = int((w == theta).sum())
    for radius in (0.0, eps):
        rate = float((ys * (xs @ w) <= radius * d).mean())
        exact = theory.single_sample_error(agree, d=d, tau=tau, eps=radius)
        assert rate == pytest.approx(exact, abs=4 * math.sqrt(exact / draws) + 2e-4)


def test_the_exact_error_is_a_sum_over_all_points() -> None:
    tau = Fraction(1, 5)
    for weights in itertools.product((-1, 1), repeat=5):
        exact = theory.enumerated_errors(weights, (1,) * 5, tau=tau, eps=Fraction(0))
        agree = weights.count(1)
        found = theory.single_sample_error(agree, d=5, tau=float(tau))
        assert found == pytest.approx(float(exact["standard"]))


@given(st.integers(10, 400), st.floats(0.02, 0.45))
@settings(max_examples=60, deadline=None)
def test_one_sample_is_as_good_as_theorem_27_says(d: int, tau: float) -> None:
    miss, error = theory.single_sample_bounds(d=d, tau=tau)
    assert theory.agreement_tail(tau * d, d=d, tau=tau) <= miss
    agree = math.floor(d * (1 + tau) / 2) + 1  # the fewest with <z, theta> > tau d
    assert theory.single_sample_error(min(agree, d), d=d, tau=tau) <= error


@pytest.mark.parametrize("d", [100, 10_000])
def test_the_corollary_inverts_the_theorem(d: int) -> None:
    tau = float(theory.sufficient_tau(d=d, beta=0.01))
    assert theory.single_sample_bounds(d=d, tau=tau)[1] == pytest.approx(0.01)


@given(st.lists(st.sampled_from([-1, 0, 1]), min_size=1, max_size=4), TAU)
@settings(max_examples=30, deadline=None)
def test_behind_the_threshold_robust_and_standard_error_are_equal(
    weights: list[int], tau: Fraction
) -> None:
    for eps in (Fraction(0), Fraction(1, 2), Fraction(99, 100)):
        errors = theory.enumerated_errors(weights, [1] * len(weights), tau=tau, eps=eps)
        assert errors["thresholded robust"] == errors["thresholded"] == errors["standard"]


def test_at_radius_one_the_threshold_no_longer_helps() -> None:
    errors = theory.enumerated_errors([1], [1], tau=Fraction(1, 4), eps=Fraction(1))
    assert errors["thresholded robust"] > errors["thresholded"]


def test_the_threshold_sends_zero_to_one() -> None:
    assert theory.threshold([-0.1, 0.0, 0.1]).tolist() == [-1, 1, 1]


@pytest.mark.parametrize("n", [1, 3, 9])
def test_counts_of_agreements_have_the_law_of_the_full_dimension(
    rng: np.random.Generator, n: int
) -> None:
    d, tau, draws = 1000, 0.18, 1500
    eps = 1.2 * tau
    fast = theory.averaging_draws(rng, d=d, n=n, tau=tau, eps=eps, draws=20_000).mean()
    failed = []
    for _ in range(draws):
        theta = rng.choice([-1.0, 1.0], size=d)
        xs, ys = theory.draw_model(rng, theta, tau=tau, count=n + 1)
        w = ys[:n] @ xs[:n]
        failed.append(ys[n] * (w @ xs[n]) <= eps * np.abs(w).sum())
    spread = math.sqrt(max(fast * (1 - fast), 1e-3) / draws)
    assert float(np.mean(failed)) == pytest.approx(float(fast), abs=4 * spread)


def test_the_normal_form_of_the_robust_error_is_close_to_the_draws(
    rng: np.random.Generator,
) -> None:
    d, n, tau = 10_000, 25, 0.1
    near = theory.averaging_moments(n=n, tau=tau).robust_error(d=d, tau=tau, eps=0.155)
    drawn = theory.averaging_draws(rng, d=d, n=n, tau=tau, eps=0.155, draws=20_000).mean()
    assert 0.02 < near < 0.98
    assert near == pytest.approx(float(drawn), abs=0.02)


def test_linear_samples_are_the_fewest() -> None:
    setting = {"d": 1e6, "tau": 1e6**-0.25, "eps": 1.5 * 1e6**-0.25}
    n = theory.linear_samples(level=0.01, **setting)
    errors = [
        theory.averaging_moments(n=k, tau=setting["tau"]).robust_error(**setting)
        for k in (n - 2, n)
    ]
    assert errors[0] > 0.01 >= errors[1]


@given(st.integers(1, 200), st.floats(0.01, 0.25), st.floats(0.001, 0.9))
@settings(max_examples=80, deadline=None)
def test_lemma_29_holds_exactly(n: int, tau: float, delta: float) -> None:
    if n <= 1 / tau**2:
        assert theory.log_odds_miss(n=n, tau=tau, delta=delta) <= delta


def test_the_log_odds_are_bayes_rule() -> None:
    n, k, tau = 7, 5, 0.2
    up, down = 0.5 + tau, 0.5 - tau
    ratio = (up**k * down ** (n - k)) / (down**k * up ** (n - k))
    assert float(theory.log_odds(k, n=n, tau=tau)) == pytest.approx(math.log(ratio))


def test_the_linear_bound_is_vacuous_below_three_billion_dimensions() -> None:
    def allowed(d: float) -> float:
        tau = d**-0.25
        return theory.linear_bound_samples(d=d, tau=tau, eps=3 * tau, gamma=0.499)

    assert allowed(1e9) < 1 < allowed(1e10)


def test_the_tail_of_a_weighted_sum_of_signs_is_enumerated() -> None:
    assert theory.mixture_tail([1.0], [0.5], 0.0) == pytest.approx(0.25)
    assert theory.mixture_tail([1.0, 1.0], [0.0, 0.0], 0.0) == pytest.approx(0.75)


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="tau must lie"):
        bernoulli.single_sample_error(1, d=2, tau=0.5)
    with pytest.raises(ValueError, match=r"in 0\.\.2"):
        bernoulli.single_sample_error(3, d=2, tau=0.1)
    with pytest.raises(ValueError, match="not enough"):
        bernoulli.linear_samples(d=100, tau=0.1, eps=0.9, level=0.01, most=100)
