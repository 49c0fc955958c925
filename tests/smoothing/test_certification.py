"""CERTIFY and PREDICT: coverage on a model whose radius is known, resuming, and refusals."""

from __future__ import annotations

import itertools
from functools import partial

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from robustnb.identity import named
from robustnb.smoothing import (
    ABSTAIN,
    certify,
    lower_bound,
    miss_probability,
    noise_seeds,
    predict,
    predict_from_counts,
    wrong_vote_probability,
)
from robustnb.smoothing.sampling import BLOCK
from robustnb.stats import binomial_upper_quantile, clopper_pearson

SIGMA, RUNS = 0.5, 3000
PROBES = 6  # batches asked for to know the model (4), and whether it mixes them (2)


@pytest.mark.parametrize(("distance", "n"), [(0.15, 100), (0.5, 100), (0.9, 300)])
def test_the_radius_exceeds_the_true_distance_in_at_most_alpha_of_the_runs(
    linear, at_distance, seeded, distance, n
) -> None:
    x = at_distance(torch.full((RUNS,), distance))
    found = certify(
        linear, x, sigma=SIGMA, n0=10, n=n, alpha=0.05, generator=seeded(0), domain=None
    )
    # A wrong top class with a certificate is a miss as well: its true radius is 0.
    right = found.prediction == 1
    misses = int((found.radius > torch.where(right, distance, 0.0)).sum())
    assert misses <= binomial_upper_quantile(RUNS, 0.05)
    chosen = int((found.top == 1).sum())
    exact = float(miss_probability(stats.norm.cdf(distance / SIGMA), n=n, alpha=0.05))
    too_far = int((found.radius[found.top == 1] > distance).sum())
    assert exact in clopper_pearson(too_far, chosen, level=0.9999)


def test_twice_the_promised_alpha_would_be_noticed(linear, at_distance, seeded) -> None:
    x = at_distance(torch.full((RUNS,), 0.5))
    found = certify(
        linear, x, sigma=SIGMA, n0=10, n=160, alpha=0.1, generator=seeded(1), domain=None
    )
    assert int((found.radius > 0.5).sum()) > binomial_upper_quantile(RUNS, 0.05)


def test_with_many_copies_the_radius_comes_close_to_the_true_distance(
    linear, at_distance, seeded
) -> None:
    distances = torch.tensor([0.3, -0.6, 0.8]).double()
    x = at_distance(distances)
    found = certify(linear, x, sigma=SIGMA, n=100_000, generator=seeded(2), domain=None)
    assert found.prediction.tolist() == [1, 0, 1]
    assert (found.radius <= distances.abs()).all()
    assert (found.radius >= 0.96 * distances.abs()).all()


def test_a_point_on_the_boundary_is_left_undecided(linear, at_distance, seeded) -> None:
    x = at_distance(torch.zeros(300))
    found = certify(linear, x, sigma=SIGMA, n=500, generator=seeded(3), domain=None)
    assert found.abstained.sum() >= 297
    assert (found.prediction[found.abstained] == ABSTAIN).all()
    assert (found.radius[found.abstained] == 0).all()


def test_certify_is_the_procedure_run_image_by_image(linear, at_distance, seeded) -> None:
    x, n0, n, alpha = at_distance(torch.linspace(-1, 1, 9)), 20, 150, 0.01
    found = certify(
        linear, x, sigma=SIGMA, n0=n0, n=n, alpha=alpha, batch_size=77, generator=seeded(4),
        domain=None,
    )  # fmt: skip
    for image, seed in enumerate(noise_seeds(9, generator=seeded(4))):
        stream = torch.Generator().manual_seed(seed)
        draw = partial(torch.randn, generator=stream, dtype=torch.float64)
        first, later = draw((n0, 3)), torch.cat([draw((BLOCK, 3)), draw((n - BLOCK, 3))])
        top = linear(x[image] + SIGMA * first).argmax(1).bincount(minlength=2).argmax()
        hits = int((linear(x[image] + SIGMA * later).argmax(1) == top).sum())
        low = stats.beta.ppf(alpha, hits, n - hits + 1) if hits else 0.0
        radius = SIGMA * stats.norm.ppf(low) if low > 0.5 else 0.0
        assert (int(found.top[image]), int(found.hits[image])) == (int(top), hits)
        assert int(found.prediction[image]) == (int(top) if low > 0.5 else ABSTAIN)
        assert float(found.radius[image]) == pytest.approx(radius, rel=1e-9)


@pytest.mark.parametrize("images", [1, 5])
@pytest.mark.parametrize("smoothed", [certify, predict])
def test_a_model_that_mixes_its_batch_is_refused(smoothed, images, seeded) -> None:
    x = torch.rand(images, 4, generator=seeded(0))
    weights = torch.randn(4, 3, generator=seeded(1))
    norm = nn.BatchNorm1d(4, track_running_stats=False).eval()
    for mixing in (lambda z: (z - z.mean(0)) @ weights, lambda z: norm(z) @ weights):
        with pytest.raises(ValueError, match="depends on the other images in its batch"):
            smoothed(mixing, x, sigma=SIGMA, n=100, generator=seeded(2))
    fixed = nn.BatchNorm1d(4)  # in training mode here, asked in evaluation mode
    smoothed(nn.Sequential(fixed, nn.Linear(4, 3)), x, sigma=SIGMA, n=100, generator=seeded(2))
    assert fixed.training


def test_the_batch_size_changes_nothing(linear, at_distance, seeded) -> None:
    x = at_distance(torch.linspace(-1, 1, 30))
    settings = {"sigma": SIGMA, "n0": 10, "n": 130, "domain": None}
    found = [
        certify(linear, x, batch_size=size, generator=seeded(5), **settings)
        for size in (1, 64, 10_000)
    ]
    for other in found[1:]:
        assert torch.equal(found[0].hits, other.hits) and torch.equal(found[0].top, other.top)


def test_the_model_is_asked_in_evaluation_mode_and_its_mode_restored(seeded) -> None:
    net = nn.Sequential(nn.Dropout(1.0), nn.Linear(4, 2)).train()
    with torch.no_grad():
        net[1].weight.copy_(torch.tensor([[0.0] * 4, [9.0] * 4]))
        net[1].bias.copy_(torch.tensor([1.0, 0.0]))
    votes = predict(net, torch.ones(1, 4), sigma=0.1, n=50, generator=seeded(6))
    assert votes.tolist() == [1]  # with dropout the bias would decide for 0
    assert net.training and net[0].training


# --- PREDICT ---------------------------------------------------------------------------------


def test_the_vote_is_decided_as_by_a_two_sided_binomial_test() -> None:
    counts = np.random.default_rng(0).multinomial(60, [0.45, 0.35, 0.2], size=400)
    found = predict_from_counts(torch.from_numpy(counts), alpha=0.05).tolist()
    for row, label in zip(counts, found, strict=True):
        second, most = np.sort(row)[-2:]
        p_value = stats.binomtest(int(most), int(most + second), 0.5).pvalue
        assert label == (int(row.argmax()) if p_value <= 0.05 else ABSTAIN)
    assert {ABSTAIN, 0} <= set(found)


def test_ten_equal_votes_are_too_few_for_a_small_alpha(linear, at_distance, seeded) -> None:
    x = at_distance(torch.full((20,), 99.0))
    vote = partial(predict, linear, x, sigma=SIGMA, alpha=0.001, domain=None)
    assert set(vote(n=10, generator=seeded(7)).tolist()) == {ABSTAIN}
    assert set(vote(n=11, generator=seeded(7)).tolist()) == {1}


@pytest.mark.parametrize("alpha", [0.2, 0.05, 0.001])
@pytest.mark.parametrize("n", [12, 40])
def test_a_wrong_class_is_predicted_with_at_most_alpha_by_exact_sums(n, alpha) -> None:
    grid = [
        (a, b, 1 - a - b) for a, b in itertools.product((0.34, 0.4, 0.5, 0.6), (0.0, 0.2, 0.33))
    ]
    worst = max(wrong_vote_probability(p, n=n, alpha=alpha) for p in [*grid, (0.5, 0.5, 0.0)])
    assert worst <= alpha


def test_a_vote_without_a_test_is_often_wrong() -> None:
    assert wrong_vote_probability((0.4, 0.35, 0.25), n=40, alpha=1.0) > 0.2


def test_predictions_are_wrong_in_at_most_alpha_of_the_runs(linear, at_distance, seeded) -> None:
    x = at_distance(torch.full((RUNS,), 0.01))  # p = 0.508: nearly the worst there is
    found = predict(linear, x, sigma=SIGMA, n=99, alpha=0.05, generator=seeded(8), domain=None)
    wrong = int((found == 0).sum())
    assert 0 < wrong <= binomial_upper_quantile(RUNS, 0.05)


# --- Progress and going on --------------------------------------------------------------------


class Interrupted(nn.Module):
    """`inner`, which stops after `calls` batches as Ctrl-C would."""

    def __init__(self, inner: nn.Module, calls: float) -> None:
        super().__init__()
        self.inner, self.calls, self.made = inner, calls, 0

    def forward(self, x: Tensor) -> Tensor:
        self.made += 1
        if self.made > self.calls:
            raise KeyboardInterrupt
        return self.inner(x)


def interrupted(inner: nn.Module, calls: float) -> nn.Module:
    """`calls` batches beyond those that tell a checkpoint which model it is; known by one name."""
    return named(Interrupted(inner, PROBES + calls), "linear")


def test_an_interrupted_certification_goes_on_where_it_stopped(
    linear, at_distance, seeded, tmp_path
) -> None:
    path, x = tmp_path / "work.safetensors", at_distance(torch.linspace(-1, 1, 40))
    settings = {"sigma": SIGMA, "n0": 10, "n": 200, "batch_size": 50, "domain": None}
    whole = certify(linear, x, generator=seeded(9), **settings)
    first = interrupted(linear, 60)
    with pytest.raises(KeyboardInterrupt):
        certify(first, x, generator=seeded(9), checkpoint=path, **settings)
    second = interrupted(linear, float("inf"))
    found = certify(second, x, generator=seeded(9), checkpoint=path, **settings)
    assert torch.equal(found.hits, whole.hits) and torch.equal(found.radius, whole.radius)
    batches = 8 * 21  # groups of five images: one batch chooses, twenty count
    assert second.module.made == batches - 2 * 21 + PROBES
    again = interrupted(linear, 0)
    assert torch.equal(
        certify(again, x, generator=seeded(9), checkpoint=path, **settings).lower, whole.lower
    )


@pytest.mark.parametrize("change", ["sigma", "n", "seed", "images", "model", "procedure"])
def test_the_checkpoint_of_other_work_is_refused(
    linear, at_distance, seeded, tmp_path, change
) -> None:
    path, x = tmp_path / "work.safetensors", at_distance(torch.tensor([0.1, 0.2]))
    settings = {"sigma": SIGMA, "n": 20, "domain": None, "checkpoint": path}
    certify(linear, x, generator=seeded(0), **settings)
    if change == "images":
        x = x + 0.1
    if change == "model":
        linear.weight.data.neg_()
    settings |= {"sigma": {"sigma": 0.4}, "n": {"n": 21}}.get(change, {})
    procedure = predict if change == "procedure" else certify
    with pytest.raises(ValueError, match="is of another certification"):
        procedure(linear, x, generator=seeded(int(change == "seed")), **settings)


def test_a_damaged_checkpoint_is_named(linear, at_distance, seeded, tmp_path) -> None:
    path = tmp_path / "work.safetensors"
    path.write_bytes(b"no tensors here")
    with pytest.raises(ValueError, match="delete it to begin the certification anew"):
        certify(
            linear, at_distance(torch.ones(1)), sigma=SIGMA, n=20, domain=None,
            generator=seeded(0), checkpoint=path,
        )  # fmt: skip


def test_predictions_go_on_as_well(linear, at_distance, seeded, tmp_path) -> None:
    path, x = tmp_path / "work.safetensors", at_distance(torch.linspace(-1, 1, 12))
    settings = {"sigma": SIGMA, "n": 60, "batch_size": 60, "domain": None}
    with pytest.raises(KeyboardInterrupt):
        predict(interrupted(linear, 5), x, generator=seeded(1), checkpoint=path, **settings)
    rest = interrupted(linear, 7)
    found = predict(rest, x, generator=seeded(1), checkpoint=path, **settings)
    assert torch.equal(found, predict(linear, x, generator=seeded(1), **settings))


def test_progress_is_told_in_noisy_copies(
    linear, at_distance, seeded, tmp_path, monkeypatch
) -> None:
    log = tmp_path / "progress"
    monkeypatch.setenv("ROBUSTNB_PROGRESS", str(log))
    x = at_distance(torch.ones(6))
    certify(linear, x, sigma=SIGMA, n0=10, n=90, generator=seeded(0), domain=None)
    assert log.read_text(encoding="utf-8").splitlines()[-1].startswith("certify: 600/600 after")


# --- Refusals ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sigma": 0.0}, "sigma must be finite and > 0"),
        ({"n": 0}, "n must be an integer"),
        ({"n0": 2.5}, "n0 must be an integer"),
        ({"alpha": 1.5}, "alpha must lie"),
        ({"batch_size": 0}, "batch_size must be"),
        ({"domain": (0.0, 1.0)}, "Normalize"),
        ({"generator": None, "checkpoint": "somewhere"}, "noise must be the same"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_bad_arguments_are_refused_with_the_fix(
    linear, at_distance, seeded, settings, message
) -> None:
    given = {"sigma": SIGMA, "n": 20, "domain": None, "generator": seeded(0), **settings}
    with pytest.raises(ValueError, match=message):
        certify(linear, at_distance(torch.ones(2)), **given)


def test_no_images_are_refused(linear, seeded) -> None:
    with pytest.raises(ValueError, match="no images"):
        certify(linear, torch.zeros(0, 3).double(), sigma=SIGMA, n=20, generator=seeded(0))


def test_the_certificate_keeps_its_settings(linear, at_distance, seeded) -> None:
    found = certify(
        linear, at_distance(torch.ones(2)), sigma=SIGMA, n=50, generator=seeded(0), domain=None
    )
    assert (found.sigma, found.n0, found.alpha, len(found)) == (SIGMA, 100, 0.001, 2)
    assert found.samples.tolist() == [50, 50]
    assert np.allclose(found.lower, lower_bound(found.hits, 50, 0.001))
