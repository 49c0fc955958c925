"""Stopping early: exact coverage over all looks, simulated coverage, and fewer copies."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy import stats

from robustnb.smoothing import certify, certify_sequential, lower_bound, sequential_miss_probability
from robustnb.smoothing.sequential import default_looks
from robustnb.stats import binomial_upper_quantile

SIGMA, RUNS = 0.5, 3000
RATES = (0.3, 0.5, 0.6, 0.75, 0.9, 0.959, 0.99, 0.999)


@pytest.mark.parametrize("alpha", [0.05, 1e-3, 1e-6])
@pytest.mark.parametrize("looks", [[1000], [62, 250, 1000], [100, 200, 300, 400, 500]], ids=str)
def test_all_looks_hold_together_by_exact_sums(looks, alpha) -> None:
    worst = max(sequential_miss_probability(p, looks=looks, alpha=alpha) for p in RATES)
    assert 0 < worst <= alpha + 1e-13  # the sum's own rounding


def test_looking_often_at_the_full_alpha_breaks_the_promise() -> None:
    looks, alpha = [100, 200, 400, 800, 1600, 3200], 0.05
    full = len(looks) * alpha  # each look then spends alpha
    assert max(sequential_miss_probability(p, looks=looks, alpha=full) for p in RATES) > alpha


def test_the_exact_sum_follows_every_path() -> None:
    looks, alpha, p = [3, 7, 9], 0.6, 0.55
    total = 0.0
    for path in itertools.product((0, 1), repeat=9):
        low = [float(lower_bound(sum(path[:n]), n, alpha / 3)) for n in looks]
        total += max(low) > p and p ** sum(path) * (1 - p) ** (9 - sum(path))
    assert total > 0
    assert sequential_miss_probability(p, looks=looks, alpha=alpha) == pytest.approx(total)


@pytest.mark.parametrize(("distance", "target"), [(0.5, 0.5), (0.5, 0.3), (0.15, 0.0)])
def test_the_radius_exceeds_the_true_distance_in_at_most_alpha_of_the_runs(
    linear, at_distance, seeded, distance, target
) -> None:
    x = at_distance(torch.full((RUNS,), distance))
    found = certify_sequential(
        linear, x, sigma=SIGMA, target=target, n0=10, n=320, alpha=0.05, looks=[20, 80, 320],
        generator=seeded(0), domain=None,
    )  # fmt: skip
    right = found.prediction == 1
    misses = int((found.radius > torch.where(right, distance, 0.0)).sum())
    assert misses <= binomial_upper_quantile(RUNS, 0.05)


def test_a_clear_case_is_decided_by_few_copies_and_as_certify_decides(
    linear, at_distance, seeded
) -> None:
    distances = torch.cat([torch.full((20,), 1.5), torch.full((20,), 0.05)])
    x, target, n = at_distance(distances), 0.4, 10_000
    settings = {"sigma": SIGMA, "n": n, "domain": None}
    early = certify_sequential(linear, x, target=target, generator=seeded(1), **settings)
    late = certify(linear, x, generator=seeded(1), **settings)
    wanted = [True] * 20 + [False] * 20
    assert (early.radius >= target).tolist() == (late.radius >= target).tolist() == wanted
    assert int(early.samples.max()) <= 625 and int(late.samples.min()) == n


def test_an_undecided_case_is_sampled_to_the_end(linear, at_distance, seeded) -> None:
    x = at_distance(torch.full((30,), 0.4))
    found = certify_sequential(
        linear, x, sigma=SIGMA, target=0.4, n=1600, generator=seeded(2), domain=None
    )
    assert (found.samples == 1600).sum() >= 28


def test_with_one_look_it_is_certify(linear, at_distance, seeded) -> None:
    x, settings = at_distance(torch.linspace(-1, 1, 11)), {"sigma": SIGMA, "n": 300, "domain": None}
    early = certify_sequential(linear, x, target=0.2, looks=[300], generator=seeded(3), **settings)
    late = certify(linear, x, generator=seeded(3), **settings)
    assert torch.equal(early.hits, late.hits) and torch.equal(early.radius, late.radius)


def test_the_bound_is_the_best_of_the_looks_made(linear, at_distance, seeded) -> None:
    x = at_distance(torch.full((50,), 0.4))
    found = certify_sequential(
        linear, x, sigma=SIGMA, target=0.4, n=400, alpha=0.02, looks=[100, 400],
        generator=seeded(4), domain=None,
    )  # fmt: skip
    last = lower_bound(found.hits.numpy(), found.samples.numpy(), 0.01)
    assert (found.lower.numpy() >= last).all()
    assert np.isclose(found.lower.numpy(), last).any()


def test_stopping_early_goes_on_after_an_interruption(
    linear, at_distance, seeded, tmp_path
) -> None:
    x, path = at_distance(torch.linspace(-1, 1, 30)), tmp_path / "work"
    settings = {"sigma": SIGMA, "target": 0.3, "n0": 10, "n": 400, "batch_size": 50}
    settings |= {"domain": None}
    whole = certify_sequential(linear, x, generator=seeded(5), **settings)
    calls = itertools.count()

    class Stops(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = linear

        def forward(self, z: torch.Tensor) -> torch.Tensor:
            if next(calls) == 40:
                raise KeyboardInterrupt
            return self.inner(z)

    with pytest.raises(KeyboardInterrupt):
        certify_sequential(Stops(), x, generator=seeded(5), checkpoint=path, **settings)
    found = certify_sequential(Stops(), x, generator=seeded(5), checkpoint=path, **settings)
    assert torch.equal(found.lower, whole.lower) and torch.equal(found.samples, whole.samples)


def test_looks_must_grow_and_end_at_n(linear, at_distance) -> None:
    x = at_distance(torch.ones(1))
    for looks in ([50, 20, 100], [20, 50], []):
        with pytest.raises(ValueError, match="end at n = 100"):
            certify_sequential(linear, x, sigma=SIGMA, target=0.1, n=100, looks=looks, domain=None)
    with pytest.raises(ValueError, match="target must be"):
        certify_sequential(linear, x, sigma=SIGMA, target=-1, n=100, domain=None)


@pytest.mark.parametrize("n", [1, 100, 399, 400, 100_000])
def test_the_default_looks_end_at_n_and_start_above_a_hundred(n) -> None:
    looks = default_looks(n)
    assert looks[-1] == n and looks == sorted(set(looks)) and looks[0] >= min(n, 100)


def test_the_exact_sum_of_one_look_is_the_plain_one() -> None:
    tail = stats.binom.sf(
        np.flatnonzero(lower_bound(np.arange(201), 200, 0.01) > 0.9)[0] - 1, 200, 0.9
    )
    assert sequential_miss_probability(0.9, looks=[200], alpha=0.01) == pytest.approx(tail)
