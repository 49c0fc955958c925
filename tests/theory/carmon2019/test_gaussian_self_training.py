"""Carmon et al. 2019 in the Gaussian model: closed forms, constants, laws against simulation."""

from __future__ import annotations

import math
import tracemalloc
from fractions import Fraction

import numpy as np
import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as hst
from scipy import stats as st

from robustnb.stats import clopper_pearson
from robustnb.theory.carmon2019 import gaussian_self_training as theory
from robustnb.theory.schmidt2018 import gaussian

LARGE = theory.Regime(d=10**6, n0=4, eps=0.5)


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def attack(theta: np.ndarray, p: float) -> np.ndarray:
    """A unit vector of l_p that a linear rule suffers most from."""
    if math.isinf(p):
        return np.sign(theta)
    if p == 1:
        return np.sign(theta) * (np.abs(theta) == np.abs(theta).max())
    worst = np.sign(theta) * np.abs(theta) ** (1 / (p - 1))
    return worst / np.linalg.norm(worst, ord=p)


# --- Closed forms ------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [1, 1.5, 2, 4, math.inf])
def test_the_robust_error_is_that_of_attacked_samples(p) -> None:
    draw, d, n, sigma, eps = rng(0), 20, 40_000, 1.7, 0.2
    mu, theta = draw.standard_normal(d), draw.standard_normal(d) + 0.3
    y = draw.choice([-1.0, 1.0], size=(n, 1))
    x = y * mu + sigma * draw.standard_normal((n, d)) - eps * y * attack(theta, p)
    wrong = int(((x @ theta) * y[:, 0] <= 0).sum())
    claimed = float(theory.linear_error(theta, mu, sigma=sigma, eps=eps, p=p))
    assert claimed in clopper_pearson(wrong, n, level=0.999)
    assert theory.linear_error(theta, mu, sigma=sigma, p=p) < claimed


@given(
    hst.lists(hst.integers(-300, 300), min_size=2, max_size=6),
    hst.sampled_from([1, 1.5, 2, 3, math.inf]),
)
@settings(max_examples=100, deadline=None)
def test_no_step_gains_more_than_the_dual_norm_and_one_gains_all(values, p) -> None:
    theta = np.array(values) / 100
    steps = rng(1).standard_normal((200, theta.size))
    steps /= np.linalg.norm(steps, ord=p, axis=1, keepdims=True)
    most = float(theory.dual_norm(theta, p))
    assert (steps @ theta).max() <= most * (1 + 1e-12)
    if np.abs(theta).min() > 0 and np.unique(np.abs(theta)).size == theta.size:
        assert theta @ attack(theta, p) == pytest.approx(most)


def test_cosine_and_share_say_all_that_the_closed_form_needs() -> None:
    regime = theory.Regime(d=50, n0=3, eps=0.2)
    mu = np.ones(50)
    theta = mu + 2 * rng(2).standard_normal((7, 50))
    root = math.sqrt(50) * np.linalg.norm(theta, axis=1)
    cosine, share = theta.sum(axis=1) / root, np.abs(theta).sum(axis=1) / root
    exact = theory.linear_error(theta, mu, sigma=regime.sigma, eps=0.2)
    assert regime.error(cosine, share) == pytest.approx(exact, rel=1e-12)
    assert (regime.error(cosine) >= exact).all()
    plain = theory.linear_error(theta, mu, sigma=regime.sigma)
    assert regime.standard_error(cosine) == pytest.approx(plain, rel=1e-12)


# --- Constants ----------------------------------------------------------------------------------


def test_theorem_1_is_the_corollary_of_schmidt_in_this_regime() -> None:
    d, n0, eps = sympy.symbols("d n0 epsilon", positive=True)
    corollary = eps**2 * sympy.sqrt(d * n0) / (8 * sympy.log(d))
    theorem = n0 * eps**2 * sympy.sqrt(d / n0) / (8 * sympy.log(d))
    assert sympy.simplify(corollary - theorem) == 0
    assert LARGE.too_few == pytest.approx(float(theorem.subs({d: 10**6, n0: 4, eps: 0.5})))
    assert LARGE.too_few == pytest.approx(4.52, abs=5e-3)


def test_the_sizes_of_the_reference_regime() -> None:
    assert (LARGE.strength, LARGE.enough_labels) == pytest.approx((125, 2000))
    assert LARGE.enough_unlabelled() == pytest.approx(144_000)
    assert LARGE.enough_unlabelled(relevant=0.5) == pytest.approx(4 * 144_000)
    assert LARGE.sigma**2 / 10**6 == pytest.approx(math.sqrt(LARGE.n0 / LARGE.d))


def test_288_is_4_times_2_times_6_squared() -> None:
    assert theory.theorem2_factor() == 288
    assert theory.theorem2_factor(agreement=Fraction(1), cross=1) == 4


def test_the_needed_strength_is_where_the_limit_error_is_the_promised_one() -> None:
    for eps in (0.1, 0.25, 0.5):
        k = theory.needed_strength(eps)
        regime = theory.Regime(d=round((k / eps**2) ** 2), n0=1, eps=eps)
        margin = regime.limit_margin(regime.enough_labels)
        error = float(gaussian.normal_tail(margin - math.sqrt(regime.strength)))
        assert error == pytest.approx(1e-3, rel=1e-2)


@pytest.mark.parametrize("margin", [0.0, 0.4, 1.0, 2.5])
def test_the_moments_of_pseudo_labels_are_their_integrals(margin) -> None:
    g = np.linspace(-12, 12, 240_001)
    sign = np.where(g + margin >= 0, 1.0, -1.0)
    first, second = theory.pseudo_label_moments(margin)
    assert first == pytest.approx(np.trapezoid(sign * st.norm.pdf(g), g), abs=1e-4)
    assert second == pytest.approx(np.trapezoid(sign * g * st.norm.pdf(g), g), abs=1e-4)


@pytest.mark.parametrize("relevant", [1.0, 0.3])
def test_the_votes_have_the_moments(relevant) -> None:
    margins = np.full(400, 0.8)
    found = theory._votes(rng(3), margins, 500, relevant)
    for values, mean in zip(
        found, theory.pseudo_label_moments(0.8, relevant=relevant), strict=True
    ):
        assert abs(values.mean() - mean) < 4 * values.std() / 20


@pytest.mark.parametrize(("t", "s"), [(0.5, 0.3), (1.0, 0.5), (2.0, 2.0), (3.0, 4.5)])
@pytest.mark.parametrize("n", [1, 8])
def test_lemma_1_fails_no_more_often_than_it_says(n, t, s) -> None:
    regime, draws = theory.Regime(d=2000, n0=2, eps=0.5), 20_000
    law = gaussian.fixed_law(rng(4), d=regime.d, draws=draws)
    margins = regime.margin(law.cosine(n=n, sigma=regime.sigma))
    misses = int((margins < regime.margin_bound(n, t=t, s=s)).sum())
    assert clopper_pearson(misses, draws, level=0.999).low <= theory.margin_miss(t=t, s=s)


def test_lemma_1_with_its_gaussian_tail_turned_round_is_refuted() -> None:
    regime, draws, t, s = theory.Regime(d=2000, n0=2, eps=0.5), 20_000, 2.0, 2.0
    law = gaussian.fixed_law(rng(5), d=regime.d, draws=draws)
    margins = regime.margin(law.cosine(n=1, sigma=regime.sigma))
    wrong = regime.margin_bound(1, t=-t, s=s)
    misses = int((margins < wrong).sum())
    assert clopper_pearson(misses, draws, level=0.999).low > theory.margin_miss(t=t, s=s)


def test_hoeffdings_bound_holds_and_is_of_use() -> None:
    agreeing, points = 49, 120  # a mean of 2 * 49 / 120 - 1 where 1/3 is expected
    misses = float(st.binom.cdf(agreeing, points, 2 / 3))
    bound = theory.agreement_miss(points, mean=1 / 3, floor=2 * agreeing / points - 1)
    assert misses <= bound < 1e-3


# --- The theorems, by the scalar laws -----------------------------------------------------------


def test_proposition_1_in_the_reference_regime() -> None:
    law = gaussian.fixed_law(rng(6), d=LARGE.d, draws=2000)
    cosine = {n: law.cosine(n=n, sigma=LARGE.sigma) for n in (4, 40, 500, 2000)}
    assert 0.15 < LARGE.standard_error(cosine[4]).mean() < 0.17
    assert LARGE.standard_error(cosine[40]).mean() == pytest.approx(8.67e-4, rel=0.02)
    assert LARGE.error(cosine[500]).mean() == pytest.approx(0.880, abs=0.005)
    assert LARGE.error(cosine[2000]).mean() == pytest.approx(1.8e-6, rel=0.1)


def test_forty_labels_give_accuracy_without_robustness() -> None:
    cosine, share = theory.streamed_averaging(rng(7), LARGE, n=40, draws=3)
    assert LARGE.standard_error(cosine).max() < 1e-3
    assert LARGE.error(cosine, share).min() > 0.999


def test_the_exact_share_gives_the_reference_errors() -> None:
    cosine, share = theory.streamed_averaging(rng(8), LARGE, n=500, draws=5)
    assert LARGE.error(cosine, share).mean() == pytest.approx(0.147, abs=0.005)
    assert LARGE.error(cosine).mean() == pytest.approx(0.880, abs=0.005)


@pytest.mark.parametrize(("times", "bound"), [(2, 0.943), (4, 0.0860)])
def test_the_scalar_law_has_the_reference_errors(times, bound) -> None:
    unlabelled = round(times * LARGE.n0 * LARGE.strength)
    law = theory.self_trained_law(rng(9), LARGE, n=4, unlabelled=unlabelled, draws=2000)
    # The reference is a mean of 20 draws.
    within = 5 * LARGE.error(law.cosine).std() / math.sqrt(20)
    assert LARGE.error(law.cosine).mean() == pytest.approx(bound, abs=within)


def test_after_self_training_the_share_is_that_of_a_folded_normal() -> None:
    found = theory.streamed_self_training(rng(10), LARGE, n=4, unlabelled=2000, draws=4)
    mean, noise = found.agreement, LARGE.sigma / math.sqrt(2000)
    folded = [st.foldnorm.mean(m / noise, scale=noise) for m in mean]
    assert found.share == pytest.approx(folded / np.hypot(mean, noise), rel=5e-3)
    errors = LARGE.error(found.cosine, found.share)
    assert 2.5e-4 / 4 < errors.mean() < 2.5e-4 * 4
    assert LARGE.error(found.cosine).mean() > 100 * errors.mean()  # the bound is far off


def test_theorem_2_holds_with_room_to_spare_in_the_reference_regime() -> None:
    unlabelled = round(LARGE.enough_unlabelled())
    found = theory.self_trained_law(rng(11), LARGE, n=4, unlabelled=unlabelled, draws=20)
    assert LARGE.error(found.cosine).mean() < 1e-20
    assert found.agreement.min() > 1 / 6


def test_irrelevant_points_cost_one_over_the_square_of_the_relevant_share() -> None:
    errors = []
    for relevant in (1.0, 0.5, 0.25):
        unlabelled = round(5 * LARGE.n0 * LARGE.strength / relevant**2)
        found = theory.self_trained_law(
            rng(12), LARGE, n=4, unlabelled=unlabelled, draws=600, relevant=relevant
        )
        errors.append(LARGE.error(found.cosine))
    for other in errors[1:]:
        spread = math.hypot(errors[0].std(), other.std()) / math.sqrt(600)
        assert abs(errors[0].mean() - other.mean()) < 4 * spread + 0.1 * errors[0].mean()
    linear = round(5 * LARGE.n0 * LARGE.strength / 0.25)
    found = theory.self_trained_law(
        rng(13), LARGE, n=4, unlabelled=linear, draws=200, relevant=0.25
    )
    assert LARGE.error(found.cosine).mean() > 5 * errors[0].mean()  # 1 / relevant is not enough


# --- The laws against the full dimension --------------------------------------------------------


@pytest.mark.parametrize(
    ("d", "draws", "relevant"), [(1000, 250, 1), (1000, 250, 0.4), (8000, 40, 1)]
)
def test_the_laws_of_self_training_are_those_of_the_full_simulation(d, draws, relevant) -> None:
    regime, sizes = theory.Regime(d=d, n0=4, eps=0.3), {"n": 4, "unlabelled": 60}
    full = theory.simulate_self_training(
        rng(14), np.ones(d), sigma=regime.sigma, draws=draws, relevant=relevant, **sizes
    )
    scalar = theory.self_trained_law(rng(15), regime, draws=4000, relevant=relevant, **sizes)
    stream = theory.streamed_self_training(rng(16), regime, draws=draws, relevant=relevant, **sizes)
    for law, names in ((scalar, ["cosine"]), (stream, ["cosine", "share"])):
        for name in ["first", "agreement", "pull", *names]:
            same = st.ks_2samp(getattr(full, name), getattr(law, name))
            assert same.pvalue > 1e-4, (name, same.pvalue)
    exact, drawn = (regime.error(law.cosine, law.share) for law in (full, stream))
    gap = abs(exact.mean() - drawn.mean())
    assert gap < 4 * math.hypot(exact.std(), drawn.std()) / math.sqrt(draws)


@pytest.mark.parametrize("relevant", [1.0, 0.5])
def test_the_laws_are_exact_in_three_dimensions_as_well(relevant) -> None:
    regime = theory.Regime(d=3, n0=2, eps=0.3)
    sizes = {"n": 2, "unlabelled": 6, "draws": 4000, "relevant": relevant}
    full = theory.simulate_self_training(rng(24), np.ones(3), sigma=regime.sigma, **sizes)
    scalar = theory.self_trained_law(rng(25), regime, **sizes)
    stream = theory.streamed_self_training(rng(26), regime, **sizes)
    for law, names in ((scalar, ["cosine"]), (stream, ["cosine", "share"])):
        for name in ["first", "pull", *names]:
            assert st.ks_2samp(getattr(full, name), getattr(law, name)).pvalue > 1e-4, name
        for name in ("first", "pull"):  # what a draw's numbers have to do with each other
            ours, theirs = (np.corrcoef(getattr(x, name), x.cosine)[0, 1] for x in (law, full))
            assert abs(ours - theirs) < 0.07


def test_a_law_that_forgets_the_pull_is_told_apart() -> None:
    regime, mu = theory.Regime(d=100, n0=4, eps=0.3), np.ones(100)
    sizes = {"n": 4, "unlabelled": 1000, "draws": 200}
    full = theory.simulate_self_training(rng(17), mu, sigma=regime.sigma, **sizes)
    law = theory.self_trained_law(rng(18), regime, **sizes)
    noise = regime.sigma * rng(19).standard_normal((200, 100)) / math.sqrt(1000)
    wrong = law.agreement[:, None] * mu + noise
    cosine = wrong.sum(axis=1) / (10 * np.linalg.norm(wrong, axis=1))
    assert st.ks_2samp(full.cosine, cosine).pvalue < 1e-10
    assert st.ks_2samp(full.cosine, law.cosine).pvalue > 1e-4


def test_streamed_averaging_has_the_law_of_the_full_simulation() -> None:
    regime = theory.Regime(d=1000, n0=4, eps=0.3)
    stream = theory.streamed_averaging(rng(19), regime, n=6, draws=500)
    full = gaussian.simulate_averaging(rng(20), np.ones(1000), n=6, sigma=regime.sigma, draws=300)
    for ours, theirs in zip(stream, full, strict=True):
        assert st.ks_2samp(ours, theirs).pvalue > 1e-4


def test_blocks_of_coordinates_change_nothing(monkeypatch) -> None:
    regime, sizes = theory.Regime(d=3000, n0=4, eps=0.3), {"n": 4, "unlabelled": 50, "draws": 3}
    whole = theory.streamed_averaging(rng(21), regime, n=4, draws=3)
    monkeypatch.setattr(theory, "_CHUNK", 257)
    for ours, theirs in zip(
        theory.streamed_averaging(rng(21), regime, n=4, draws=3), whole, strict=True
    ):
        assert ours == pytest.approx(theirs, rel=1e-12)
    found = theory.streamed_self_training(rng(22), regime, **sizes)
    assert np.unique(found.cosine).size == 3  # every draw has noise of its own


def test_memory_does_not_grow_with_the_dimension() -> None:
    peaks = []
    for d in (5 * 10**5, 2 * 10**6):
        regime = theory.Regime(d=d, n0=4, eps=0.5)
        tracemalloc.start()
        theory.streamed_self_training(rng(23), regime, n=4, unlabelled=1000, draws=1)
        theory.self_trained_law(rng(23), regime, n=4, unlabelled=1000, draws=1)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0]
    assert peaks[0] < 8 * 5 * 10**5  # one vector of the smaller dimension


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: theory.Regime(d=1, n0=1, eps=0.1), "d >= 2"),
        (lambda: theory.dual_norm(np.ones(3), 0.5), "p must be >= 1"),
        (lambda: theory.needed_strength(0.9), "sqrt"),
        (lambda: theory.agreement_miss(10, mean=0.1), "floor must not exceed"),
        (lambda: LARGE.margin_bound(1, t=1e6, s=1), "too large"),
        (
            lambda: theory.self_trained_law(rng(0), LARGE, n=4, unlabelled=10, draws=1, relevant=2),
            "relevant in",
        ),
    ],
)
def test_bad_arguments_are_refused(call, message) -> None:
    with pytest.raises(ValueError, match=message):
        call()
