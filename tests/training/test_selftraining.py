"""Pseudo-labels, mixed batches and the weight that they amount to."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robustnb.identity import named
from robustnb.models import build
from robustnb.training import (
    corrupt_labels,
    implied_weight,
    pseudo_labels,
    self_training,
    standard,
    trades,
)
from robustnb.training.augment import crop_and_flip
from robustnb.training.training_loop import fit


def seed(value: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(value)


def pool(count: int = 30) -> tuple[Tensor, Tensor]:
    x = torch.randint(0, 256, (count, 1, 6, 6), generator=seed(8)).to(torch.uint8)
    return x, torch.randint(4, (count,), generator=seed(9))


def seen_by(x: Tensor, y: Tensor, **settings: object) -> tuple[Tensor, ...]:
    """The batch that the inner objective meets."""
    met: list[Tensor] = []

    def inner(model: nn.Module, at: Tensor, labels: Tensor, generator: object) -> Tensor:
        met.extend([at, labels])
        return at.sum() * 0

    self_training(inner, *pool(), **settings)(nn.Identity(), x, y, seed())  # type: ignore[arg-type]
    return tuple(met)


def test_a_batch_is_half_labelled_and_half_drawn_and_shuffled(small: SimpleNamespace) -> None:
    x, y = small.batch(10, dtype=torch.float32)
    met, labels = seen_by(x, y)
    assert len(met) == len(labels) == 20
    pairs = [(image.sum().item(), int(label)) for image, label in zip(met, labels, strict=True)]
    ours = [(image.sum().item(), int(label)) for image, label in zip(x, y, strict=True)]
    images, theirs = pool()
    known = {
        (image.sum().item(), int(label)) for image, label in zip(images / 255, theirs, strict=True)
    }
    assert sorted(pair for pair in pairs if pair in ours) == sorted(ours)
    assert all(pair in known for pair in pairs if pair not in ours)
    assert pairs[:10] != ours, "labelled and drawn images must not stand apart"


@pytest.mark.parametrize(("fraction", "size"), [(0.0, 10), (0.2, 12), (0.5, 20), (0.8, 50)])
def test_the_share_of_drawn_images_is_the_fraction(
    small: SimpleNamespace, fraction: float, size: int
) -> None:
    x, y = small.batch(10, dtype=torch.float32)
    met, _ = seen_by(x, y, fraction=fraction)
    assert len(met) == size


def test_a_fraction_of_zero_is_the_objective_itself(small: SimpleNamespace) -> None:
    x, y = small.batch()
    net = small.smooth()
    mixed = self_training(standard(), *pool(), fraction=0.0)(net, x, y, seed())
    torch.testing.assert_close(mixed, standard()(net, x, y, seed()))


@pytest.mark.parametrize("fraction", [0.25, 0.5])
def test_on_average_it_is_the_weighted_sum_of_the_meta_algorithm(
    small: SimpleNamespace, fraction: float
) -> None:
    """E loss = (sum over labelled + w sum over unlabelled) / (n + w n_tilde), exact twin."""
    x, y = small.batch(12)
    images, labels = pool(5)
    net = small.smooth()
    objective = self_training(standard(), images, labels, fraction=fraction)
    draw = seed()
    with torch.no_grad():
        losses = torch.stack([objective(net, x, y, draw) for _ in range(4000)])
        labelled = F.cross_entropy(net(x), y, reduction="sum")
        unlabelled = F.cross_entropy(net(images.double() / 255), labels, reduction="sum")
    w = implied_weight(len(y), len(labels), fraction=fraction)
    exact = (labelled + w * unlabelled) / (len(y) + w * len(labels))
    error = float(losses.std() / len(losses) ** 0.5)
    assert abs(float(losses.mean() - exact)) < 4 * error
    unweighted = (labelled + unlabelled) / (len(y) + len(labels))
    assert abs(float(losses.mean() - unweighted)) > 8 * error


def test_drawing_is_with_replacement(small: SimpleNamespace) -> None:
    x, y = small.batch(12, dtype=torch.float32)
    objective = self_training(standard(), *(part[:2] for part in pool()))
    assert torch.isfinite(objective(small.smooth(torch.float32), x, y, seed()))


def test_drawn_images_are_augmented_and_given_ones_are_not(small: SimpleNamespace) -> None:
    x, y = small.batch(10, dtype=torch.float32)
    plain, _ = seen_by(x, y)
    moved, _ = seen_by(x, y, augment=crop_and_flip(padding=2))
    stays = [bool((image == x).flatten(1).all(1).any()) for image in moved]
    assert sum(stays) == 10
    assert not torch.equal(plain.sum(), moved.sum())


def test_fit_trains_on_mixed_batches_and_repeats_itself(small: SimpleNamespace) -> None:
    x, y = small.blobs()

    def run() -> tuple[nn.Module, object]:
        net = small.smooth(torch.float32)
        inner = trades(beta=1.0, eps=0.05, step=0.05, steps=2)
        objective = self_training(inner, x[8:], y[8:])
        fit(
            net, x[:8], y[:8], objective=objective, epochs=30, batch_size=4, lr=0.05,
            generator=seed(),
        )  # fmt: skip
        return net, small.weights(net)

    (net, once), (_, again) = run(), run()
    assert once == again
    assert float((pseudo_labels(net, x) == y).double().mean()) > 0.9


def test_an_interrupted_training_goes_on_with_the_same_result(
    small: SimpleNamespace, tmp_path: object
) -> None:
    x, y = small.blobs()
    objective = self_training(standard(), x[8:], y[8:])

    def run(net: nn.Module, path: object, stop: bool = False) -> None:
        calls = iter(range(100))

        def validate(_: nn.Module) -> float:
            if stop and next(calls) == 1:
                raise KeyboardInterrupt
            return 0.0

        fit(
            net, x[:8], y[:8], objective=objective, epochs=4, batch_size=4, lr=0.05,
            generator=seed(), validate=named(validate, "none"), checkpoint=path,
        )  # fmt: skip

    whole, resumed = small.smooth(torch.float32), small.smooth(torch.float32)
    run(whole, tmp_path / "whole")  # type: ignore[operator]
    with pytest.raises(KeyboardInterrupt):
        run(small.smooth(torch.float32), tmp_path / "part", stop=True)  # type: ignore[operator]
    run(resumed, tmp_path / "part")  # type: ignore[operator]
    assert small.weights(resumed) == small.weights(whole)


def test_no_pseudo_labels_of_a_model_whose_answers_depend_on_the_batch() -> None:
    images, _ = pool()
    for stats in (False, True):
        net = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(36, track_running_stats=stats))
        if stats:
            assert pseudo_labels(net, images).shape == (30,)
        else:
            with pytest.raises(ValueError, match="depends on the other images in its batch"):
                pseudo_labels(net, images)


def test_pseudo_labels_are_the_predictions_in_evaluation_mode(small: SimpleNamespace) -> None:
    net = small.moody().train()
    images, _ = pool()
    found = pseudo_labels(net, images, batch_size=7)
    assert net.training and all(m.training for m in net)
    with torch.no_grad():
        expected = net.eval()(images / 255).argmax(1)
    assert torch.equal(found, expected)
    assert torch.equal(pseudo_labels(net, images / 255), expected)


def test_no_image_gets_no_pseudo_label() -> None:
    net = build("light_cnn", generator=seed())
    assert pseudo_labels(net, torch.zeros(0, 1, 28, 28)).shape == (0,)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_the_given_share_of_labels_is_wrong_and_not_one_more(share: float) -> None:
    labels = torch.arange(200) % 10
    found = corrupt_labels(labels, share=share, classes=10, generator=seed())
    assert int((found != labels).sum()) == round(200 * share)
    assert int(found.min()) >= 0 and int(found.max()) < 10


def test_a_wrong_label_is_any_other_class_alike() -> None:
    found = corrupt_labels(torch.full((30_000,), 2), share=1.0, classes=4, generator=seed())
    counts = torch.bincount(found, minlength=4)
    assert counts[2] == 0
    assert all(abs(int(k) - 10_000) < 4 * (30_000 * 2 / 9) ** 0.5 for k in counts[[0, 1, 3]])


def test_the_weight_of_the_paper_is_a_tenth() -> None:
    assert implied_weight(50_000, 500_000) == pytest.approx(0.1)
    assert implied_weight(73_257, 531_131, fraction=0.5) == pytest.approx(73_257 / 531_131)


def test_settings_that_cannot_work_are_refused(small: SimpleNamespace) -> None:
    x, y = small.batch()
    images, labels = pool()
    with pytest.raises(ValueError, match="fraction must lie"):
        self_training(standard(), images, labels, fraction=1.0)
    with pytest.raises(ValueError, match="one label for each image"):
        self_training(standard(), images, labels[:-1])
    with pytest.raises(ValueError, match="generator"):
        self_training(standard(), images, labels)(small.smooth(), x, y, None)
    with pytest.raises(ValueError, match="share must lie"):
        corrupt_labels(labels, share=1.5, classes=4, generator=seed())
    with pytest.raises(ValueError, match="labels must lie"):
        corrupt_labels(labels, share=0.5, classes=3, generator=seed())
    with pytest.raises(ValueError, match="both sets"):
        implied_weight(0, 10)
