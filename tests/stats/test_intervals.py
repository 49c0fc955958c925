from __future__ import annotations

import numpy as np
import pytest
from scipy import stats as st

from robustnb.stats import (
    Interval,
    clopper_pearson,
    paired_bootstrap,
    percentile_interval,
    prediction_interval,
    resampled_means,
    t_interval,
    wilson,
)


@pytest.mark.parametrize(("k", "n"), [(0, 7), (3, 7), (7, 7), (1, 1), (950, 1000)])
@pytest.mark.parametrize(("ours", "method"), [(clopper_pearson, "exact"), (wilson, "wilson")])
def test_binomial_intervals_are_scipys(k, n, ours, method):
    theirs = st.binomtest(k, n).proportion_ci(0.9, method=method)
    assert (ours(k, n, level=0.9).low, ours(k, n, level=0.9).high) == pytest.approx(
        tuple(theirs), abs=1e-12
    )


def test_no_success_in_n_gives_the_closed_form_upper_end():
    assert clopper_pearson(0, 50).high == pytest.approx(1 - 0.025 ** (1 / 50))


@pytest.mark.parametrize("rate", [0.001, 0.03, 0.4, 0.97])
def test_clopper_pearson_covers_every_rate_exactly_often_enough(rate):
    n = 60
    k = np.arange(n + 1)
    inside = [rate in clopper_pearson(int(i), n) for i in k]
    assert st.binom.pmf(k, n, rate)[inside].sum() >= 0.95


def test_wilson_covers_on_average_over_rates_but_not_always():
    n, rates = 60, np.linspace(0.01, 0.99, 99)
    k = np.arange(n + 1)
    intervals = [wilson(int(i), n) for i in k]
    cover = [st.binom.pmf(k, n, r)[[r in i for i in intervals]].sum() for r in rates]
    assert np.mean(cover) == pytest.approx(0.95, abs=0.01)
    assert min(cover) < 0.95


@pytest.mark.parametrize("call", [clopper_pearson, wilson])
def test_impossible_counts_are_refused(call):
    with pytest.raises(ValueError, match="0 <= k <= n"):
        call(5, 4)


def test_t_interval_is_scipys():
    x = [0.3, 0.1, 0.5, 0.45]
    low, high = st.t.interval(0.95, 3, loc=np.mean(x), scale=st.sem(x))
    found = t_interval(x)
    assert (found.low, found.high) == pytest.approx((low, high))


def test_t_and_prediction_intervals_hold_their_level():
    rng = np.random.default_rng(0)
    x = rng.normal(2.0, 3.0, size=(2000, 6))
    mean = sum(2.0 in t_interval(row[:5]) for row in x)
    new = sum(row[5] in prediction_interval(row[:5]) for row in x)
    for hits in (mean, new):
        assert abs(hits - 1900) < 4 * np.sqrt(2000 * 0.95 * 0.05)


def test_one_seed_has_no_t_interval():
    with pytest.raises(ValueError, match="two or more"):
        t_interval([0.3])


def test_the_hull_holds_both_intervals_and_says_what_it_covers():
    hull = Interval(0, 1, 0.95, "seeds").hull(Interval(0.5, 2, 0.95, "examples"))
    assert (hull.low, hull.high, hull.covers) == (0, 2, "seeds and examples")


def test_intervals_of_different_levels_have_no_hull():
    with pytest.raises(ValueError, match="levels differ"):
        Interval(0, 1, 0.9).hull(Interval(0, 1, 0.95))


def test_an_interval_from_high_to_low_is_refused():
    with pytest.raises(ValueError, match="swap"):
        Interval(1, 0)


@pytest.mark.parametrize("binary", [True, False])
def test_resampled_means_have_the_mean_and_covariance_of_the_bootstrap(binary):
    rng = np.random.default_rng(1)
    rows = rng.random((400, 2))
    rows[:, 1] = 0.5 * rows[:, 0] + 0.5 * rows[:, 1]
    rows = (rows > 0.6).astype(float) if binary else rows
    means = resampled_means(rows, draws=20_000, generator=rng)
    assert means.mean(axis=0) == pytest.approx(rows.mean(axis=0), abs=1e-3)
    assert np.cov(means.T) == pytest.approx(np.cov(rows.T, bias=True) / 400, rel=0.06)


def test_resampling_in_small_chunks_gives_the_same_law(monkeypatch):
    rows = np.random.default_rng(0).random((30, 1))
    monkeypatch.setattr("robustnb.stats._CHUNK", 100)
    means = resampled_means(rows, draws=5000, generator=np.random.default_rng(3))
    assert means.std() == pytest.approx(rows.std() / np.sqrt(30), rel=0.05)


def test_the_paired_bootstrap_uses_the_pairing():
    rng = np.random.default_rng(2)
    hard = rng.random(500) < 0.5
    better = hard | (rng.random(500) < 0.04)
    paired = paired_bootstrap(better, hard, generator=np.random.default_rng(0))
    shuffled = paired_bootstrap(better, rng.permutation(hard), generator=np.random.default_rng(0))
    assert paired.low > 0 and shuffled.low < 0


def test_the_paired_bootstrap_covers_the_true_difference():
    rng = np.random.default_rng(4)
    hits = 0
    for _ in range(400):
        a, b = rng.random(150) < 0.7, rng.random(150) < 0.6
        hits += 0.1 in paired_bootstrap(a, b, draws=400, generator=rng)
    assert hits >= st.binom.ppf(0.001, 400, 0.94)


def test_arms_of_different_lengths_are_not_paired():
    with pytest.raises(ValueError, match="same examples"):
        paired_bootstrap([1, 0], [1, 0, 1], generator=np.random.default_rng(0))


def test_equal_generators_give_equal_intervals():
    draws = [
        paired_bootstrap([1, 0, 1, 1], [0, 0, 1, 0], generator=np.random.default_rng(7))
        for _ in range(2)
    ]
    assert draws[0] == draws[1]


def test_percentiles_cut_equal_tails():
    found = percentile_interval(np.arange(1001), level=0.9)
    assert (found.low, found.high) == pytest.approx((50, 950))
