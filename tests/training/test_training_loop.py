from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustnb.identity import named
from robustnb.training.augment import crop_and_flip
from robustnb.training.objectives import pgd_training, standard, standard_loss, trades
from robustnb.training.schedules import cosine, milestones, triangular
from robustnb.training.training_loop import History, fit
from robustnb.training.validation import natural_accuracy, robust_accuracy, train_val_split

TRADES = trades(beta=1.0, eps=0.05, step=0.02, steps=2)


def run(small: SimpleNamespace, *, seed: int = 1, **settings: Any) -> tuple[nn.Module, History]:
    net = settings.pop("net", None) or small.moody()
    images, labels = small.blobs()
    defaults = {"objective": TRADES, "epochs": 3, "batch_size": 16, "lr": 0.05}
    draw = torch.Generator().manual_seed(seed)
    history = fit(net, images, labels, generator=draw, **{**defaults, **settings})
    return net, history


def losses(history: History) -> list[float]:
    return [epoch.loss for epoch in history.epochs]


def test_training_learns(small: SimpleNamespace) -> None:
    images, labels = small.blobs()
    net, history = run(small, objective=standard(), epochs=12, lr=0.01)
    assert losses(history)[-1] < losses(history)[0] / 2
    assert natural_accuracy(images, labels)(net) > 0.9


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_the_same_seed_gives_the_same_bytes_and_another_does_not(
    small: SimpleNamespace, optimizer: str
) -> None:
    first, again, other = (
        small.weights(run(small, seed=seed, optimizer=optimizer, lr=0.01)[0]) for seed in (1, 1, 2)
    )
    assert first == again
    assert all(first[name] != other[name] for name in ("0.weight", "5.weight"))


@pytest.mark.parametrize("name", ["dropout", "noise", "order", "augmentation"])
def test_each_random_part_follows_the_seed(small: SimpleNamespace, name: str) -> None:
    """With the other three taken away, two seeds still differ."""
    settings: dict[str, Any] = {"objective": standard(), "batch_size": 60, "net": small.smooth()}
    if name == "dropout":
        settings["net"] = small.moody()
    elif name == "noise":
        settings["objective"] = pgd_training(eps=0.1, step=0.1, steps=1)
    elif name == "order":
        settings["batch_size"] = 16
    else:
        settings["augment"] = crop_and_flip(padding=1)
    kept = [value.clone() for value in settings["net"].state_dict().values()]
    found = []
    for seed in (1, 1, 2):
        for value, start in zip(settings["net"].state_dict().values(), kept, strict=True):
            value.copy_(start)
        net, _ = run(small, seed=seed, epochs=1, **settings)
        # a full batch in another order differs by rounding only
        found.append(torch.cat([value.flatten().double() for value in net.state_dict().values()]))
    assert torch.equal(found[0], found[1])
    assert float((found[0] - found[2]).abs().max()) > 1e-6


def test_the_global_random_state_neither_matters_nor_changes(small: SimpleNamespace) -> None:
    net = small.moody()
    before = torch.get_rng_state()
    first = small.weights(run(small, net=net, epochs=1)[0])
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(1)
    assert small.weights(run(small, epochs=1)[0]) == first


class Stop(Exception):
    pass


def breaking(batch: int, error: BaseException | None) -> Any:
    """TRADES that fails, or sends the process an interrupt, at the given batch."""
    counted: Iterator[int] = iter(range(10**6))

    def objective(model: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        if next(counted) == batch:
            if error is None:
                signal.raise_signal(signal.SIGINT)
            else:
                raise error
        return TRADES(model, x, y, generator)

    return named(objective, "TRADES that may fail")  # else its counter would make it another


@pytest.fixture
def heard() -> Iterator[None]:
    """Interrupts reach Python, also where the shell that started the tests ignores them."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heard")
@pytest.mark.parametrize("error", [Stop(), None], ids=["exception", "ctrl-c"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_resumed_training_ends_with_the_bytes_of_an_uninterrupted_one(
    small: SimpleNamespace, tmp_path: Path, error: BaseException | None, optimizer: str
) -> None:
    images, labels = small.blobs()
    settings = {
        "validate": natural_accuracy(images, labels), "augment": crop_and_flip(padding=1),
        "optimizer": optimizer, "lr": 0.01, "weight_decay": 1e-3, "channels_last": True,
    }  # fmt: skip
    whole, expected = run(small, objective=breaking(-1, None), **settings)
    path = tmp_path / "checkpoint"
    with pytest.raises((Stop, KeyboardInterrupt)):
        run(small, objective=breaking(6, error), checkpoint=path, **settings)
    assert [file.name for file in tmp_path.iterdir()] == ["checkpoint"]
    resumed, history = run(small, objective=breaking(-1, None), checkpoint=path, **settings)
    assert small.weights(resumed) == small.weights(whole)
    assert losses(history) == losses(expected)
    assert [e.score for e in history.epochs] == [e.score for e in expected.epochs]
    assert history.best == expected.best


def test_a_finished_training_is_not_run_again(small: SimpleNamespace, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "checkpoint"
    net, history = run(small, objective=breaking(-1, None), checkpoint=path)
    again, same = run(small, objective=breaking(0, Stop()), checkpoint=path)
    assert small.weights(again) == small.weights(net)
    assert same == history


@pytest.mark.parametrize("change", [{"lr": 0.06}, {"seed": 2}, {"objective": standard()}])
def test_a_checkpoint_of_another_training_is_refused(
    small: SimpleNamespace, tmp_path: Path, change: dict[str, Any]
) -> None:
    path = tmp_path / "checkpoint"
    run(small, epochs=1, checkpoint=path)
    with pytest.raises(ValueError, match="is of another training"):
        run(small, epochs=1, checkpoint=path, **change)


def test_a_checkpoint_of_other_data_is_refused(small: SimpleNamespace, tmp_path: Path) -> None:
    images, labels = small.blobs()
    settings: dict[str, Any] = {
        "objective": standard(), "epochs": 1, "batch_size": 16, "lr": 0.1,
        "checkpoint": tmp_path / "checkpoint",
    }  # fmt: skip
    fit(small.smooth(), images, labels, generator=torch.Generator(), **settings)
    with pytest.raises(ValueError, match="data"):
        fit(small.smooth(), images, labels.flip(0), generator=torch.Generator(), **settings)


def test_a_damaged_checkpoint_is_refused_with_the_fix(
    small: SimpleNamespace, tmp_path: Path
) -> None:
    path = tmp_path / "checkpoint"
    run(small, epochs=1, checkpoint=path)
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="delete it"):
        run(small, epochs=1, checkpoint=path)


def test_validation_keeps_the_weights_of_the_earliest_best_epoch(small: SimpleNamespace) -> None:
    scores, seen = iter([0.2, 0.9, 0.9, 0.1]), []

    def validate(model: nn.Module) -> float:
        assert not any(module.training for module in model.modules())
        seen.append(small.weights(model))
        # a score that draws random numbers must not change the training
        torch.rand(1)
        return next(scores)

    net, history = run(small, epochs=4, validate=validate)
    assert history.best == 2
    assert [epoch.score for epoch in history.epochs] == [0.2, 0.9, 0.9, 0.1]
    assert small.weights(net) == seen[1]
    assert seen[3] == small.weights(run(small, epochs=4)[0])


def test_robust_accuracy_lies_below_natural_and_repeats(small: SimpleNamespace) -> None:
    images, labels = small.blobs()
    net, _ = run(small, objective=standard(), epochs=8, lr=0.01)
    robust = robust_accuracy(images, labels, eps=0.3, step=0.1, steps=5, batch_size=25)
    assert robust(net) == robust(net) < natural_accuracy(images, labels, batch_size=7)(net)


def test_hold_out_is_a_seeded_partition() -> None:
    images, labels = torch.arange(10).reshape(10, 1, 1, 1), torch.arange(10)
    parts = [
        train_val_split(images, labels, size=3, generator=torch.Generator().manual_seed(seed))
        for seed in (1, 1, 2)
    ]
    kept, kept_labels, held, held_labels = parts[0]
    assert len(held_labels) == 3
    assert sorted([*kept_labels.tolist(), *held_labels.tolist()]) == list(range(10))
    assert torch.equal(kept.flatten(), kept_labels) and torch.equal(held.flatten(), held_labels)
    assert torch.equal(parts[1][3], held_labels) and not torch.equal(parts[2][3], held_labels)


def test_the_modes_and_the_frozen_weights_are_given_back(small: SimpleNamespace) -> None:
    net = small.moody().eval()
    net[0].weight.requires_grad_(False)
    before = net[0].weight.clone()
    run(small, net=net, epochs=1)
    assert not any(module.training for module in net.modules())
    assert torch.equal(net[0].weight, before) and not net[0].weight.requires_grad


def counting(sizes: list[int]) -> Any:
    def objective(model: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        sizes.append(len(x))
        assert float(x.min()) >= 0 and float(x.max()) <= 1
        return standard_loss(model, x, y)

    return objective


@pytest.mark.parametrize(
    ("settings", "expected"),
    [({}, [16, 16, 16, 12]), ({"drop_last": True}, [16, 16, 16]), ({"max_batches": 2}, [16, 16])],
)
def test_an_epoch_has_the_batches_asked_for(
    small: SimpleNamespace, settings: dict[str, Any], expected: list[int]
) -> None:
    sizes: list[int] = []
    run(small, objective=counting(sizes), epochs=2, **settings)
    assert sizes == 2 * expected


def test_every_image_is_seen_once_an_epoch_with_its_label(small: SimpleNamespace) -> None:
    images, labels = small.blobs()
    seen: list[list[float]] = []

    def objective(model: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        seen.extend(torch.stack([x.sum((1, 2, 3)), y], dim=1).tolist())
        return standard_loss(model, x, y)

    run(small, net=small.smooth(), objective=objective, epochs=1)
    expected = torch.stack([(images.double() / 255).sum((1, 2, 3)), labels], dim=1)
    assert torch.tensor(sorted(seen)).allclose(torch.tensor(sorted(expected.tolist())))


def test_one_step_of_sgd_is_the_formula(small: SimpleNamespace) -> None:
    images, labels = small.blobs()
    net, twin = small.smooth(), small.smooth()
    run(small, net=net, objective=standard(), epochs=1, batch_size=60, lr=0.1, weight_decay=0.01)
    loss = standard_loss(twin, images.double() / 255, labels)
    for new, old, grad in zip(
        net.parameters(), twin.parameters(), small.gradients(twin, loss), strict=True
    ):
        torch.testing.assert_close(new, old - 0.1 * (grad + 0.01 * old))


def test_milestones_count_epochs_from_one(small: SimpleNamespace) -> None:
    _, history = run(small, objective=standard(), epochs=4, schedule=milestones(2, 4, gamma=0.1))
    assert [epoch.lr for epoch in history.epochs] == pytest.approx([0.05, 0.005, 0.005, 0.0005])


@pytest.mark.parametrize("schedule", [cosine(epochs=5), triangular(epochs=5, peak=0.4)])
def test_a_schedule_stays_within_the_base_rate_and_ends_at_zero(schedule: Any) -> None:
    factors = [schedule(5 * step / 100) for step in range(101)]
    assert 0.99 <= max(factors) <= 1 and min(factors) >= 0
    assert factors[-1] == pytest.approx(0, abs=1e-9)


def test_crops_shift_by_at_most_the_padding_and_flips_mirror() -> None:
    x = torch.zeros(400, 2, 5, 5, dtype=torch.uint8)
    x[:, :, 2, 1] = 7
    out = crop_and_flip(padding=1)(x, torch.Generator().manual_seed(0))
    assert out.shape == x.shape and out.dtype == x.dtype
    places = {tuple(place) for place in (out[:, 0] == 7).nonzero()[:, 1:].tolist()}
    # column 1 moves to 0..2, its mirror 3 to 2..4
    assert places == {(row, column) for row in (1, 2, 3) for column in (0, 1, 2, 3, 4)}
    assert torch.equal(out[:, 0], out[:, 1])
    same = crop_and_flip(padding=0, flip=False)(x, torch.Generator())
    assert torch.equal(same, x)


def test_bfloat16_training_is_near_and_updates_every_weight(small: SimpleNamespace) -> None:
    settings: dict[str, Any] = {"epochs": 1, "objective": TRADES}
    full, history = run(small, net=small.smooth(torch.float32), **settings)
    half, coarse = run(small, net=small.smooth(torch.float32), amp=True, **settings)
    start = small.smooth(torch.float32)
    assert losses(coarse) == pytest.approx(losses(history), rel=0.05)
    for a, b, c in zip(full.parameters(), half.parameters(), start.parameters(), strict=True):
        assert b.dtype == torch.float32
        assert 0 < float((a - b).detach().norm()) < 0.3 * float((a - c).detach().norm())


def test_channels_last_changes_the_layout_and_not_the_result(small: SimpleNamespace) -> None:
    nets = [run(small, net=small.smooth(), channels_last=flag)[0] for flag in (False, True)]
    assert nets[1][0].weight.is_contiguous(memory_format=torch.channels_last)
    for a, b in zip(*(net.parameters() for net in nets), strict=True):
        torch.testing.assert_close(a, b)


def test_a_loss_that_is_not_finite_stops_the_training_with_the_fix(small: SimpleNamespace) -> None:
    with pytest.raises(FloatingPointError, match="lower lr"):
        run(small, objective=standard(), lr=1e30)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, "epochs must be an integer >= 1"),
        ({"max_batches": 0}, "max_batches must be an integer >= 1"),
        ({"batch_size": 61}, "make it smaller"),
        ({"batch_size": 0}, "batch_size must be an integer >= 1"),
        ({"lr": 0.0}, "lr must be"),
        ({"optimizer": "lion"}, "optimizer must be"),
    ],
)
def test_a_setting_that_cannot_work_is_refused(
    small: SimpleNamespace, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        run(small, **settings)


def test_data_that_cannot_work_are_refused(small: SimpleNamespace) -> None:
    images, labels = small.blobs()
    settings: dict[str, Any] = {
        "objective": standard(), "epochs": 1, "batch_size": 4, "lr": 0.1,
        "generator": torch.Generator(),
    }  # fmt: skip
    for bad, message in [
        ((images[:0], labels[:0]), "at least one"),
        ((images, labels[:-1]), "one label for each image"),
        ((images.double(), labels), "Normalize"),
    ]:
        with pytest.raises(ValueError, match=message):
            fit(small.smooth(), *bad, **settings)
