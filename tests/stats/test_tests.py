from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from scipy import stats as st

from robustnb import stats
from robustnb.stats import (
    benjamini_hochberg,
    binomial_upper_quantile,
    crossed_bootstrap,
    minimal_detectable,
    percentile_test,
    power_against,
    power_of_equivalence,
    sign_test,
    t_test,
    tost,
)


@pytest.mark.parametrize("size", [1, 2, 30, 1000])
def test_adjusted_p_values_follow_their_definition(size):
    p = np.random.default_rng(0).random(size).round(2) ** 2  # with ties
    rank = [int((p <= value).sum()) for value in p]
    defined = [
        min([1.0, *(size * p[j] / rank[j] for j in range(size) if p[j] >= value)]) for value in p
    ]
    assert benjamini_hochberg(p) == pytest.approx(defined, rel=1e-12)


def test_no_p_values_give_no_adjusted_ones():
    assert benjamini_hochberg([]).size == 0


@pytest.mark.parametrize("p", [[0.5, 1.2], [-0.1], [0.5, np.nan], [[0.5]]])
def test_what_is_no_list_of_p_values_is_refused(p):
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        benjamini_hochberg(p)


def test_benjamini_hochberg_holds_the_false_discovery_rate():
    rng = np.random.default_rng(1)
    rates = []
    for _ in range(400):
        z = rng.normal(size=20) + np.r_[np.full(5, 3.0), np.zeros(15)]
        found = benjamini_hochberg(2 * st.norm.sf(abs(z))) <= 0.05
        rates.append(found[5:].sum() / max(1, found.sum()))
    assert np.mean(rates) < 0.05


@pytest.mark.parametrize(("n", "alpha"), [(2000, 0.05), (5000, 0.01), (10**6, 1e-6)])
def test_the_upper_quantile_is_the_first_count_with_enough_mass_below(n, alpha):
    m = binomial_upper_quantile(n, alpha)
    assert st.binom.cdf(m, n, alpha) >= 0.999 > st.binom.cdf(m - 1, n, alpha)


def test_the_t_test_is_scipys():
    x = [0.3, 0.1, 0.5, 0.45]
    assert t_test(x, null=0.2) == pytest.approx(st.ttest_1samp(x, 0.2).pvalue)


def test_equal_values_are_certain_either_way():
    assert t_test([1.0, 1.0, 1.0]) == 0.0
    assert t_test([0.2, 0.2, 0.2], null=0.2) == 1.0


def test_the_sign_test_is_the_exact_binomial_one():
    assert sign_test(9, 1) == pytest.approx(2 * 11 / 2**10)
    assert sign_test(0, 0) == 1.0


def test_tost_rejects_exactly_when_the_90_percent_interval_lies_within_the_margin():
    margin, error, df = 1.0, 0.3, 4
    half = st.t.ppf(0.95, df) * error
    inside = [abs(x) + half < margin for x in np.linspace(-1, 1, 201)]
    rejected = [tost(x, error, margin, df=df) < 0.05 for x in np.linspace(-1, 1, 201)]
    assert rejected == inside and any(inside) and not all(inside)


def test_tost_without_error_compares_with_the_margin():
    assert (tost(0.5, 0.0, 1.0), tost(1.5, 0.0, 1.0)) == (0.0, 1.0)


@pytest.mark.parametrize("df", [2, 4, 30, math.inf])
def test_the_detectable_difference_is_seen_with_the_power_it_promises(df):
    delta = minimal_detectable(2.0, df=df)
    rng = np.random.default_rng(5)
    n = 20_000
    scale = 1.0 if math.isinf(df) else np.sqrt(rng.chisquare(df, n) / df)
    t = (delta + 2.0 * rng.normal(size=n)) / (2.0 * scale)
    assert (t > st.t.ppf(0.975, df)).mean() == pytest.approx(0.8, abs=0.012)
    assert power_against(delta, 2.0, df=df) == pytest.approx(0.8, abs=1e-9)


@pytest.mark.parametrize("df", [4, 30, math.inf])
@pytest.mark.parametrize("margin", [1.0, 2.0, 3.5, 6.0])
def test_the_power_of_an_equivalence_is_no_more_than_simulation_gives(df, margin):
    rng, n = np.random.default_rng(6), 20_000
    scale = np.ones(n) if math.isinf(df) else np.sqrt(rng.chisquare(df, n) / df)
    gap = rng.normal(size=n)
    found = (margin - abs(gap)) / scale > st.t.ppf(0.95, df)
    promised = power_of_equivalence(margin, 1.0, df=df)
    assert promised <= found.mean() + 0.01
    if promised > 0.5:
        assert promised == pytest.approx(found.mean(), abs=0.03)


def test_power_without_an_effect_or_an_error_is_refused():
    for effect, error in [(0.0, 1.0), (1.0, 0.0), (-1.0, 1.0)]:
        with pytest.raises(ValueError, match=r"(effect|error) must be finite and > 0"):
            power_against(effect, error)


def test_the_percentile_test_rejects_when_its_interval_excludes_the_null():
    draws = np.random.default_rng(0).normal(2.3, 1, size=4000)
    low = np.quantile(draws, 0.025)
    assert percentile_test(draws, null=low - 0.05) < 0.05 < percentile_test(draws, null=low + 0.05)


def test_the_crossed_bootstrap_feels_both_seeds_and_examples():
    rng = np.random.default_rng(6)
    seeds, n = 8, 300
    seed_effect, example_effect = rng.normal(size=(seeds, 1)), rng.normal(size=n) * 12

    def spread(x):
        draws = crossed_bootstrap(
            x[:, None, :], lambda m: m[..., 0], draws=4000, generator=np.random.default_rng(0)
        )
        return draws.std()

    only_seeds, only_examples = (
        spread(seed_effect + np.zeros(n)),
        spread(np.zeros((seeds, 1)) + example_effect),
    )
    assert only_seeds == pytest.approx(seed_effect.std() / np.sqrt(seeds), rel=0.05)
    assert only_examples == pytest.approx(example_effect.std() / np.sqrt(n), rel=0.05)
    both = spread(seed_effect + example_effect)
    assert both == pytest.approx(math.hypot(only_seeds, only_examples), rel=0.05)


def test_the_crossed_bootstrap_wants_seeds_arms_and_examples():
    with pytest.raises(ValueError, match="seeds, arms, examples"):
        crossed_bootstrap(np.zeros((3, 4)), lambda m: m, generator=np.random.default_rng(0))


NO_NUMBERS = {
    "an alpha above one": lambda: stats.power_against(1.0, 1.0, alpha=2),
    "an alpha of zero": lambda: stats.minimal_detectable(1.0, alpha=0),
    "one test at more than one half": lambda: stats.power_of_equivalence(1.0, 1.0, alpha=0.7),
    "no degree of freedom": lambda: stats.tost(1.0, 1.0, 1.0, df=0),
    "an estimate that is none": lambda: stats.tost(math.nan, 1.0, 1.0),
    "a null that is none": lambda: stats.t_test([1.0, 2.0], null=math.nan),
    "half a win": lambda: stats.sign_test(1.5, 2),
    "no draws": lambda: stats.percentile_interval([]),
    "a draw that is none": lambda: stats.percentile_test([math.nan, 1.0]),
    "no resamples": lambda: stats.resampled_means(
        [[1.0]], draws=0, generator=np.random.default_rng(0)
    ),
    "an outcome that is none": lambda: stats.resampled_means(
        [[math.nan]], generator=np.random.default_rng(0)
    ),
    "no seeds": lambda: stats.crossed_bootstrap(
        np.zeros((0, 1, 2)), lambda m: m[..., 0], generator=np.random.default_rng(0)
    ),
}


@pytest.mark.parametrize("call", NO_NUMBERS.values(), ids=NO_NUMBERS)
def test_what_no_statistic_can_be_of_is_refused(call):
    with pytest.raises(ValueError, match=r"must|need|between 0 and 1|leave such"):
        call()


def test_numbers_of_other_kinds_are_taken():
    assert stats.sign_test(np.int64(3), torch.tensor(1)) == stats.sign_test(3, 1)
    assert stats.power_against(np.float32(1), Fraction(1, 2)) == stats.power_against(1.0, 0.5)
    assert stats.tost(Fraction(1, 2), np.float64(1), torch.tensor(2.0)) == stats.tost(0.5, 1, 2)
