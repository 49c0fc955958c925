"""Networks and images of a few pixels that tests of several rooms attack, and their generators."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def linear_case() -> tuple[nn.Sequential, Tensor, Tensor]:
    """A linear network of three classes, twelve images of nine pixels, and its own answers.

    All three classes are among the answers.
    """
    x = torch.rand(12, 1, 3, 3, generator=seeded())
    linear = nn.Linear(9, 3).requires_grad_(False)
    linear.weight.normal_(generator=seeded())
    linear.bias.copy_(-linear.weight.sum(1) / 2)  # no class is preferred at a grey image
    net = nn.Sequential(nn.Flatten(), linear)
    return net, x, net(x).argmax(1)


def convolutional(seed: int = 0) -> nn.Sequential:
    """Two convolutions and a linear layer, for `coloured_images`."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 5, 3), nn.Flatten(),
        nn.Linear(5 * 16, 4),
    ).eval()  # fmt: skip


def coloured_images() -> tuple[Tensor, Tensor]:
    """Nine images (9, 3, 6, 6), and labels of four classes."""
    return torch.rand(9, 3, 6, 6, generator=seeded()), torch.arange(9) % 4
