"""Signs, after an ensemble has run, that its robust accuracy is not to be believed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from robustnb.attacks.attack import AttackRun
from robustnb.attacks.state import EvaluationState
from robustnb.models.ask import ask
from robustnb.models.modes import Model, eval_mode

Finding = dict[str, Any]
_SHARE = 0.01  # of gradients or examples that may be odd
_COMPANY = 1e-3  # batches of other sizes round differently
_FEW = 8  # images that are asked about in another batch


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Run the block with the global generators seeded, and put them back as they were."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield


def findings(
    model: Model,
    x: Tensor,
    state: EvaluationState,
    runs: Sequence[AttackRun],
    again: Tensor,
    *,
    batch_size: int,
) -> dict[str, Finding]:
    """{check: {ok, value, why}}, JSON-able. `again`: of the broken, who was wrong when asked again.

    deterministic: the model answers the same twice. gradients: how many that the attacks asked for
    were zero or not finite. black_box: how many every gradient left robust and Square broke.
    again: how many of the images found are misclassified when asked again.
    """
    return {
        "deterministic": deterministic(model, x[:batch_size]),
        "gradients": gradients(*map(sum, zip(*state.passes, strict=True))),
        "black_box": _black_box(state, runs),
        "again": _again(again),
    }


def deterministic(model: Model, x: Tensor) -> Finding:
    """Whether the model answers the same twice."""
    answers = []
    for seed in (0, 1):
        with torch.no_grad(), seeded(seed, x.device):
            answers.append(ask(model, x) if len(x) else x)
    apart = float((answers[0] - answers[1]).abs().amax()) if len(x) else 0.0
    return finding(
        apart == 0,
        apart,
        f"two answers to the same images differ by up to {apart:.3g}; a randomised model is to be "
        "attacked through the mean of many answers, and falls here by chance as well",
    )


def gradients(forward: int, backward: int, zero: int, broken: int) -> Finding:
    """How many of the gradients that an attack asked for gave it no direction; all in examples."""
    value = (zero + broken) / max(backward, 1)
    return finding(
        value <= _SHARE,
        value,
        f"{value:.1%} of {backward} gradients were zero or not finite (at most {_SHARE:.0%}); more "
        "means that they are masked: by rounding, saturation or overflow",
    )


def _black_box(state: EvaluationState, runs: Sequence[AttackRun]) -> Finding:
    own = [number for number, run in enumerate(runs) if run.label == "square"]
    white = any(run.label != "square" for run in runs)
    late = sum(int((state.broken_by == number).sum()) for number in own) if white else 0
    value = late / max(int(state.natural.sum()), 1)
    return finding(
        value <= _SHARE,
        value,
        f"{value:.1%} of the correct examples fell to Square alone (at most {_SHARE:.0%}); an "
        "attack without gradients that beats those with them means masked gradients",
    )


def _again(wrong: Tensor) -> Finding:
    if len(wrong) == 0:
        return finding(True, 1.0, "no image was found")
    value = float(wrong.double().mean())
    return finding(
        value >= 1 - _SHARE,
        value,
        f"{value:.1%} of the images found are misclassified when asked again (at least "
        f"{1 - _SHARE:.0%}); fewer means a randomised model or verdicts decided by rounding",
    )


@torch.no_grad()
def batch_invariance(model: Model, x: Tensor, *, batch_size: int = 256) -> Finding:
    """Whether the answers to images depend on the images beside them, beyond rounding."""
    if len(x) == 0:
        return finding(True, 0.0, "no image was asked about")
    with eval_mode(model):
        together = torch.cat([ask(model, part) for part in torch.split(x, batch_size)])
        parts = torch.split(x.flip(0), max(1, batch_size // 3))
        apart = torch.cat([ask(model, part) for part in parts]).flip(0)
    value = _apart(together, apart)
    return finding(
        value <= _COMPANY,
        value,
        f"answers change by {value:.1e} of the largest logit when the batches are made up "
        f"differently (at most {_COMPANY:g}); a model that depends on its batch has no robust "
        "accuracy of its own: put it in eval mode",
    )


@torch.no_grad()
def check_batch_independence(model: Model, x: Tensor, logits: Tensor) -> int:
    """ValueError if a few images are answered otherwise among themselves than in `logits`.

    A randomised model passes, as its answers differ anyway (`deterministic` tells). Returns how
    many images were asked about.
    """
    if len(x) < 2:
        return 0
    few = torch.arange(0, len(x), 2, device=x.device)[:_FEW].flip(0)
    apart = _apart(logits[few], ask(model, x[few]))
    if apart <= _COMPANY:
        return len(few)
    if not deterministic(model, x[few])["ok"]:
        return 3 * len(few)
    raise ValueError(
        f"asked about {len(few)} of {len(x)} images by themselves, the model changes its answers "
        f"by {apart:.1%} of the largest logit, so its answer to an image depends on the other "
        "images in its batch: make it answer each image by itself, without batch norm that has "
        "track_running_stats=False and without a mean over the batch"
    )


def _apart(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().amax() / one.abs().amax().clamp_min(1e-30))


def finding(ok: bool, value: object, why: str) -> Finding:
    """One check's answer, JSON-able."""
    return {"ok": ok, "value": value, "why": why}
