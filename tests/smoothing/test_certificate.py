"""Bounds and radii: test vectors, exact coverage at small alpha, and wrong forms shown wrong."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats

from robustnb import smoothing
from robustnb.smoothing import failure_probability
from robustnb.stats import clopper_pearson

VECTORS = [
    (100, 99, 0.9113731112960, 1.3492590388),
    (1_000, 990, 0.9760361871553, 1.9780095821),
    (10_000, 9_900, 0.9865311593238, 2.2124196651),
    (10_000, 10_000, 0.9993094630026, 3.1985775147),
    (100_000, 99_000, 0.9889893403775, 2.2899999552),
]
RATES = np.concatenate([[1e-9, 0.5], np.linspace(0.001, 0.999, 333), 1 - np.logspace(-9, -2, 60)])


@pytest.mark.parametrize(("n", "hits", "bound", "quantile"), VECTORS)
def test_the_bound_and_the_radius_have_their_known_values(n, hits, bound, quantile) -> None:
    low = smoothing.lower_bound(hits, n, 0.001)
    assert low == pytest.approx(bound, abs=5e-14)
    radius = smoothing.certified_radius(low, sigma=0.25)
    assert radius == pytest.approx(0.25 * quantile, abs=1e-10)


@given(st.integers(1, 3000), st.floats(0, 1), st.floats(1e-6, 0.4))
@settings(max_examples=150, deadline=None)
def test_the_bound_is_one_side_of_the_interval_of_twice_alpha(n, share, alpha) -> None:
    hits = round(share * n)
    both = clopper_pearson(hits, n, level=1 - 2 * alpha)
    assert smoothing.lower_bound(hits, n, alpha) == pytest.approx(both.low, rel=1e-7)
    assert smoothing.upper_bound(hits, n, alpha) == pytest.approx(both.high, rel=1e-7)


@given(st.integers(1, 2000), st.floats(1e-7, 0.3), st.floats(0, 1))
@settings(max_examples=150, deadline=None)
def test_the_bound_fails_with_at_most_alpha_by_exact_sums(n, alpha, p) -> None:
    assert smoothing.miss_probability(p, n=n, alpha=alpha) <= alpha * (1 + 1e-9)


@pytest.mark.parametrize("alpha", [1e-2, 1e-3, 1e-6])
@pytest.mark.parametrize("n", [100, 1000, 10_000])
def test_no_rate_of_a_fine_grid_breaks_a_small_alpha(n, alpha) -> None:
    assert smoothing.miss_probability(RATES, n=n, alpha=alpha).max() <= alpha


def test_the_exact_sums_have_their_known_values() -> None:
    found = smoothing.miss_probability([0.5, 0.9, 0.99], n=1000, alpha=0.01)
    assert found.round(5).tolist() == [0.00883, 0.00987, 0.00268]


def test_the_exact_sum_is_the_sum_over_all_counts() -> None:
    n, alpha, p = 37, 0.03, 0.71
    wrong = smoothing.lower_bound(np.arange(n + 1), n, alpha) > p
    total = stats.binom.pmf(np.arange(n + 1), n, p)[wrong].sum()
    assert smoothing.miss_probability(p, n=n, alpha=alpha) == pytest.approx(total, rel=1e-12)


def test_a_larger_alpha_than_promised_is_noticed_by_the_exact_sum() -> None:
    assert smoothing.miss_probability(RATES, n=1000, alpha=2e-3).max() > 1e-3


def test_choosing_the_class_on_the_samples_that_bound_it_breaks_the_promise() -> None:
    n, alpha = 1000, 0.01
    counts = np.arange(n + 1)
    chosen = np.maximum(counts, n - counts)  # two classes of probability 1/2 each
    wrong = smoothing.lower_bound(chosen, n, alpha) > 0.5
    assert stats.binom.pmf(counts, n, 0.5)[wrong].sum() > 1.5 * alpha


def test_the_normal_approximation_breaks_the_promise() -> None:
    n, alpha, p = 100, 0.001, 0.99
    share = np.arange(n + 1) / n
    wald = share + stats.norm.ppf(alpha) * np.sqrt(share * (1 - share) / n)
    assert stats.binom.pmf(np.arange(n + 1), n, p)[wald > p].sum() > 100 * alpha


def test_no_hit_and_only_hits_have_closed_forms() -> None:
    assert smoothing.lower_bound([0, 50], 50, 0.01).tolist() == [0.0, 0.01 ** (1 / 50)]
    assert smoothing.upper_bound([0, 50], 50, 0.01).tolist() == [1 - 0.01 ** (1 / 50), 1.0]


def test_the_largest_radius_is_reached_by_all_hits_and_by_none_beyond() -> None:
    largest = smoothing.largest_radius(n=100_000, alpha=0.001, sigma=0.25)
    assert largest == pytest.approx(0.9529, abs=5e-5)
    common = {"n": 100_000, "alpha": 0.001, "sigma": 0.25}
    assert smoothing.min_count(largest, **common) == 100_000
    assert smoothing.min_count(largest * (1 + 1e-9), **common) is None


def test_the_radius_of_2_in_255_needs_9651_of_10000_hits_and_8_in_255_is_out_of_reach() -> None:
    common = {"n": 10_000, "alpha": 0.001, "sigma": 0.25}
    small, large = (smoothing.linf_to_radius(e / 255, dimension=3072) for e in (2, 8))
    assert (round(small, 6), round(large, 3)) == (0.434711, 1.739)
    assert smoothing.min_count(small, **common) == 9651
    assert smoothing.min_count(large, **common) is None


def test_to_certify_radius_zero_takes_a_bound_above_one_half() -> None:
    hits = smoothing.min_count(0.0, n=100, alpha=0.01, sigma=1.0)
    low = smoothing.lower_bound([hits - 1, hits], 100, 0.01)
    assert low[0] <= 0.5 < low[1]


@given(st.floats(0.5, 1 - 1e-9), st.floats(0, 0.5), st.floats(0.01, 4))
@settings(max_examples=100, deadline=None)
def test_a_bound_on_the_runner_up_never_shortens_the_radius(p_a, share, sigma) -> None:
    p_b = share * 2 * (1 - p_a)
    both = smoothing.certified_radius(p_a, p_b, sigma=sigma)
    one = smoothing.certified_radius(p_a, sigma=sigma)
    assert both >= one * (1 - 1e-12)
    assert smoothing.certified_radius(p_a, 1 - p_a, sigma=sigma) == pytest.approx(one, rel=1e-6)


def test_a_half_space_of_mass_p_keeps_the_majority_exactly_up_to_the_radius() -> None:
    sigma, p = 0.5, 0.93  # step (b) of the proof: the mass left is Phi(Phi^-1(p) - shift / sigma)
    radius = smoothing.certified_radius(p, sigma=sigma)
    left = special.ndtr(special.ndtri(p) - np.array([radius - 1e-9, radius + 1e-9]) / sigma)
    assert left[0] > 0.5 > left[1]


def test_the_two_norms_convert_there_and_back() -> None:
    eps = 0.01
    there = smoothing.linf_to_radius(eps, dimension=784)
    assert there == pytest.approx(0.28)
    assert smoothing.radius_to_linf(there, dimension=784) == pytest.approx(eps)
    corner = torch.full((784,), eps)
    assert float(corner.norm()) == pytest.approx(there)  # the ball's farthest point


def certificate(lower: list[float], top: list[int]) -> smoothing.Certificate:
    column = torch.tensor(top)
    low = torch.tensor(lower, dtype=torch.float64)
    return smoothing.Certificate(column, column, column, low, sigma=1.0, n0=1, alpha=0.01)


def test_certified_accuracy_counts_an_abstention_as_wrong() -> None:
    low = [0.5, 0.6, float(special.ndtr(1.0)), 0.99]
    found, y = certificate(low, [0, 1, 2, 3]), torch.tensor([0, 1, 2, 0])
    assert found.prediction.tolist() == [smoothing.ABSTAIN, 1, 2, 3]
    assert found.abstained.tolist() == [True, False, False, False]
    shares = smoothing.certified_accuracy(found, y, [0.0, 0.5, 0.99, 1.01])
    assert shares.tolist() == [0.5, 0.25, 0.25, 0.0]
    assert smoothing.certified_accuracy(found, y, [float(found.radius[2])]).item() == 0.25


def test_the_area_below_the_curve_is_the_average_radius() -> None:
    generator = torch.Generator().manual_seed(0)
    low = (0.3 + 0.69 * torch.rand(200, generator=generator)).tolist()
    found = certificate(low, [k % 3 for k in range(200)])
    y, grid = torch.tensor([k % 2 for k in range(200)]), torch.linspace(0, 3, 4001).double()
    area = torch.trapezoid(smoothing.certified_accuracy(found, y, grid.tolist()), grid)
    assert smoothing.average_radius(found, y) == pytest.approx(float(area), abs=1e-3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: smoothing.lower_bound(3, 2, 0.1), "hits first"),
        (lambda: smoothing.lower_bound(1, 2, 0.0), "alpha=0.001"),
        (lambda: smoothing.radius_to_linf(1.0, dimension=0), "numel"),
        (lambda: smoothing.certified_correct(certificate([0.9], [1]), torch.ones(2)), "labels"),
        (
            lambda: smoothing.certified_correct(certificate([0.9], [1]), torch.ones(1), radius=-1),
            "pixel units",
        ),
        (
            lambda: failure_probability.wrong_vote_probability([0.5, 0.5], n=3, alpha=0.1),
            "three classes",
        ),
    ],
)
def test_bad_arguments_are_refused_with_the_fix(call, message) -> None:
    with pytest.raises(ValueError, match=message):
        call()


NONSENSE = {
    "a negative sigma": (lambda: smoothing.certified_radius(0.9, sigma=-1.0), "sigma must be"),
    "a sigma that is none": (lambda: smoothing.certified_radius(0.9, sigma=np.nan), "sigma must"),
    "no sigma": (lambda: smoothing.largest_radius(n=10, alpha=0.1, sigma=0.0), "sigma must be"),
    "a probability above one": (lambda: smoothing.certified_radius(1.5, sigma=1.0), "in .0, 1"),
    "a probability that is none": (
        lambda: smoothing.certified_radius([0.5, np.nan], sigma=1.0), "in .0, 1",
    ),
    "no trials": (lambda: smoothing.lower_bound(0, 0, 0.1), "n >= 1"),
    "half a hit": (lambda: smoothing.lower_bound(5.5, 10, 0.1), "whole numbers; pass hits and not"),
    "hits that are none": (lambda: smoothing.upper_bound(np.nan, 10, 0.1), "0 <= hits <= n"),
    "no copies": (lambda: smoothing.largest_radius(n=0, alpha=0.1, sigma=1.0), "n must be an int"),
    "half a copy": (lambda: smoothing.min_count(0.5, n=1.5, alpha=0.1, sigma=1.0), "n must be"),
    "a negative radius": (lambda: smoothing.min_count(-1, n=9, alpha=0.1, sigma=1.0), "radius"),
    "a rate above one": (lambda: smoothing.miss_probability(1.5, n=10, alpha=0.1), "in .0, 1"),
    "no looks": (
        lambda: smoothing.sequential_miss_probability(0.5, looks=[], alpha=0.1), "looks must be",
    ),
    "looks that fall": (
        lambda: smoothing.sequential_miss_probability(0.5, looks=[9, 5], alpha=0.1), "growing",
    ),
    "an alpha above one": (
        lambda: smoothing.wrong_vote_probability([0.5, 0.3, 0.2], n=9, alpha=2), "alpha must hold",
    ),
    "a law that is none": (
        lambda: smoothing.wrong_vote_probability([0.5, 0.6, -0.1], n=9, alpha=0.1), "in .0, 1",
    ),
    "a negative distance": (lambda: smoothing.radius_to_linf(-1.0, dimension=4), "radius must be"),
    "half a dimension": (lambda: smoothing.linf_to_radius(1.0, dimension=2.5), "dimension must be"),
    "one class": (lambda: smoothing.predict_from_counts(torch.tensor([[5]]), alpha=0.1), "two cl"),
    "a negative count": (
        lambda: smoothing.predict_from_counts(torch.tensor([[-5, 1]]), alpha=0.1), "counts must be",
    ),
    "fewer than no images": (lambda: smoothing.noise_seeds(-1, generator=None), "count must be"),
}  # fmt: skip


@pytest.mark.parametrize(("call", "why"), NONSENSE.values(), ids=NONSENSE)
def test_what_no_certificate_can_be_of_is_refused(call, why) -> None:
    with pytest.raises(ValueError, match=why):
        call()


@pytest.mark.parametrize("counts", [np.array([[5, 1]]), torch.tensor([[5.0, 1.0]])])
def test_counts_that_are_no_whole_numbers_are_refused(counts) -> None:
    with pytest.raises(TypeError, match=r"use torch\.as_tensor\(counts\)"):
        smoothing.predict_from_counts(counts, alpha=0.1)


def test_numbers_of_other_kinds_certify_the_same() -> None:
    plain = smoothing.largest_radius(n=100, alpha=0.25, sigma=0.5)
    odd = {"n": np.int64(100), "alpha": torch.tensor(0.25), "sigma": Fraction(1, 2)}
    assert smoothing.largest_radius(**odd) == plain
    assert smoothing.radius_to_linf(np.float32(1), dimension=torch.tensor(4)) == 0.5


def test_an_abstention_is_never_right():
    with pytest.raises(ValueError, match="-1 is how a certificate abstains"):
        smoothing.certified_correct(certificate([0.2], [0]), torch.tensor([-1]))
