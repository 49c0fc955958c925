"""Mistakes about what is optimised: the loss, its reduction, its schedule, a flag."""

from __future__ import annotations

import argparse
import math
import warnings

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robustnb.attacks.losses import kl
from robustnb.attacks.projected_gradient import initial_point, maximize
from robustnb.gallery.fixtures import digits, seeded
from robustnb.gallery.pitfall import Form, Pitfall
from robustnb.training.schedules import milestones

EPOCHS = range(1, 121)
EPS, STEP, STEPS = 0.1, 0.02, 10


def kl_mean_wrong(logits: Tensor, logits_adv: Tensor) -> Tensor:
    """KL(p || p_adv), averaged over the batch."""
    p, log_q = logits.softmax(1), logits_adv.log_softmax(1)
    return F.kl_div(log_q, p, reduction="mean")


def kl_mean_right(logits: Tensor, logits_adv: Tensor) -> Tensor:
    """KL(p || p_adv), averaged over the batch."""
    return kl(logits, logits_adv).mean()  # F.kl_div's reduction="batchmean"


def _kl_mean_error(form: Form) -> float:
    """The relative error against the formula, for ten classes in float64."""
    a, b = torch.randn(2, 64, 10, generator=seeded(0), dtype=torch.float64)
    p, q = a.softmax(1), b.softmax(1)
    true = float((p * (p / q).log()).sum() / len(p))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of the wrong form: that is the pitfall
        return abs(float(form(a, b)) / true - 1)


def no_noise_wrong(model: nn.Module, x: Tensor) -> Tensor:
    """The inner maximisation of TRADES, with its divergence as the loss."""
    clean = model(x).detach()
    return maximize(
        lambda at: kl(clean, model(at)), x,
        eps=EPS, step=STEP, steps=STEPS, initial_point=x,
    )  # fmt: skip


def no_noise_right(model: nn.Module, x: Tensor) -> Tensor:
    """The inner maximisation of TRADES, with its divergence as the loss."""
    clean = model(x).detach()
    draws = seeded(1)
    begin = initial_point(
        x, "gaussian", eps=EPS, norm="linf", generator=draws,
    )  # fmt: skip
    return maximize(
        lambda at: kl(clean, model(at)), x,
        eps=EPS, step=STEP, steps=STEPS, initial_point=begin,
    )  # fmt: skip


def _no_noise_error(form: Form) -> float:
    """The share of images that ten steps leave where they were."""
    net, x, _ = digits()
    still = (form(net, x) == x).flatten(1).all(1)
    return float(still.float().mean())


def raw_nll_wrong(logits: Tensor, y: Tensor) -> Tensor:
    """The negative log-likelihood of a batch."""
    return F.nll_loss(logits, y)


def raw_nll_right(logits: Tensor, y: Tensor) -> Tensor:
    """The negative log-likelihood of a batch."""
    return F.cross_entropy(logits, y)


def _raw_nll_error(form: Form) -> float:
    """The change of the loss when 10 is added to every logit, which changes no probability."""
    net, x, y = digits()
    logits = net(x).double().detach()
    return float((form(logits + 10, y) - form(logits, y)).abs())


def shadowed_branch_wrong(epoch: int) -> float:
    """The learning rate of an epoch, counted from 1: tenfold drops at 75, 90 and 100."""
    lr = 0.1
    if epoch >= 75:
        lr = 0.01
    elif epoch >= 90:  # never reached
        lr = 0.001
    elif epoch >= 100:
        lr = 0.0001
    return lr


def shadowed_branch_right(epoch: int) -> float:
    """The learning rate of an epoch, counted from 1: tenfold drops at 75, 90 and 100."""
    return 0.1 * milestones(75, 90, 100)(epoch - 1)


def _shadowed_branch_error(form: Form) -> float:
    """By what factor the rate is too high at worst in 120 epochs, less 1."""
    true = {e: math.pow(10, -1 - sum(e >= drop for drop in (75, 90, 100))) for e in EPOCHS}
    return max(float(form(epoch)) / rate for epoch, rate in true.items()) - 1


def text_flag_wrong() -> argparse.ArgumentParser:
    """A command with a switch that is on unless told otherwise."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--white-box", default=True)
    return parser


def text_flag_right() -> argparse.ArgumentParser:
    """A command with a switch that is on unless told otherwise."""
    parser = argparse.ArgumentParser()
    switch = argparse.BooleanOptionalAction
    parser.add_argument("--white-box", action=switch, default=True)
    return parser


def _text_flag_error(form: Form) -> float:
    """1 if no accepted way to switch it off does so."""
    tries: tuple[list[str], ...] = (["--white-box", "False"], ["--no-white-box"])
    off = []
    for words in tries:
        known, unknown = form().parse_known_args(words)
        off.append(not known.white_box and not unknown)
    return 0.0 if any(off) else 1.0


PITFALLS = (
    Pitfall("kl-mean", kl_mean_wrong, kl_mean_right, _kl_mean_error, limit=1e-12, shown="share"),
    Pitfall("no-noise", no_noise_wrong, no_noise_right, _no_noise_error, shown="share"),
    Pitfall("raw-nll", raw_nll_wrong, raw_nll_right, _raw_nll_error, limit=1e-12),
    Pitfall("shadowed-branch", shadowed_branch_wrong, shadowed_branch_right,
            _shadowed_branch_error, limit=1e-12),
    Pitfall("text-flag", text_flag_wrong, text_flag_right, _text_flag_error),
)  # fmt: skip
