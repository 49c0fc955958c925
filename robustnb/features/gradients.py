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
    picture of one value 0: the smaller, the smoother. A picture of zeros has none, NaN; the changes
    are those across and down alike, or of the one way that a single row or column leaves.
    """
    sizes = _sizes(pictures, ndim=4)
    ways = [pictures.diff(dim=k).abs().flatten(1).mean(1) for k in (2, 3) if pictures.shape[k] > 1]
    change = torch.stack(ways).mean(0) if ways else torch.zeros_like(sizes)
    return change / sizes


def gini(pictures: Tensor) -> Tensor:
    """Gini's coefficient of the absolute values, (N,) in [0, 1): the larger, the sparser.

    pictures: (N, ...). 0 where all absolute values are equal, 1 - 1/d where one of d is not 0; NaN
    where all are 0.
    """
    _sizes(pictures, ndim=2)
    values = pictures.abs().flatten(1).double().sort(dim=1).values
    d = values.shape[1]
    rank = torch.arange(1, d + 1, dtype=values.dtype, device=values.device)
    found: Tensor = ((2 * rank - d - 1) * values).sum(1) / (d * values.sum(1))
    return found.to(pictures.dtype)


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """The cosine between two pictures (N, ...) each, (N,) in [-1, 1]; NaN where one is zero."""
    if a.shape != b.shape:
        raise ValueError(f"both must have one shape, got {tuple(a.shape)} and {tuple(b.shape)}")
    return torch.cosine_similarity(_scaled(a), _scaled(b)).to(a.dtype)


def clip_at_sigmas(pictures: Tensor, *, sigmas: float = 3.0) -> Tensor:
    """Pictures for the eye: each clipped at +- `sigmas` of its deviation, then put into [0, 1].

    pictures: (N, ...). 0 becomes 1/2, a picture of zeros all grey. Show all networks with the same
    `sigmas`, as any contrast may come from the scale alone.
    """
    sigmas = finite("sigmas", sigmas, above=0)
    flat = _scaled(pictures)
    spread = sigmas * flat.square().mean(1, keepdim=True).sqrt()
    shown = (flat / spread).nan_to_num(0.0).clamp(-1, 1).add(1).div(2)
    return shown.reshape(pictures.shape).to(pictures.dtype)


def has_shape(pictures: Tensor) -> Tensor:
    """Whether each picture has an entry that is not zero, (N,) bool: the others have no shape.

    A network that is sure has a loss of 0 in floating point, and so has its gradient. Leave such an
    example out for all networks that are compared, or take the gradient of `margin`.
    """
    return _sizes(pictures, ndim=2) > 0


def _scaled(pictures: Tensor) -> Tensor:
    """Each picture over its largest absolute value, (N, d) in float64; NaN where all are 0."""
    _sizes(pictures, ndim=2)
    flat = pictures.flatten(1).double()
    return flat / flat.abs().amax(1, keepdim=True)


def _sizes(pictures: Tensor, *, ndim: int) -> Tensor:
    """The mean absolute values (N,), refused where one is not a finite number."""
    if pictures.ndim < ndim or not pictures.dtype.is_floating_point:
        shape = "(N, C, H, W)" if ndim == 4 else "(N, ...)"
        raise ValueError(
            f"pictures must be floats {shape}, got {pictures.dtype} of shape "
            f"{tuple(pictures.shape)}"
        )
    sizes = pictures.abs().flatten(1).mean(1)
    bad = ~sizes.isfinite()
    if bool(bad.any()):
        raise ValueError(
            f"{int(bad.sum())} of {len(bad)} pictures are not finite; leave those examples out"
        )
    return sizes
