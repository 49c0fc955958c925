"""Signs, after an ensemble has run, that its robust accuracy is not to be believed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from robustnb.attacks.losses import fooled
from robustnb.attacks.outcome import clean_logits
from robustnb.attacks.tally import Tally
from robustnb.models.modes import Model

if TYPE_CHECKING:
    from robustnb.attacks.ensemble import Run

Finding = dict[str, Any]
_SHARE = 0.01  # of gradients or examples that may be odd


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Run the block with the global generators seeded, and put them back as they were."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield


def findings(
    model: Model, x: Tensor, y: Tensor, state: Tally, runs: Sequence[Run], *, batch_size: int
) -> dict[str, Finding]:
    """{check: {ok, value, why}}, JSON-able.

    deterministic: the model answers the same twice. gradients: how many that the attacks asked for
    were zero or not finite. black_box: how many stood against every gradient and fell to Square.
    again: how many of the images found are misclassified when asked again.
    """
    return {
        "deterministic": deterministic(model, x[:batch_size]),
        "gradients": _gradients(state),
        "black_box": _black_box(state, runs),
        "again": _again(model, y, state, batch_size),
    }


def deterministic(model: Model, x: Tensor) -> Finding:
    """Whether the model answers the same twice."""
    answers = []
    for seed in (0, 1):
        with torch.no_grad(), seeded(seed, x.device):
            answers.append(model(x) if len(x) else x)
    apart = float((answers[0] - answers[1]).abs().amax()) if len(x) else 0.0
    return finding(
        apart == 0,
        apart,
        f"two answers to the same images differ by up to {apart:.3g}; a randomised model is to be "
        "attacked through the mean of many answers, and falls here by chance as well",
    )


def _gradients(state: Tally) -> Finding:
    asked, zero, broken = (sum(row[column] for row in state.passes) for column in (1, 2, 3))
    value = (zero + broken) / max(asked, 1)
    return finding(
        value <= _SHARE,
        value,
        f"{value:.1%} of {asked} gradients were zero or not finite (at most {_SHARE:.0%}); more "
        "means that they are masked: by rounding, saturation or overflow",
    )


def _black_box(state: Tally, runs: Sequence[Run]) -> Finding:
    own = [number for number, run in enumerate(runs) if run.attack == "square"]
    white = any(run.attack != "square" for run in runs)
    late = sum(int((state.felled_by == number).sum()) for number in own) if white else 0
    value = late / max(int(state.natural.sum()), 1)
    return finding(
        value <= _SHARE,
        value,
        f"{value:.1%} of the correct examples fell to Square alone (at most {_SHARE:.0%}); an "
        "attack without gradients that beats those with them means masked gradients",
    )


def _again(model: Model, y: Tensor, state: Tally, batch_size: int) -> Finding:
    lost = state.felled_by >= 0
    if not bool(lost.any()):
        return finding(True, 1.0, "no image was found")
    with seeded(2, y.device):
        logits = clean_logits(model, state.x_adv[lost], y[lost], batch_size=batch_size)
    value = float(fooled(logits, y[lost]).double().mean())
    return finding(
        value >= 1 - _SHARE,
        value,
        f"{value:.1%} of the images found are misclassified when asked again (at least "
        f"{1 - _SHARE:.0%}); fewer means a randomised model or verdicts decided by rounding",
    )


def finding(ok: bool, value: object, why: str) -> Finding:
    """One check's answer, JSON-able."""
    return {"ok": ok, "value": value, "why": why}
