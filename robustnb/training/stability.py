"""Stability training as Carmon et al. 2019 use it: the prediction must not change under noise."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from robustnb.attacks.losses import cross_entropy, kl
from robustnb.generators import check_generator
from robustnb.models.ask import ask
from robustnb.scalars import finite
from robustnb.training.objectives import Objective, check_targets, full_precision, standard_loss


def stability_training(*, beta: float, sigma: float) -> Objective:
    """CE(f(x), y) + beta E KL(p(x) || p(x')), x' from N(x, sigma^2 I) (Carmon 2019, eq. 8).

    `sigma` is in pixel units. beta = 0 is `standard()`.
    """
    beta, sigma = finite("beta", beta, least=0.0), finite("sigma", sigma, least=0.0)
    return partial(stability_loss, beta=beta, sigma=sigma)


def stability_loss(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    generator: torch.Generator | None = None,
    *,
    beta: float,
    sigma: float,
) -> Tensor:
    """The loss of `stability_training`, a mean over the batch with one noisy copy of each image.

    The label meets the clean image only. Noisy images are clipped to [0, 1], which CERTIFY does
    not do. They pass first and apart from the clean ones, so that batch norm takes statistics of
    each; the gradient flows through p(x) as well as through p(x').
    """
    if beta == 0:
        return standard_loss(model, x, y, generator)
    device = check_generator(generator, place=x.device)
    noise = torch.randn(x.shape, generator=generator, dtype=x.dtype, device=device).to(x.device)
    logits_noisy = full_precision(ask(model, (x + sigma * noise).clamp(0, 1)))
    logits = full_precision(ask(model, x))
    check_targets(logits, y)
    return cross_entropy(logits, y).mean() + beta * kl(logits, logits_noisy).mean()
