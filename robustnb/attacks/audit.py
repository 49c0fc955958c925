"""An attack's audit of itself: signs that it overstates robustness (Carlini 2019, Athalye 2018)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from robustnb.attacks import sanity_checks, validation
from robustnb.attacks.autoattack import AttackEnsemble
from robustnb.attacks.config import PGDConfig, half_cosine
from robustnb.attacks.evaluation import Evaluation, evaluate
from robustnb.attacks.losses import cross_entropy, margin, misclassified
from robustnb.attacks.queries import ModelQueries
from robustnb.attacks.results import clean_logits
from robustnb.attacks.sanity_checks import Finding, finding
from robustnb.attacks.transfer_attack import craft, transfer
from robustnb.generators import check_generator
from robustnb.models.modes import Model, eval_mode
from robustnb.scalars import whole

_FLAT = 0.01  # share of examples by which a curve may still fall at its end
_ROUNDING = 1e-9  # 0.61 - 0.60 is more than 0.01 in floating point
_ZERO_SHARE = 0.01
_LARGE_STEPS = 50
_RESTARTS = 3  # fewer make no curve


def robustness_audit(
    model: Model,
    x: Tensor,
    y: Tensor,
    *,
    attack: PGDConfig,
    source: Model | None = None,
    queries: int = 300,
    batch_size: int = 256,
    generator: torch.Generator | None = None,
) -> dict[str, Finding]:
    """Ask whether the attack is spent on this model; {check: {ok, value, why}}, JSON-able.

    zero_gradients: how many correct examples give the attack no direction. loss: the margin
    against steps, which must rise above that of the clean image. steps, restarts: robust accuracy
    against effort, which must have become flat. large_eps: with the whole box allowed nothing
    stays correct. deterministic, batch: an image gets the same answer again, and in any company.
    A model that fails `batch` is asked nothing else, as it has no robust accuracy.
    square: the black-box attack alone is not stronger; transfer (with a `source` model): nor are
    examples made on another model. An ensemble's `findings` ask more of Square.
    """
    validation.check_attack(
        model, x, y, eps=attack.eps, step=attack.step, steps=attack.steps, norm=attack.norm,
        clip=attack.clip,
    )  # fmt: skip
    batch_size, queries = validation.check_batch_size(batch_size), whole("queries", queries)
    seed = int(torch.randint(2**62, (1,), generator=generator, device=check_generator(generator)))
    robust = _Accuracy(model, x, y, batch_size, seed)
    with sanity_checks.seeded(seed % 2**62, x.device), eval_mode(model):
        batch = sanity_checks.batch_invariance(model, x, batch_size=batch_size)
        same = sanity_checks.deterministic(model, x[:batch_size])
        if same["ok"] and not batch["ok"]:
            return {"deterministic": same, "batch": batch}
        spent = robust.outcome(attack)
        findings = {
            "zero_gradients": zero_gradients(model, x, y, batch_size=batch_size),
            "loss": _loss(robust, attack),
            "steps": _steps(robust, attack),
            "restarts": _restarts(robust, attack, spent),
            "large_eps": _large_eps(robust, attack),
            "deterministic": same,
            "batch": batch,
            "square": _square(robust, spent.robust, attack, queries),
        }
        if source is not None:
            other = transfer(
                source, model, x, y, attack=_single(attack), batch_size=batch_size,
                generator=torch.Generator().manual_seed(seed),
            )  # fmt: skip
            findings["transfer"] = _weaker(spent.robust, other.adv_correct, "transfer")
    return findings


def summary(audits: Mapping[str, Mapping[str, Finding]]) -> Finding:
    """One finding for several audited models: {ok, value, why}; `why` names the first that failed.

    audits: the `robustness_audit` of each model, by name. `value` keeps every finding.
    """
    failed = [
        f"{model}, {check}: {found['why']}"
        for model, findings in audits.items()
        for check, found in findings.items()
        if not found["ok"]
    ]
    every = {model: dict(findings) for model, findings in audits.items()}
    return finding(not failed, every, failed[0] if failed else "every check passed")


class _Accuracy:
    """Robust accuracy under an attack, always from the same seed, so that efforts nest."""

    def __init__(self, model: Model, x: Tensor, y: Tensor, batch_size: int, seed: int) -> None:
        self.model, self.x, self.y = model, x, y
        self.batch_size, self.seed = batch_size, seed

    def outcome(self, attack: PGDConfig | AttackEnsemble) -> Evaluation:
        return evaluate(
            self.model, self.x, self.y, attacks=[attack], batch_size=self.batch_size,
            generator=torch.Generator().manual_seed(self.seed),
        )  # fmt: skip

    def __call__(self, attack: PGDConfig) -> float:
        return float(self.outcome(attack).robust.double().mean())


def zero_gradients(model: Model, x: Tensor, y: Tensor, *, batch_size: int = 256) -> Finding:
    """The share of correct examples whose cross-entropy gradient is 0, or not finite throughout."""
    batch_size = validation.check_batch_size(batch_size)
    validation.check_place(model, x)
    validation.check_gradients_allowed(model)
    none, queries = [], ModelQueries(model)
    with eval_mode(model):
        correct = ~misclassified(clean_logits(model, x, y, batch_size=batch_size), y)
        for images, labels in zip(
            torch.split(x, batch_size), torch.split(y, batch_size), strict=True
        ):
            grad = queries.loss_and_grad(images, labels, cross_entropy).grad
            assert grad is not None
            none.append((grad == 0).flatten(1).all(1))
    count = max(int(correct.sum()), 1)
    share = float((torch.cat(none) & correct).sum()) / count if none else 0.0
    what = "a gradient of zero, or none that is finite" if queries.broken else "a zero gradient"
    return finding(
        share <= _ZERO_SHARE,
        share,
        f"{share:.1%} of the correct examples have {what} (at most {_ZERO_SHARE:.0%}); "
        "more means saturated or masked gradients: use the margin loss",
    )


def _loss(robust: _Accuracy, attack: PGDConfig) -> Finding:
    """The mean margin of the examples correct when clean, by steps of one restart; 0 is clean.

    The margin, which a mistake of any loss shows in: cross-entropy underflows where it is small.
    """
    model, x, y, size = robust.model, robust.x, robust.y, robust.batch_size
    once = replace(attack, restarts=1)
    with eval_mode(model):
        clean = margin(clean_logits(model, x, y, batch_size=size), y)
        correct, after = clean < 0, clean
        curve = {0: _mean(clean[correct])}
        for k in sorted({1, attack.steps}):
            way = replace(once, steps=k, step=half_cosine(attack.eps, k))
            generator = torch.Generator().manual_seed(robust.seed)
            found = craft(model, x, y, attack=way, batch_size=size, generator=generator)
            after = margin(clean_logits(model, found, y, batch_size=size), y)
            curve[k] = _mean(after[correct])
    stuck = _mean((after <= clean)[correct].double())
    return finding(
        stuck <= _ZERO_SHARE,
        {str(k): value for k, value in curve.items()},
        f"the attack does not bring {stuck:.1%} of the correct examples nearer to a mistake than "
        f"they are when clean (at most {_ZERO_SHARE:.0%}); an attack that gets nowhere looks flat",
    )


def _mean(values: Tensor) -> float:
    return float(values.mean()) if len(values) else 0.0


def _lengths(attack: PGDConfig) -> list[int]:
    return sorted({max(1, attack.steps // part) for part in (8, 4, 2, 1)} | {1})


def _steps(robust: _Accuracy, attack: PGDConfig) -> Finding:
    once = _single(attack)
    curve = {
        k: robust(replace(once, steps=k, step=half_cosine(attack.eps, k))) for k in _lengths(attack)
    }
    return _curve(curve, "steps")


def _single(attack: PGDConfig) -> PGDConfig:
    return replace(attack, restarts=1, losses=attack.losses[:1])


def _restarts(robust: _Accuracy, attack: PGDConfig, spent: Evaluation) -> Finding:
    """The curve over restarts, read off one evaluation: each restart runs every loss."""
    start = "uniform" if attack.start == "zero" else attack.start
    more = replace(attack, start=start, restarts=max(attack.restarts, _RESTARTS))
    found = spent if more == attack else robust.outcome(more)
    n_robust, per_restart = found.n_robust[more.name], len(more.losses)
    counts = sorted({1, (more.restarts + 1) // 2, more.restarts})
    n = max(len(robust.x), 1)
    return _curve({k: n_robust[k * per_restart - 1] / n for k in counts}, "restarts")


def _curve(curve: dict[int, float], what: str) -> Finding:
    values = list(curve.values())
    last = values[-2] - values[-1] if len(values) > 1 else 0.0
    rise = max([after - before for before, after in itertools.pairwise(values)] + [0.0])
    flat = _FLAT + _ROUNDING
    return finding(
        last <= flat and rise <= flat,
        {str(k): value for k, value in curve.items()},
        f"the last increase of {what} lowers robust accuracy by {last:.1%} and the largest rise "
        f"is {rise:.1%} (at most {_FLAT:.0%} each); otherwise use more {what}",
    )


def _large_eps(robust: _Accuracy, attack: PGDConfig) -> Finding:
    low, high = attack.clip or (0.0, 1.0)
    size = math.prod(robust.x.shape[1:])
    eps = (high - low) * {"linf": 1.0, "l2": math.sqrt(size), "l1": float(size)}[attack.norm]
    wide = replace(attack, name="large eps", eps=eps, steps=_LARGE_STEPS, step=eps / 10)
    accuracy = robust(wide)
    return finding(
        accuracy == 0,
        accuracy,
        f"with eps = {eps:g} (the whole box) {accuracy:.1%} stay correct; anything above 0 means "
        "that the attack fails, not that the model is robust",
    )


def _square(robust: _Accuracy, white_box: Tensor, attack: PGDConfig, queries: int) -> Finding:
    if attack.eps == 0:
        return finding(True, 0.0, "with eps = 0 there is nothing to compare")
    alone = AttackEnsemble(
        attack.eps, norm=attack.norm, attacks=("square",), queries=queries, clip=attack.clip
    )
    return _weaker(white_box, robust.outcome(alone).robust, "square")


def _weaker(white_box: Tensor, other: Tensor, what: str) -> Finding:
    own, foreign = (float(correct.double().mean()) for correct in (white_box, other))
    return finding(
        int(white_box.sum()) <= int(other.sum()),
        {"white_box": own, what: foreign},
        f"robust accuracy is {own:.1%} under the attack itself and {foreign:.1%} under {what}, "
        "which does not see the model's gradients; a white-box attack that is weaker is not spent",
    )
