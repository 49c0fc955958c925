"""Training objectives: cross-entropy, PGD training (Madry 2018) and TRADES (Zhang 2019).

Each objective is a plain function of (model, x, y, generator) and settings; its short name fixes
the settings and gives the function of (model, x, y, generator) that `fit` calls. Adversarial
examples are crafted in evaluation mode, with gradients towards the images only, and the modes are
restored; the loss is then taken in the mode the model was in.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robustnb.attacks import validation
from robustnb.attacks.losses import cross_entropy, kl
from robustnb.attacks.projected_gradient import Start, Step, initial_point, maximize
from robustnb.attacks.projections import Norm, check_norm
from robustnb.generators import check_generator
from robustnb.models.ask import ask
from robustnb.models.modes import eval_mode
from robustnb.scalars import finite

Objective = Callable[[nn.Module, Tensor, Tensor, torch.Generator | None], Tensor]
Surrogate = Literal["hinge", "logistic", "exponential", "sigmoid", "truncated_squared"]

SURROGATES: dict[str, Callable[[Tensor], Tensor]] = {
    "hinge": lambda a: F.relu(1 - a),
    # base 2, so that phi(0) = 1 as Theorem 3.1 of Zhang 2019 asks
    "logistic": lambda a: F.softplus(-a) / math.log(2),
    "exponential": lambda a: (-a).exp(),
    "sigmoid": lambda a: 1 - a.tanh(),
    "truncated_squared": lambda a: F.relu(1 - a).square(),
}


def standard(*, loss: Surrogate | Literal["ce"] = "ce") -> Objective:
    """Training on clean images: mean cross-entropy, or mean phi(y f(x)) for scores (N,)."""
    _check_loss(loss)
    return partial(standard_loss, loss=loss)


def standard_loss(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    generator: torch.Generator | None = None,
    *,
    loss: Surrogate | Literal["ce"] = "ce",
) -> Tensor:
    """The loss of `standard`; nothing is random but the model's own dropout."""
    check_generator(generator)
    return _per_example(full_precision(ask(model, x)), y, loss).mean()


def pgd_training(
    *,
    eps: float,
    step: Step,
    steps: int,
    norm: Norm = "linf",
    start: Start = "uniform",
    loss: Surrogate | Literal["ce"] = "ce",
) -> Objective:
    """Training on adversarial images (Madry 2018, eq. 2.1): mean of max_{x'} L(f(x'), y)."""
    eps, sizes, steps = _check_attack(eps, step, steps, norm)
    _check_loss(loss)
    validation.check_choice("start", start, get_args(Start))
    return partial(
        pgd_training_loss, eps=eps, step=sizes, steps=steps, norm=norm, start=start, loss=loss
    )


def pgd_training_loss(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    generator: torch.Generator | None = None,
    *,
    eps: float,
    step: Step,
    steps: int,
    norm: Norm = "linf",
    start: Start = "uniform",
    loss: Surrogate | Literal["ce"] = "ce",
) -> Tensor:
    """The loss of `pgd_training`: at the last of `steps` iterates in the ball of radius `eps`."""
    check_generator(generator)
    with eval_mode(model):
        x_adv = maximize(
            lambda x_adv: _per_example(full_precision(ask(model, x_adv)), y, loss),
            x, eps=eps, step=step, steps=steps, norm=norm, keep="last",
            initial_point=initial_point(x, start, eps=eps, norm=norm, generator=generator),
        )  # fmt: skip
    return _per_example(full_precision(ask(model, x_adv)), y, loss).mean()


def trades(
    *,
    beta: float,
    eps: float,
    step: Step,
    steps: int,
    norm: Norm = "linf",
    start_noise: float = 0.001,
    joint_batch: bool = False,
) -> Objective:
    """TRADES (Zhang 2019, Algorithm 1): CE(f(x), y) + beta max_{x'} KL(p(x) || p(x')).

    `beta` is the paper's 1/lambda. beta = 0 is `standard()`, and crafts nothing.
    """
    eps, sizes, steps = _check_attack(eps, step, steps, norm)
    beta = finite("beta", beta, least=0.0)
    start_noise = finite("start_noise", start_noise, least=0.0)
    return partial(
        trades_loss, beta=beta, eps=eps, step=sizes, steps=steps, norm=norm,
        start_noise=start_noise, joint_batch=joint_batch,
    )  # fmt: skip


def trades_loss(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    generator: torch.Generator | None = None,
    *,
    beta: float,
    eps: float,
    step: Step,
    steps: int,
    norm: Norm = "linf",
    start_noise: float = 0.001,
    joint_batch: bool = False,
) -> Tensor:
    """The loss of `trades`: a mean over the batch, with gradient through p(x) as well as p(x').

    The clean logits are computed twice in all: once in evaluation mode for the whole attack, once
    for the loss. The published code computes them in each attack step and twice for the loss. Loss
    and gradient are the same; batch norm sees each batch clean once instead of twice. With
    `joint_batch` clean and adversarial images pass as one batch, and batch norm mixes them.
    """
    if beta == 0:
        return standard_loss(model, x, y, generator)
    with eval_mode(model):
        with torch.no_grad():
            p_clean = full_precision(ask(model, x))
        # KL(p(x) || p(x')) is least at x' = x: without noise its gradient there is exactly 0
        x_adv = maximize(
            lambda x_adv: kl(p_clean, full_precision(ask(model, x_adv))),
            x, eps=eps, step=step, steps=steps, norm=norm, keep="last",
            initial_point=_noisy(x, start_noise, generator),
        )  # fmt: skip
    logits, logits_adv = _both(model, x, x_adv, joint_batch)
    check_targets(logits, y)
    # mean over the batch only: a mean over the classes too would divide beta by their number
    return F.cross_entropy(logits, y) + beta * kl(logits, logits_adv).mean()


def binary_trades(
    *,
    lam: float,
    eps: float,
    step: Step,
    steps: int,
    loss: Surrogate = "hinge",
    norm: Norm = "linf",
    start_noise: float = 0.001,
    joint_batch: bool = False,
) -> Objective:
    """TRADES for scores f(x) (Zhang 2019, eq. 3): phi(y f(x)) + max_{x'} phi(f(x) f(x') / lam).

    Labels are -1 and +1. `lam` divides inside phi; it is not the 1/beta of `trades`.
    """
    eps, sizes, steps = _check_attack(eps, step, steps, norm)
    start_noise = finite("start_noise", start_noise, least=0.0)
    lam = finite("lam", lam, above=0.0, hint="; the paper uses 2 to 5")
    validation.check_choice("loss", loss, get_args(Surrogate))
    return partial(
        binary_trades_loss, lam=lam, eps=eps, step=sizes, steps=steps, loss=loss, norm=norm,
        start_noise=start_noise, joint_batch=joint_batch,
    )  # fmt: skip


def binary_trades_loss(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    generator: torch.Generator | None = None,
    *,
    lam: float,
    eps: float,
    step: Step,
    steps: int,
    loss: Surrogate = "hinge",
    norm: Norm = "linf",
    start_noise: float = 0.001,
    joint_batch: bool = False,
) -> Tensor:
    """The loss of `binary_trades`: a mean over the batch, with gradient through both scores."""
    phi = SURROGATES[loss]
    with eval_mode(model):
        with torch.no_grad():
            clean = full_precision(ask(model, x))
        x_adv = maximize(
            lambda x_adv: phi(clean * full_precision(ask(model, x_adv)) / lam),
            x, eps=eps, step=step, steps=steps, norm=norm, keep="last",
            initial_point=_noisy(x, start_noise, generator),
        )  # fmt: skip
    scores, scores_adv = _both(model, x, x_adv, joint_batch)
    natural = _per_example(scores, y, loss).mean()
    return natural + phi(scores * scores_adv / lam).mean()


def _noisy(x: Tensor, size: float, generator: torch.Generator | None) -> Tensor:
    device = check_generator(generator, place=x.device)
    noise = torch.randn(x.shape, generator=generator, dtype=x.dtype, device=device)
    return x + size * noise.to(x.device)


def _both(model: nn.Module, x: Tensor, x_adv: Tensor, joint: bool) -> tuple[Tensor, Tensor]:
    if joint:
        clean, adversarial = full_precision(ask(model, torch.cat([x, x_adv]))).chunk(2)
        return clean, adversarial
    return full_precision(ask(model, x)), full_precision(ask(model, x_adv))


def check_targets(outputs: Tensor, y: Tensor) -> None:
    """Refuse labels without a class, such as -100, which torch's own loss leaves out in silence.

    On a GPU, where a look at the labels would make each step wait, `fit` has looked at them all.
    """
    if y.shape != (len(outputs),):
        raise ValueError(f"y must have shape ({len(outputs)},), got {tuple(y.shape)}")
    if y.device.type == "cpu":
        validation.check_classes(y, outputs)


def full_precision(logits: Tensor) -> Tensor:
    """At least float32: autocast hands out logits too coarse for a divergence."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def _per_example(outputs: Tensor, y: Tensor, loss: str) -> Tensor:
    if loss == "ce":
        check_targets(outputs, y)
        return cross_entropy(outputs, y)
    if outputs.ndim != 1:
        raise ValueError(
            f'loss="{loss}" wants a model that returns scores (N,), got shape '
            f'{tuple(outputs.shape)}; use loss="ce" for logits'
        )
    if not bool((y.abs() == 1).all()):
        raise ValueError(f'loss="{loss}" wants labels -1 and +1; use 2 * y - 1 for 0 and 1')
    return SURROGATES[loss](y * outputs)


def _check_loss(loss: str) -> None:
    validation.check_choice("loss", loss, ("ce", *get_args(Surrogate)))


def _check_attack(
    eps: float, step: Step, steps: int, norm: Norm
) -> tuple[float, float | Tensor | list[float], int]:
    eps = validation.check_radius(eps)
    check_norm(norm)
    if norm == "linf":  # an image's size, which bounds the others, is not known here
        validation.warn_of_bytes(eps, norm, (0.0, 1.0), 1)
    return eps, *validation.check_steps(step, steps)
