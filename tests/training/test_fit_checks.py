"""What `fit` refuses before any work, and what a checkpoint must hold to go on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustnb.identity import named
from robustnb.training.objectives import pgd_training, standard, trades
from robustnb.training.schedules import milestones
from robustnb.training.training_loop import fit

TRADES = trades(beta=1.0, eps=0.1, step=0.1, steps=1)


class Stop(Exception):
    pass


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        (lambda y: y.int(), TypeError, r"int64 class numbers, got torch\.int32; use y\.long\(\)"),
        (lambda y: y.float(), TypeError, r"use y\.long\(\)"),
        (lambda y: torch.full_like(y, -100), ValueError, r"0\.\.2.*got -100\.\.-100"),
        (lambda y: y + 1, ValueError, r"0\.\.2 for a model of 3 classes, got 1\.\.3"),
        (lambda y: torch.nn.functional.one_hot(y), ValueError, "one label for each image"),
        (lambda y: y.numpy(), TypeError, r"torch\.as_tensor\(labels\)"),
    ],
)
def test_labels_are_checked_before_training(labels: Any, error: Any, message: str) -> None:
    images = torch.rand(12, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    before = [value.clone() for value in net.parameters()]
    for objective in (standard(), TRADES):
        with pytest.raises(error, match=message):
            fit(
                net, images, labels(torch.arange(12) % 3), objective=objective, epochs=1,
                batch_size=4, lr=0.1, generator=torch.Generator().manual_seed(0),
            )  # fmt: skip
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda z: z.argmax(1), "must return float logits, got torch.int64"),
        (lambda z: z[0], r"must return logits \(2, classes\)"),
        (lambda z: z * torch.nan, "NaN or infinite logits before it is trained"),
        (lambda z: z.abs() / 0, "check its weights"),
    ],
)
def test_answers_that_no_loss_can_take_are_refused_before_training(
    answer: Any, message: str
) -> None:
    class Odd(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            result: Tensor = answer(super().forward(x.flatten(1)))
            return result

    images = torch.rand(12, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    with pytest.raises((TypeError, ValueError), match=message):
        fit(
            Odd(4, 3), images, torch.arange(12) % 3, objective=standard(), epochs=1, batch_size=4,
            lr=0.1, generator=torch.Generator().manual_seed(0),
        )  # fmt: skip


def test_a_last_batch_of_one_is_refused_where_batch_norm_cannot_take_it() -> None:
    images = torch.rand(9, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    settings: dict[str, Any] = {
        "objective": standard(), "epochs": 1, "batch_size": 4, "lr": 0.1,
        "generator": torch.Generator().manual_seed(0),
    }  # fmt: skip
    net = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(4), nn.Linear(4, 3))
    with pytest.raises(ValueError, match=r"one image \(9 images\).*drop_last=True"):
        fit(net, images, torch.arange(9) % 3, **settings)
    assert int(net[1].num_batches_tracked) == 0
    fit(net, images, torch.arange(9) % 3, drop_last=True, **settings)
    fit(net, images, torch.arange(9) % 3, max_batches=2, **settings)
    maps = nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(4, 3))
    fit(maps, images, torch.arange(9) % 3, **settings)  # an image has four values a channel


class Counting(nn.Module):
    """Its answers depend on a plain count and on a buffer that `state_dict` leaves out."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(4, 3)
        nn.init.constant_(self.net.weight, 0.1)
        nn.init.zeros_(self.net.bias)
        self.count = 0
        self.register_buffer("seen", torch.zeros(()), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.count += 1
            self.seen += x.mean().detach()
        logits: Tensor = self.net(x.flatten(1)) * (1 + 0.1 * self.count + 0.1 * self.seen)
        return logits


def test_a_resumed_training_goes_on_from_counts_and_unsaved_buffers(tmp_path: Path) -> None:
    images = torch.rand(12, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(12) % 3

    def train(net: Counting, stop: int | None = None, path: Path | None = None) -> Counting:
        calls = iter(range(100))

        def validate(_: nn.Module) -> float:
            if next(calls) == stop:
                raise Stop
            return 0.0

        fit(
            net, images, labels, objective=standard(), epochs=4, batch_size=4, lr=0.1,
            generator=torch.Generator().manual_seed(0), validate=named(validate, "none"),
            checkpoint=path,
        )  # fmt: skip
        return net

    whole, path = train(Counting()), tmp_path / "checkpoint"
    with pytest.raises(Stop):
        train(Counting(), 2, path)
    resumed = train(Counting(), None, path)
    assert resumed.count == whole.count and torch.equal(resumed.seen, whole.seen)
    assert torch.equal(resumed.net.weight, whole.net.weight)


def test_state_that_a_checkpoint_cannot_hold_is_refused_before_training(tmp_path: Path) -> None:
    class Extra(nn.Linear):
        def get_extra_state(self) -> dict[str, int]:
            return {"more": 1}

        def set_extra_state(self, state: dict[str, int]) -> None:
            pass

    net = nn.Sequential(nn.Flatten(), Extra(4, 3))
    call: dict[str, Any] = {
        "objective": standard(), "epochs": 1, "batch_size": 4, "lr": 0.1,
        "generator": torch.Generator().manual_seed(0),
    }  # fmt: skip
    images, labels = torch.rand(8, 1, 2, 2), torch.arange(8) % 3
    with pytest.raises(TypeError, match=r"1\._extra_state.*without checkpoint"):
        fit(net, images, labels, checkpoint=tmp_path / "file", **call)
    fit(net, images, labels, **call)


def test_schedules_of_other_numbers_are_schedules(tmp_path: Path) -> None:
    images, labels = torch.rand(8, 1, 2, 2), torch.arange(8) % 3
    for number, schedule in enumerate(
        [lambda t: torch.tensor(0.5), milestones(torch.tensor(2), gamma=torch.tensor(0.5))]
    ):
        net = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
        fit(
            net, images, labels, objective=standard(), epochs=2, batch_size=4, lr=0.1,
            generator=torch.Generator().manual_seed(0), schedule=schedule,
            checkpoint=tmp_path / f"file{number}",
        )  # fmt: skip


def test_scores_want_labels_of_both_signs() -> None:
    class Score(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Linear(4, 1)

        def forward(self, x: Tensor) -> Tensor:
            score: Tensor = self.net(x.flatten(1))[:, 0]
            return score

    images, labels = torch.rand(8, 1, 2, 2), (torch.arange(8) % 2).float()
    call: dict[str, Any] = {"epochs": 1, "batch_size": 4, "lr": 0.1}
    for objective in (standard(), pgd_training(eps=0.1, step=0.1, steps=1)):
        with pytest.raises(ValueError, match=r"-1 or \+1; use 2 \* y - 1"):
            fit(Score(), images, labels, objective=objective, generator=torch.Generator(), **call)
    fit(Score(), images, 2 * labels - 1, objective=standard(), generator=torch.Generator(), **call)


def test_a_loss_without_a_way_to_the_parameters_is_named() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))

    class Detached(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = self.net(x).detach()
            return logits

    with pytest.raises(ValueError, match="no gradient with respect to the parameters"):
        fit(
            Detached(), torch.rand(8, 1, 2, 2), torch.arange(8) % 3, objective=standard(),
            epochs=1, batch_size=4, lr=0.1, generator=torch.Generator(),
        )  # fmt: skip
