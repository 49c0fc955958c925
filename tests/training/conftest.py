"""Small networks and batches for the tests of this room, as the fixture `small`."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

CLASSES = 4


def batch(count: int = 12, *, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(5)
    x = torch.rand(count, 1, 6, 6, generator=draw, dtype=dtype)
    return x, torch.randint(CLASSES, (count,), generator=draw)


def blobs(count: int = 60) -> tuple[Tensor, Tensor]:
    """Images of `CLASSES` kinds: one bright quarter each, with noise."""
    draw = torch.Generator().manual_seed(6)
    y = torch.arange(count) % CLASSES
    x = torch.randint(0, 120, (count, 1, 6, 6), generator=draw)
    for number, label in enumerate(y.tolist()):
        row, column = 3 * (label // 2), 3 * (label % 2)
        x[number, :, row : row + 3, column : column + 3] += 100
    return x.to(torch.uint8), y


def seeded(net: nn.Module, seed: int = 0, *, scale: float = 0.5) -> nn.Module:
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in net.parameters():
            weight.copy_(scale * torch.randn(weight.shape, generator=draw, dtype=weight.dtype))
    return net


def smooth(dtype: torch.dtype = torch.float64) -> nn.Module:
    """Convolution and tanh: nothing that depends on the mode."""
    net = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Tanh(), nn.Flatten(), nn.Linear(48, CLASSES)).to(
        dtype
    )
    return seeded(net)


def moody(dtype: torch.dtype = torch.float32) -> nn.Module:
    """Batch norm and dropout: everything that depends on the mode."""
    net = nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Dropout(0.3),
        nn.Linear(48, CLASSES),
    ).to(dtype)  # fmt: skip
    return seeded(net)


def scorer(dtype: torch.dtype = torch.float64) -> nn.Module:
    """One score per image, (N,)."""
    net = nn.Sequential(
        nn.Flatten(), nn.Linear(36, 5), nn.Tanh(), nn.Linear(5, 1), nn.Flatten(0)
    ).to(dtype)  # fmt: skip
    return seeded(net)


def gradients(net: nn.Module, loss: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(loss, list(net.parameters())))


def assert_only_the_gradient_differs(net: nn.Module, loss: Tensor, other: Tensor) -> None:
    """Two losses of one value, of which one holds back part of the gradient."""
    torch.testing.assert_close(loss, other)
    pairs = zip(gradients(net, loss), gradients(net, other), strict=True)
    assert max(float((a - b).abs().max()) for a, b in pairs) > 1e-3


def weights(net: nn.Module) -> dict[str, bytes]:
    return {name: value.numpy().tobytes() for name, value in net.state_dict().items()}


@pytest.fixture(scope="session")
def small() -> SimpleNamespace:
    names = (batch, blobs, smooth, moody, scorer, gradients, weights,
             assert_only_the_gradient_differs)  # fmt: skip
    return SimpleNamespace(**{name.__name__: name for name in names})
