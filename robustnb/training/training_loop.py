"""One training loop for every objective.

The same generator seed gives the same weights bit for bit on one machine with a fixed number of
CPU threads, interrupted or not. On a GPU that also needs torch.use_deterministic_algorithms(True).
"""

from __future__ import annotations

import math
import time
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from robustnb.identity import describe
from robustnb.models import layout
from robustnb.models.ask import place_of
from robustnb.models.modes import eval_mode, training
from robustnb.progress import Progress, progress
from robustnb.resume import path_of
from robustnb.scalars import finite, real, whole
from robustnb.training.augment import Augment
from robustnb.training.beginning import Beginning
from robustnb.training.checkpoint import (
    State,
    check_can_be_saved,
    fingerprint,
    plain_attributes,
    restore,
    save,
)
from robustnb.training.checks import check_epoch, check_last_batch, check_training
from robustnb.training.memory_format import choose_channels_last
from robustnb.training.objectives import Objective
from robustnb.training.randomness import private_randomness, reseed
from robustnb.training.schedules import Schedule, constant
from robustnb.training.validation import Validate, unit


@dataclass(frozen=True)
class Epoch:
    """One pass over the data: mean loss, last learning rate, wall seconds, validation score."""

    epoch: int
    loss: float
    lr: float
    seconds: float
    score: float | None = None


@dataclass
class History:
    """What happened in each epoch, and the number (from 1) of the one whose weights were kept."""

    epochs: list[Epoch] = field(default_factory=list)
    best: int | None = None

    def to_json(self) -> dict[str, Any]:
        """The history as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> History:
        """The history that `to_json` wrote."""
        return cls([Epoch(**epoch) for epoch in value["epochs"]], value["best"])


def fit(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    objective: Objective,
    epochs: int,
    batch_size: int,
    lr: float,
    generator: torch.Generator,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
    nesterov: bool = False,
    optimizer: Literal["sgd", "adam"] = "sgd",
    schedule: Schedule = constant,
    validate: Validate | None = None,
    checkpoint: Path | str | None = None,
    augment: Augment | None = None,
    amp: bool = False,
    compile: bool = False,
    channels_last: bool | Literal["auto"] = False,
    drop_last: bool = False,
    max_batches: int | None = None,
    inputs: Literal["images", "features"] = "images",
    title: str = "train",
) -> History:
    """Train `model` in place by stochastic gradient descent on `objective`.

    images: (N, C, H, W), uint8 or float in [0, 1]; labels: (N,). They are moved to the model's
    device once; images take the model's dtype batch by batch. With inputs="features" they are
    (N, ...) floats of any finite size. An objective with a number `replays` gets each batch that
    often, with a step of the optimizer each time.

    `validate` scores the model, in eval mode, after each epoch; higher is better, and the weights
    of the earliest best epoch are the ones `model` ends with. It must never see the test set.
    `checkpoint` names a file that is replaced after each epoch; if it exists, training goes on
    after its last epoch, with the result it would have had without the interruption. It is refused
    for other settings, data, or another model, its weights before training included.
    `max_batches` cuts each epoch short. `amp` computes in bfloat16 where autocast does, `compile`
    uses torch.compile. With "adam", `momentum` is its beta_1.
    `channels_last` puts the model in that memory format. With "auto" it is only put there while it
    is trained, if a few steps, timed before training begins, are faster that way. Both formats
    give the same weights up to rounding; True or False gives the same bits on every run.

    The generator, on the CPU, decides the order of the data, dropout, augmentation and the
    objective's own noise; the global random state is left as it was. Raises ValueError for
    settings that cannot work and FloatingPointError when the loss is not finite.
    """
    checkpoint = path_of(checkpoint)
    if isinstance(images, Tensor):
        images = images.detach()  # whose own .grad the backward passes would fill
    plan = _Plan(
        objective, epochs, batch_size, lr, momentum, weight_decay, nesterov, optimizer, schedule,
        validate, augment, amp, compile, channels_last, drop_last, max_batches,
    )  # fmt: skip
    check_training(model, images, labels, generator, inputs=inputs)
    plan.check_size(len(labels))
    check_last_batch(model, objective, images, labels, plan.last_batch(len(labels)))
    automatic = plan.channels_last == "auto"
    if automatic:
        first, steps = slice(0, plan.batch_size), plan.epochs * plan.steps(len(labels))
        plan = replace(plan, channels_last=not compile and choose_channels_last(
            model, images[first], labels[first], objective=objective, amp=amp, steps=steps,
            checkpoint=checkpoint,
        ))  # fmt: skip
    elif plan.channels_last:
        model.to(memory_format=torch.channels_last)
    with (
        torch.enable_grad(),
        layout.use_layout("keep"),  # validation must not choose a format by its own timing
        layout.channels_last(model) if automatic and plan.channels_last else nullcontext(),
    ):
        return _train(plan, model, images, labels, generator, checkpoint, title)


def _train(
    plan: _Plan,
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    generator: torch.Generator,
    checkpoint: Path | None,
    title: str,
) -> History:
    device, dtype = place_of(model, images)
    state, saved = State(model, plan.descent(model), generator), None
    if checkpoint is not None:
        check_can_be_saved(model)
        two = unit(images[:2].to(device, copy=True), dtype)
        beginning = Beginning(checkpoint, model, plan.others(), two)
        settings = {**plan.settings(images, labels, generator), **beginning.facts}
        saved = _Saved(checkpoint, state, settings, beginning, plan.others())
    images, labels = images.to(device), labels.to(device)
    history = History() if saved is None else saved.restored()
    try:
        _epochs(plan, state, images, labels, history, saved, title)
    finally:
        if saved is not None:
            saved.beginning.ended()
    state.use_best()
    return history


def _epochs(
    plan: _Plan,
    state: State,
    images: Tensor,
    labels: Tensor,
    history: History,
    saved: _Saved | None,
    title: str,
) -> None:
    """All epochs that are not in `history` yet."""
    model, steps = state.model, plan.steps(len(labels))
    net = cast(nn.Module, torch.compile(model)) if plan.compile else model
    with (
        progress(title, total=plan.epochs * steps) as bar,
        private_randomness(labels.device),
        training(net),
    ):
        bar.done = len(history.epochs) * steps
        while len(history.epochs) < plan.epochs:
            done = _epoch(plan, net, state, images, labels, len(history.epochs), bar)
            history.epochs.append(done)
            _select(model, plan.validate, state, history)
            if saved is not None:
                saved.keep(history)


@dataclass
class _Saved:
    """The checkpoint of one call: its file, what it holds, and what the training began with."""

    path: Path
    state: State
    settings: dict[str, Any]
    beginning: Beginning
    others: dict[str, Any]
    warned: bool = False

    def restored(self) -> History:
        """The history in the file, with the state put back; an empty one if there is no file yet.

        The file is made then, so that a training that is interrupted in its first epoch begins
        again from the same weights.
        """
        found = restore(self.path, self.state, self.settings, self.others)
        if found is None:
            self._write(History())
        return History() if found is None else History.from_json(found)

    def keep(self, history: History) -> None:
        """Write the state after an epoch; the first one shows what no checkpoint can hold."""
        self._write(history)
        if not self.warned:
            self.warned = True
            everything = {"the model": self.state.model, **self.others}
            self.beginning.warn_of_unsaved({n: plain_attributes(t) for n, t in everything.items()})

    def _write(self, history: History) -> None:
        save(self.path, self.state, self.settings, history.to_json(), self.others)


@dataclass(frozen=True)
class _Plan:
    """The settings of one call to `fit`."""

    objective: Objective
    epochs: int
    batch_size: int
    lr: float
    momentum: float
    weight_decay: float
    nesterov: bool
    optimizer: str
    schedule: Schedule
    validate: Validate | None
    augment: Augment | None
    amp: bool
    compile: bool
    channels_last: bool | Literal["auto"]
    drop_last: bool
    max_batches: int | None

    def __post_init__(self) -> None:
        """Take numbers of any kind as plain ones, and refuse settings that cannot work."""
        plain: dict[str, Any] = {
            "epochs": whole("epochs", self.epochs),
            "batch_size": whole("batch_size", self.batch_size),
            "lr": finite("lr", self.lr, above=0.0),
            "momentum": finite("momentum", self.momentum, least=0.0),
            "weight_decay": finite("weight_decay", self.weight_decay, least=0.0),
        }
        if self.max_batches is not None:
            plain["max_batches"] = whole("max_batches", self.max_batches)
        for name, value in plain.items():
            object.__setattr__(self, name, value)
        if self.optimizer not in ("sgd", "adam"):
            raise ValueError(f'optimizer must be "sgd" or "adam", got {self.optimizer!r}')
        if self.channels_last not in (True, False, "auto"):
            raise ValueError(
                f'channels_last must be True, False or "auto", got {self.channels_last!r}'
            )

    @property
    def replays(self) -> int:
        """How many steps the objective wants of each batch; 1 unless it says so."""
        return whole("the objective's replays", getattr(self.objective, "replays", 1))

    def check_size(self, size: int) -> None:
        """Refuse batches that are larger than the set of images."""
        if self.batch_size > size:
            raise ValueError(
                f"batch_size must lie in [1, {size}], the number of images, got {self.batch_size}; "
                "make it smaller or pass more images"
            )

    def descent(self, model: nn.Module) -> torch.optim.Optimizer:
        """The optimizer of the model's parameters."""
        weights = [weight for weight in model.parameters() if weight.requires_grad]
        if self.optimizer == "adam":
            betas = (self.momentum, 0.999)
            return torch.optim.Adam(weights, self.lr, betas, weight_decay=self.weight_decay)
        return torch.optim.SGD(
            weights, self.lr, self.momentum, weight_decay=self.weight_decay, nesterov=self.nesterov
        )

    def others(self) -> dict[str, Any]:
        """What may keep state of its own, by name."""
        named = {name: getattr(self, name) for name in ("objective", "schedule", "validate")}
        found = {**named, "augment": self.augment}
        return {name: thing for name, thing in found.items() if thing is not None}

    def settings(
        self, images: Tensor, labels: Tensor, generator: torch.Generator
    ) -> dict[str, Any]:
        """What a checkpoint must agree on."""
        plain = {item.name: describe(getattr(self, item.name)) for item in fields(self)}
        return {**plain, "data": fingerprint(images, labels), "seed": generator.initial_seed()}

    def last_batch(self, size: int) -> int:
        """How many examples the smallest batch of an epoch holds."""
        whole = self.steps(size) * self.batch_size <= size
        return self.batch_size if whole else size % self.batch_size

    def steps(self, size: int) -> int:
        """Steps in an epoch over `size` examples."""
        whole = size // self.batch_size if self.drop_last else math.ceil(size / self.batch_size)
        return min(whole, self.max_batches or whole)


def _epoch(
    plan: _Plan,
    net: nn.Module,
    state: State,
    images: Tensor,
    labels: Tensor,
    finished: int,
    bar: Progress,
) -> Epoch:
    started = time.perf_counter()
    device, (_, dtype) = labels.device, place_of(net, images)
    steps = plan.steps(len(labels))
    noise = reseed(state.generator, device)
    order = torch.randperm(len(labels), generator=state.generator).to(device)
    total, seen = torch.zeros((), device=device), 0
    for step, index in enumerate(torch.split(order, plan.batch_size)[:steps]):
        x, y = images[index], labels[index]
        if plan.augment is not None:
            x = plan.augment(x, noise)
        x = unit(x, dtype)
        if plan.channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        for replay in range(plan.replays):
            at = plan.schedule(finished + (step + replay / plan.replays) / steps)
            rate = real("the schedule's factor", at) * plan.lr
            total += _step(plan, net, state.optimizer, x, y, noise, rate) * len(y)
            seen += len(y)
        bar.advance()
    # read once an epoch: reading it at each step would make a GPU wait
    loss = float(total) / seen
    check_epoch(net, finished + 1, loss, rate)
    return Epoch(finished + 1, loss, rate, time.perf_counter() - started)


def _step(
    plan: _Plan,
    net: nn.Module,
    optimizer: torch.optim.Optimizer,
    x: Tensor,
    y: Tensor,
    noise: torch.Generator,
    rate: float,
) -> Tensor:
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.zero_grad(set_to_none=True)
    # without the cache: a weight cast while no gradient is wanted would be reused where one is
    with torch.autocast(x.device.type, torch.bfloat16, enabled=plan.amp, cache_enabled=False):
        loss = plan.objective(net, x, y, noise)
    if not loss.requires_grad:
        raise ValueError(
            "the loss has no gradient with respect to the parameters; the model or the objective "
            "detaches (no_grad, .detach(), .argmax(), numpy)"
        )
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return loss.detach()


def _select(model: nn.Module, validate: Validate | None, state: State, history: History) -> None:
    if validate is None:
        history.best = len(history.epochs)
        return
    with eval_mode(model):
        score = float(validate(model))
    if math.isnan(score):
        raise ValueError(
            "validate gave NaN, which no epoch can be chosen by; check what it divides by"
        )
    past = [epoch.score for epoch in history.epochs[:-1] if epoch.score is not None]
    history.epochs[-1] = Epoch(**{**asdict(history.epochs[-1]), "score": score})
    if not past or score > max(past):
        history.best = len(history.epochs)
        state.keep()
