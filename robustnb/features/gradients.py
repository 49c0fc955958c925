"""Gradients of the loss in the pixels (Tsipras 2019, section 3.1), as pictures and as numbers."""

from __future__ import annotations

import torch
from torch import Tensor

from robustnb.attacks.losses import Loss, cross_entropy
from robustnb.attacks.queries import ModelQueries
from robustnb.attacks.validation import check_batch_size, check_gradients_allowed
from robustnb.features.checks import check_examples
from robustnb.models.layout import fastest_layout
from robustnb.models.modes import Model, eval_mode
from robustnb.scalars import finite


def input_gradients(
    model: Model, x: Tensor, y: Tensor, *, loss: Loss = cross_entropy, batch_size: int = 256
) -> Tensor:
    """The gradient of each example's loss in its pixels, (N, ...) as x, in evaluation mode.

    x: (N, ...) in [0, 1]; y: (N,); `loss` maps (logits, y) to losses (N,). Normalisation is the
    model's first layer, so the gradient is in units of loss per full range of a pixel.
    """
    batch_size = check_batch_size(batch_size)
    check_examples(model, x, y)
    check_gradients_allowed(model)
    if not len(x):
        return x.detach().clone()
    found = []
    with eval_mode(model), fastest_layout(model):
        queries = ModelQueries(model)
        queries.check_labels(y)
        for first in range(0, len(x), batch_size):
            rows = slice(first, first + batch_size)
            grad = queries.loss_and_grad(x[rows], y[rows], loss).grad
            assert grad is not None
            found.append(grad.detach())
    return torch.cat(found)


def total_variation(pictures: Tensor) -> Tensor:
    """Mean change between neighbouring pixels over mean absolute value, (N,) >= 0.

    pictures: (N, C, H, W). It is unchanged by scaling. Independent normal pixels have sqrt(2), a
    picture of one value 0: the smaller, the smoother.
    """
    size = _sizes(pictures, ndim=4)
    if min(pictures.shape[2:]) < 2:
        raise ValueError(f"pictures must have neighbours, 2 x 2 pixels, got {pictures.shape}")
    across = pictures.diff(dim=3).abs().flatten(1).mean(1)
    down = pictures.diff(dim=2).abs().flatten(1).mean(1)
    return (across + down) / 2 / size


def gini(pictures: Tensor) -> Tensor:
    """Gini's coefficient of the absolute values, (N,) in [0, 1): the larger, the sparser.

    pictures: (N, ...). 0 where all absolute values are equal, 1 - 1/d where one of d is not 0.
    """
    _sizes(pictures, ndim=2)
    values = pictures.abs().flatten(1).double().sort(dim=1).values
    d = values.shape[1]
    rank = torch.arange(1, d + 1, dtype=values.dtype, device=values.device)
    found: Tensor = ((2 * rank - d - 1) * values).sum(1) / (d * values.sum(1))
    return found.to(pictures.dtype)


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """The cosine between two pictures (N, ...) each, (N,) in [-1, 1]."""
    if a.shape != b.shape:
        raise ValueError(f"both must have one shape, got {tuple(a.shape)} and {tuple(b.shape)}")
    for pictures in (a, b):
        _sizes(pictures, ndim=2)
    return torch.cosine_similarity(a.flatten(1).double(), b.flatten(1).double()).to(a.dtype)


def clip_at_sigmas(pictures: Tensor, *, sigmas: float = 3.0) -> Tensor:
    """Pictures for the eye: each clipped at +- `sigmas` of its deviation, then put into [0, 1].

    pictures: (N, ...). 0 becomes 1/2. Show all networks with the same `sigmas`, as any contrast may
    come from the scale alone.
    """
    sigmas = finite("sigmas", sigmas, above=0)
    _sizes(pictures, ndim=2)
    flat = pictures.flatten(1)
    spread = sigmas * flat.square().mean(1, keepdim=True).sqrt()
    return (flat / spread).clamp(-1, 1).add(1).div(2).reshape(pictures.shape)


def _sizes(pictures: Tensor, *, ndim: int) -> Tensor:
    """The mean absolute values (N,), refused where one is not a finite number above 0."""
    if pictures.ndim < ndim or not pictures.dtype.is_floating_point:
        shape = "(N, C, H, W)" if ndim == 4 else "(N, ...)"
        raise ValueError(
            f"pictures must be floats {shape}, got {pictures.dtype} of shape "
            f"{tuple(pictures.shape)}"
        )
    sizes = pictures.abs().flatten(1).mean(1)
    bad = ~(sizes > 0) | ~sizes.isfinite()
    if bool(bad.any()):
        raise ValueError(
            f"{int(bad.sum())} of {len(bad)} pictures are zero or not finite, so they have no "
            "shape; leave those examples out, or take the gradient of another loss (margin does "
            "not saturate)"
        )
    return sizes
