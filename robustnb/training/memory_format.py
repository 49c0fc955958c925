"""Whether a training is faster in channels-last, for `fit(channels_last="auto")`."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from torch import Tensor, nn

from robustnb import resume
from robustnb.models.ask import place_of
from robustnb.models.layout import is_faster_in_channels_last
from robustnb.models.modes import training
from robustnb.training.objectives import Objective
from robustnb.training.validation import unit

LEAST_STEPS = 160  # of a training that timing a few of its steps pays for


def choose_channels_last(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    objective: Objective,
    amp: bool,
    steps: int,
    checkpoint: Path | None,
) -> bool:
    """The format in which the checkpoint was begun, if there is one; else the faster one.

    images (N, ...), labels (N,): a batch as in training; `steps`: how many batches will follow.
    A few steps are timed on a copy of the model, so that the model and the global random state
    are as before.
    """
    saved = None if checkpoint is None else resume.load(checkpoint, what="training")
    if saved is not None:
        return saved[1].get("facts", {}).get("channels_last") is True
    if steps < LEAST_STEPS:
        return False
    trial, (device, dtype) = copy.deepcopy(model), place_of(model, images)
    objective = copy.deepcopy(objective)  # which may keep count of its steps
    x, y = unit(images.to(device, copy=True), dtype), labels.to(device)

    def step() -> None:
        noise = torch.Generator(device).manual_seed(0)
        with torch.autocast(device.type, torch.bfloat16, enabled=amp, cache_enabled=False):
            loss = objective(trial, x.clone(), y, noise)
        loss.backward()  # type: ignore[no-untyped-call]
        trial.zero_grad(set_to_none=True)

    with training(trial), torch.random.fork_rng([device] if device.type == "cuda" else []):
        return is_faster_in_channels_last(trial, x, step)
