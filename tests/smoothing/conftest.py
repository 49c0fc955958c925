"""A linear classifier, whose smoothed form and whose radius are known exactly."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

DIRECTION = (0.6, 0.0, -0.8)


@pytest.fixture
def linear() -> nn.Module:
    """Class 1 where <DIRECTION, x> > 0, of two classes, in float64; the distance is the score."""
    net = nn.Linear(3, 2, bias=False, dtype=torch.float64)
    with torch.no_grad():
        net.weight[1] = torch.tensor(DIRECTION)
        net.weight[0] = -net.weight[1]
    return net


@pytest.fixture
def at_distance() -> Callable[[Tensor], Tensor]:
    """Points of R^3 with the given signed distances to the boundary of `linear`."""

    def points(distances: Tensor) -> Tensor:
        along = distances.double()[:, None] * torch.tensor(DIRECTION, dtype=torch.float64)
        return along + torch.tensor([0.8, 5.0, 0.6], dtype=torch.float64)  # moves along the plane

    return points


@pytest.fixture
def seeded() -> Callable[[int], torch.Generator]:
    return lambda seed: torch.Generator().manual_seed(seed)
