"""The same training said twice is the same, whatever model and objective count meanwhile."""

from __future__ import annotations

import warnings
from collections import deque
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustnb.training import fit
from robustnb.training.objectives import standard_loss

IMAGES = torch.rand(12, 1, 2, 2, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(12) % 3


class Stop(Exception):
    """What interrupts a training."""


class Counting(nn.Module):
    """Counts every call, those in evaluation mode too, and has a setting that training moves."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.net = nn.Linear(4, 3)
        nn.init.constant_(self.net.weight, 0.1)
        nn.init.zeros_(self.net.bias)
        self.calls, self.scale, self.warmth = 0, scale, 1.0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        if self.training:
            self.warmth *= 0.9
        logits: Tensor = self.net(x.flatten(1)) * self.scale * (1 + self.warmth)
        return logits


class Warming:
    """An objective whose loss grows with the steps that it has seen."""

    def __init__(self, rate: float = 0.1) -> None:
        self.steps, self.rate = 0, rate

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, _: torch.Generator) -> Tensor:
        self.steps += 1
        return standard_loss(model, x, y) * (1 + self.rate * self.steps)


def train(net: nn.Module, objective: Any, path: Path | None = None, **changes: Any) -> nn.Module:
    settings: dict[str, Any] = {"epochs": 4, "batch_size": 4, "lr": 0.1, **changes}
    generator = torch.Generator().manual_seed(0)
    fit(net, IMAGES, LABELS, objective=objective, generator=generator, checkpoint=path, **settings)
    return net


def interrupted(net: nn.Module, objective: Any, path: Path, *, after: int, **changes: Any) -> None:
    """Train for so many steps (three make an epoch), and be interrupted there."""
    left, step = iter(range(after)), torch.optim.SGD.step

    def stopping(self: torch.optim.SGD) -> None:
        if next(left, None) is None:
            raise Stop
        step(self)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stop):
        patch.setattr(torch.optim.SGD, "step", stopping)
        train(net, objective, path, **changes)


def assert_same(one: nn.Module, other: nn.Module) -> None:
    for name, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[name])
    assert (one.warmth, one.scale) == (other.warmth, other.scale)


@pytest.mark.parametrize("after", [1, 7], ids=["first epoch", "third epoch"])
@pytest.mark.parametrize("again", ["the same objects", "objects made again"])
def test_an_interrupted_training_said_again_ends_as_one_without_interruption(
    tmp_path: Path, after: int, again: str
) -> None:
    whole, path = train(Counting(), Warming()), tmp_path / "checkpoint"
    net, objective = Counting(), Warming()
    interrupted(net, objective, path, after=after)
    if again == "objects made again":
        net, objective = Counting(), Warming()
    assert_same(train(net, objective, path), whole)
    assert objective.steps == 12
    assert_same(train(net, objective, path), whole)


def test_a_model_that_was_asked_meanwhile_is_still_the_same(tmp_path: Path) -> None:
    net, objective, path = Counting(), Warming(), tmp_path / "checkpoint"
    net.eval()(IMAGES)
    interrupted(net, objective, path, after=7)
    net.eval()(IMAGES)
    assert_same(train(net, objective, path), train(Counting(), Warming()))


@pytest.mark.parametrize("name", ["scale", "warmth"])
def test_a_setting_that_the_user_changed_meanwhile_counts(tmp_path: Path, name: str) -> None:
    net, objective, path = Counting(), Warming(), tmp_path / "checkpoint"
    interrupted(net, objective, path, after=7)
    setattr(net, name, 0.5)
    with pytest.raises(ValueError, match=r"the model \(code and settings\) differs"):
        train(net, objective, path)


def test_weights_that_the_user_changed_meanwhile_count(tmp_path: Path) -> None:
    net, path = Counting(), tmp_path / "checkpoint"
    interrupted(net, Warming(), path, after=7)
    nn.init.constant_(net.net.weight, -1.0)
    with pytest.raises(ValueError, match=r"the model \(weights before training\) differs"):
        train(net, Warming(), path)
    nn.init.constant_(net.net.weight, 0.1)
    nn.init.zeros_(net.net.bias)
    assert_same(train(net, Warming(), path), train(Counting(), Warming()))


def test_a_setting_of_the_objective_that_the_user_changed_counts(tmp_path: Path) -> None:
    net, objective, path = Counting(), Warming(), tmp_path / "checkpoint"
    interrupted(net, objective, path, after=7)
    objective.rate = 0.5
    with pytest.raises(ValueError, match="objective differs"):
        train(net, objective, path)
    with pytest.raises(ValueError, match="objective differs"):
        train(Counting(), Warming(0.5), path)


def test_without_a_file_a_training_begins_from_what_is_there(tmp_path: Path) -> None:
    net, objective, path = Counting(), Warming(), tmp_path / "checkpoint"
    interrupted(net, objective, path, after=7)
    path.unlink()
    train(net, objective, path)
    with pytest.raises(ValueError, match="differs"):
        train(Counting(), Warming(), path)


class Averaging(Warming):
    """An objective that keeps its last losses where no checkpoint can hold them."""

    def __init__(self) -> None:
        super().__init__()
        self.losses: deque[float] = deque(maxlen=2)

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, _: torch.Generator) -> Tensor:
        loss = standard_loss(model, x, y)
        self.losses.append(loss.item())
        return loss * (1 + sum(self.losses))


def own_noise(model: nn.Module, x: Tensor, y: Tensor, _: torch.Generator, *, own: Any) -> Tensor:
    noise = torch.rand(x.shape, generator=own)
    return standard_loss(model, x + noise, y)


@pytest.mark.parametrize(
    ("objective", "named"),
    [
        (Averaging(), "losses.* of objective"),
        (partial(own_noise, own=torch.Generator().manual_seed(0)), "own.* of objective"),
    ],
    ids=["a queue", "a generator of its own"],
)
def test_state_that_no_checkpoint_holds_is_told_at_the_first_epoch(
    tmp_path: Path, objective: Any, named: str
) -> None:
    why = f"training changes what its checkpoint does not hold: .*{named}.* ends otherwise"
    with pytest.warns(UserWarning, match=why):
        train(Counting(), objective, tmp_path / "checkpoint")


def test_state_that_a_checkpoint_holds_is_not_warned_of(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(Counting(), Warming(), tmp_path / "checkpoint")
