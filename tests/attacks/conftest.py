"""Small models that every attack test can compute by hand or in a blink."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from robustnb.attacks.apgd_attack import APGDResult
from robustnb.attacks.losses import misclassified
from robustnb.attacks.queries import ModelQueries
from small_inputs import seeded


class Counting(nn.Module):
    """A network that counts the examples it has seen."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net, self.seen = net, 0

    def forward(self, x: Tensor) -> Tensor:
        self.seen += len(x)
        return self.net(x)


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
def stopping() -> Callable[..., list[int]]:
    """Check that an attack told to stop at mistakes finds the same; the passes with and without.

    `attack(queries, stop=...)` must misclassify some of its examples and not all.
    """

    def check(model: nn.Module, y: Tensor, attack: Callable[..., APGDResult]) -> list[int]:
        spent, verdicts = [], []
        for stop in (True, False):
            queries = ModelQueries(model)
            found = attack(queries, stop=stop)
            spent.append(queries.forward)
            verdicts.append(found.misclassified)
            assert torch.equal(misclassified(model(found.x_adv), y), found.misclassified)
        assert torch.equal(*verdicts)
        assert 0 < int(verdicts[0].sum()) < len(y)
        return spent

    return check


@pytest.fixture
def counting() -> Callable[[nn.Module], Counting]:
    return Counting
