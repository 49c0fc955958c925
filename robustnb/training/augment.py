"""Random crops and mirror images, in torch, on the device of the batch."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from robustnb.scalars import whole

Augment = Callable[[Tensor, torch.Generator], Tensor]


def crop_and_flip(*, padding: int = 4, flip: bool = True) -> Augment:
    """The usual CIFAR-10 augmentation: pad with zeros, crop at random, mirror half of the images.

    The result maps (N, C, H, W), of any dtype, and a generator on the same device to a new batch
    of the same shape. Each image has its own offsets. With padding=0 and flip=False it is the
    identity.
    """
    padding = whole("padding", padding, least=0)
    return partial(_crop_and_flip, padding=padding, flip=flip)


def _crop_and_flip(x: Tensor, generator: torch.Generator, *, padding: int, flip: bool) -> Tensor:
    count, channels, height, width = x.shape
    draw = partial(torch.randint, size=(count, 1), generator=generator, device=x.device)
    rows = torch.arange(height, device=x.device) + draw(2 * padding + 1)
    columns = torch.arange(width, device=x.device).expand(count, width)
    if flip:
        columns = torch.where(draw(2) == 1, columns.flip(1), columns)
    columns = columns + draw(2 * padding + 1)
    # one gather does both the crop and the mirror
    padded = F.pad(x, (padding,) * 4)
    images = torch.arange(count, device=x.device)[:, None, None, None]
    planes = torch.arange(channels, device=x.device)[None, :, None, None]
    return padded[images, planes, rows[:, None, :, None], columns[:, None, None, :]]
