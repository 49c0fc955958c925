"""Three models that only hide their gradients, and what the audits of this book say of them.

Each one wraps a network that an attack breaks easily. `undone` is the accuracy left when the mask
is taken off: the gradient goes past the rounding (Athalye 2018's BPDA), the scale is divided out,
or the attack climbs the mean of many answers (expectation over the randomness).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from robustnb.attacks import AttackEnsemble, pgd, pgd_attack, robustness_audit, run_ensemble
from robustnb.attacks.audit import summary
from robustnb.attacks.sanity_checks import seeded as global_seed
from robustnb.data import load
from robustnb.gallery.fixtures import digits, seeded
from robustnb.models import MLP
from robustnb.models.modes import Model
from robustnb.training.objectives import standard
from robustnb.training.training_loop import fit

EPS = 0.1
ATTACK = pgd_attack(eps=EPS, step=EPS / 10, steps=20)
ENSEMBLE = AttackEnsemble(EPS, steps=15, targets=2, queries=400)
_SIZE = 100
_LEVELS, _SCALE, _DROPPED = 16, 1e3, 0.5
_DRAWS = 20


class Masked(nn.Module):
    """A network behind a function of its images and one of its logits."""

    def __init__(
        self,
        net: nn.Module,
        *,
        before: Callable[[Tensor], Tensor] | None = None,
        after: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        """Wrap `net`; what is not given changes nothing."""
        super().__init__()
        self.net, self.before, self.after = net, before, after

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes)."""
        logits: Tensor = self.net(x if self.before is None else self.before(x))
        return logits if self.after is None else self.after(logits)


@dataclass(frozen=True)
class MaskedFindings:
    """What was found out about one model, on `n` images.

    clean: accuracy. naive: accuracy on the last images of one PGD run. ensemble: the share that
    no attack of the ensemble fells. undone: accuracy when the attack goes around the mask.
    `audit` and `findings` hold the checks that failed, with the reason; `verdict` is the summary
    of both, as a claim's record holds it.
    """

    name: str
    n: int
    clean: float
    naive: float
    ensemble: float
    undone: float
    audit: dict[str, str]
    findings: dict[str, str]
    verdict: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Every field; of the verdict only whether it is ok and why."""
        return {**asdict(self), "verdict": {key: self.verdict[key] for key in ("ok", "why")}}


def inspect_masked() -> tuple[MaskedFindings, ...]:
    """The three masked models and, last, a network with nothing masked; the same every time."""
    plain = digits().net
    dropping = _trained_dropping()
    models: tuple[tuple[str, Model, Model], ...] = (
        ("quantised input", Masked(plain, before=_quantise), plain),
        ("saturated logits", Masked(plain, after=_saturate), plain),
        ("random pixels dropped", dropping, partial(_mean_answer, dropping)),
        ("nothing masked", plain, plain),
    )
    return tuple(_inspect(name, model, bare) for name, model, bare in models)


def _quantise(x: Tensor) -> Tensor:
    return (x * _LEVELS).round() / _LEVELS


def _saturate(logits: Tensor) -> Tensor:
    return _SCALE * logits


def _drop(x: Tensor) -> Tensor:
    """Half of the pixels, also at test time; torch draws them from its global generator."""
    return nn.functional.dropout(x, _DROPPED, training=True)


def _trained_dropping() -> nn.Module:
    model = Masked(MLP(hidden=(32,), generator=seeded(0)), before=_drop)
    images, labels = load("mnist_embedded", "train")
    fit(
        model, images, labels, objective=standard(), epochs=4, batch_size=100, lr=0.2,
        generator=seeded(1),
    )  # fmt: skip
    return model.eval()


def _mean_answer(model: Model, x: Tensor) -> Tensor:
    """The log of the mean probabilities over fixed draws: a function that has a gradient."""
    with global_seed(7, x.device):
        return torch.stack([model(x).softmax(1) for _ in range(_DRAWS)]).mean(0).log()


def _inspect(name: str, model: Model, bare: Model) -> MaskedFindings:
    _, x, y = digits()
    x, y = x[:_SIZE], y[:_SIZE]
    steps = {"eps": EPS, "step": EPS / 10, "steps": 20}
    with global_seed(0, x.device):
        naive = pgd(model, x, y, **steps, keep="last", generator=seeded(2))  # type: ignore[arg-type]
    around = pgd(bare, x, y, **steps, keep="last", generator=seeded(2))  # type: ignore[arg-type]
    audit = robustness_audit(model, x, y, attack=ATTACK, generator=seeded(3))
    found = run_ensemble(model, x, y, ensemble=ENSEMBLE, generator=seeded(4))
    return MaskedFindings(
        name, len(x), _accuracy(model, x, y), _accuracy(model, naive, y),
        float(found.robust.double().mean()), _accuracy(model, around, y),
        _failed(audit), _failed(found.findings), summary({name: {**audit, **found.findings}}),
    )  # fmt: skip


def _accuracy(model: Model, x: Tensor, y: Tensor) -> float:
    """The share of right answers, over fresh draws of the model's own randomness if it has any."""
    with torch.no_grad(), global_seed(11, x.device):
        right = [(model(x).argmax(1) == y).double() for _ in range(_DRAWS)]
    return float(torch.stack(right).mean())


def _failed(findings: dict[str, dict[str, Any]]) -> dict[str, str]:
    return {check: found["why"] for check, found in findings.items() if not found["ok"]}
