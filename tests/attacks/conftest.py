"""Small models that every attack test can compute by hand or in a blink."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn


class Counting(nn.Module):
    """A network that counts the examples it has seen."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net, self.seen = net, 0

    def forward(self, x: Tensor) -> Tensor:
        self.seen += len(x)
        return self.net(x)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def curved() -> Callable[..., nn.Module]:
    """A smooth network of 16 pixels in float64, whose logits are far from linear."""

    def make(seed: int = 0, *, classes: int = 4, scale: float = 4.0) -> nn.Module:
        generator = seeded(seed)
        net = nn.Sequential(
            nn.Flatten(), nn.Linear(16, 12), nn.Tanh(), nn.Dropout(0.5), nn.Linear(12, classes)
        ).double()
        with torch.no_grad():
            for p in net.parameters():
                p.copy_(torch.randn(p.shape, generator=generator, dtype=p.dtype))
                p.mul_(scale / p.shape[-1] ** 0.5)
        return net

    return make


@pytest.fixture
def images() -> Tensor:
    return torch.rand(40, 1, 4, 4, generator=seeded(5), dtype=torch.float64)


@pytest.fixture
def labels(curved: Callable[..., nn.Module], images: Tensor) -> Tensor:
    """The model's own answers, but for every eighth example."""
    y: Tensor = curved().eval()(images).argmax(1)
    y[::8] = (y[::8] + 1) % 4
    return y


@pytest.fixture
def counting() -> Callable[[nn.Module], Counting]:
    return Counting
