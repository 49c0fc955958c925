"""An attack's audit of itself: signs that it overstates robustness (Carlini 2019, Athalye 2018)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from robustnb.attacks.crossing import transfer
from robustnb.attacks.evaluation import Evaluation, clean_logits, evaluate
from robustnb.attacks.losses import cross_entropy, fooled
from robustnb.attacks.protocol import Attack, half_cosine
from robustnb.models.modes import Model, evaluating

Finding = dict[str, Any]
_FLAT = 0.01  # share of examples by which a curve may still fall at its end
_ROUNDING = 1e-9  # 0.61 - 0.60 is more than 0.01 in floating point
_ZERO_SHARE = 0.01
_LARGE_STEPS = 50


def self_audit(
    model: Model,
    x: Tensor,
    y: Tensor,
    *,
    attack: Attack,
    source: Model | None = None,
    batch_size: int = 256,
    generator: torch.Generator | None = None,
) -> dict[str, Finding]:
    """Ask whether the attack is spent on this model; {check: {ok, value, why}}, JSON-able.

    zero_gradients: how many correct examples give the attack no direction. steps, restarts:
    robust accuracy against effort, which must have become flat. large_eps: with the whole box
    allowed nothing stays correct. transfer (with a `source` model): examples made on another
    model must not be stronger than this attack.
    """
    seed = int(torch.randint(2**62, (1,), generator=generator, device=_device(generator)))
    robust = _Accuracy(model, x, y, batch_size, seed)
    spent = robust.outcome(attack)
    findings = {
        "zero_gradients": zero_gradients(model, x, y, batch_size=batch_size),
        "steps": _steps(robust, attack),
        "restarts": _restarts(spent.survivors[attack.name], attack, n=len(x)),
        "large_eps": _large_eps(robust, attack),
    }
    if source is not None:
        other = transfer(
            source, model, x, y, attack=_single(attack), batch_size=batch_size,
            generator=torch.Generator().manual_seed(seed),
        )  # fmt: skip
        findings["transfer"] = _transfer(spent.strongest, other.adv_correct)
    return findings


def summary(audits: Mapping[str, Mapping[str, Finding]]) -> Finding:
    """One finding for several audited models: {ok, value, why}; `why` names the first that failed.

    audits: the `self_audit` of each model, by name. `value` keeps every finding.
    """
    failed = [
        f"{model}, {check}: {finding['why']}"
        for model, findings in audits.items()
        for check, finding in findings.items()
        if not finding["ok"]
    ]
    every = {model: dict(findings) for model, findings in audits.items()}
    return _finding(not failed, every, failed[0] if failed else "every check passed")


class _Accuracy:
    """Robust accuracy under an attack, always from the same seed, so that efforts nest."""

    def __init__(self, model: Model, x: Tensor, y: Tensor, batch_size: int, seed: int) -> None:
        self.model, self.x, self.y = model, x, y
        self.batch_size, self.seed = batch_size, seed

    def outcome(self, attack: Attack) -> Evaluation:
        return evaluate(
            self.model, self.x, self.y, attacks=[attack], batch_size=self.batch_size,
            generator=torch.Generator().manual_seed(self.seed),
        )  # fmt: skip

    def __call__(self, attack: Attack) -> float:
        return float(self.outcome(attack).strongest.double().mean())


def zero_gradients(model: Model, x: Tensor, y: Tensor, *, batch_size: int = 256) -> Finding:
    """The share of correctly classified examples whose cross-entropy gradient is exactly 0."""
    zeros = []
    with evaluating(model):
        correct = ~fooled(clean_logits(model, x, y, batch_size=batch_size), y)
        for images, labels in zip(
            torch.split(x, batch_size), torch.split(y, batch_size), strict=True
        ):
            leaf = images.detach().clone().requires_grad_()
            with torch.enable_grad():
                loss = cross_entropy(model(leaf), labels).sum()
            (grad,) = torch.autograd.grad(loss, leaf)
            zeros.append((grad == 0).flatten(1).all(1))
    count = max(int(correct.sum()), 1)
    share = float((torch.cat(zeros) & correct).sum()) / count
    return _finding(
        share <= _ZERO_SHARE,
        share,
        f"{share:.1%} of the correct examples have a zero gradient (at most {_ZERO_SHARE:.0%}); "
        "more means saturated or masked gradients: use the margin loss",
    )


def _steps(robust: _Accuracy, attack: Attack) -> Finding:
    counts = sorted({max(1, attack.steps // part) for part in (8, 4, 2, 1)} | {1})
    once = _single(attack)
    curve = {k: robust(replace(once, steps=k, step=half_cosine(attack.eps, k))) for k in counts}
    return _curve(curve, "steps")


def _single(attack: Attack) -> Attack:
    return replace(attack, restarts=1, losses=attack.losses[:1])


def _restarts(survivors: tuple[int, ...], attack: Attack, *, n: int) -> Finding:
    """The curve over restarts, read off one evaluation: each restart runs every loss."""
    counts = sorted({1, (attack.restarts + 1) // 2, attack.restarts})
    per_restart = len(attack.losses)
    return _curve({k: survivors[k * per_restart - 1] / max(n, 1) for k in counts}, "restarts")


def _curve(curve: dict[int, float], what: str) -> Finding:
    values = list(curve.values())
    last = values[-2] - values[-1] if len(values) > 1 else 0.0
    rise = max([after - before for before, after in itertools.pairwise(values)] + [0.0])
    flat = _FLAT + _ROUNDING
    return _finding(
        last <= flat and rise <= flat,
        {str(k): value for k, value in curve.items()},
        f"the last increase of {what} lowers robust accuracy by {last:.1%} and the largest rise "
        f"is {rise:.1%} (at most {_FLAT:.0%} each); otherwise use more {what}",
    )


def _large_eps(robust: _Accuracy, attack: Attack) -> Finding:
    low, high = attack.clip or (0.0, 1.0)
    size = math.prod(robust.x.shape[1:])
    eps = (high - low) * {"linf": 1.0, "l2": math.sqrt(size), "l1": float(size)}[attack.norm]
    wide = replace(attack, name="large eps", eps=eps, steps=_LARGE_STEPS, step=eps / 10)
    accuracy = robust(wide)
    return _finding(
        accuracy == 0,
        accuracy,
        f"with eps = {eps:g} (the whole box) {accuracy:.1%} stay correct; anything above 0 means "
        "that the attack fails, not that the model is robust",
    )


def _transfer(white_box: Tensor, other: Tensor) -> Finding:
    own, foreign = (float(correct.double().mean()) for correct in (white_box, other))
    return _finding(
        int(white_box.sum()) <= int(other.sum()),
        {"white_box": own, "transfer": foreign},
        f"robust accuracy is {own:.1%} under the attack itself and {foreign:.1%} under "
        "examples made on the source; a white-box attack that is weaker is not spent",
    )


def _finding(ok: bool, value: object, why: str) -> Finding:
    return {"ok": ok, "value": value, "why": why}


def _device(generator: torch.Generator | None) -> torch.device | None:
    return None if generator is None else generator.device
