"""Mistakes of gradients through skip connections that are steered by hooks and by names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import resnet152

from robustnb.gallery.fixtures import seeded
from robustnb.gallery.pitfall import Form, Pitfall

BLOCKS, GAMMA = 3, 0.5
Grads = tuple[Tensor, ...]


class _Block(nn.Module):
    """relu(x + f(x)) with f = linear, relu, linear; torchvision's block uses one ReLU twice."""

    def __init__(self, draws: torch.Generator) -> None:
        super().__init__()
        self.first, self.second = (
            nn.Parameter(torch.rand(4, 4, generator=draws, dtype=torch.float64)) for _ in range(2)
        )
        self.relu = nn.ReLU()

    def branch(self, x: Tensor) -> Tensor:
        result: Tensor = self.relu(x @ self.first) @ self.second
        return result

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.relu(x + self.branch(x))
        return result


class _Plain(nn.Module):
    """f = linear, relu, linear, with a ReLU that is a function and no module."""

    def __init__(self, draws: torch.Generator) -> None:
        super().__init__()
        self.maps = nn.ParameterList(
            torch.rand(4, 4, generator=draws, dtype=torch.float64) / 4 for _ in range(2)
        )

    def forward(self, x: Tensor) -> Tensor:
        first, second = self.maps
        result: Tensor = torch.relu(x @ first) @ second
        return result

    def jacobian(self) -> Tensor:
        """Of f, for rows, where every ReLU is open."""
        result: Tensor = torch.linalg.multi_dot([*self.maps]).detach().T
        return result


class _Bottleneck(_Plain):
    """f with two ReLU modules between three linear maps."""

    def __init__(self, draws: torch.Generator) -> None:
        super().__init__(draws)
        self.maps.append(torch.rand(4, 4, generator=draws, dtype=torch.float64) / 4)
        self.relus = nn.ModuleList([nn.ReLU(), nn.ReLU()])

    def forward(self, x: Tensor) -> Tensor:
        for matrix, relu in zip(self.maps, self.relus, strict=False):
            x = relu(x @ matrix)
        result: Tensor = x @ self.maps[-1]
        return result


def _plain() -> list[_Plain]:
    draws = seeded(0)
    return [_Plain(draws) for _ in range(BLOCKS)]


def _bottlenecks() -> list[_Bottleneck]:
    draws = seeded(0)
    return [_Bottleneck(draws) for _ in range(BLOCKS)]


def _chain() -> list[_Block]:
    """Positive weights and inputs keep every ReLU open, so the chain's Jacobian is a product."""
    draws = seeded(0)
    return [_Block(draws) for _ in range(BLOCKS)]


def shared_relu_wrong(blocks: list[_Block], x: Tensor) -> Tensor:
    """The output of a chain of blocks whose residual gradients are to be decayed by gamma."""

    def decay(_module: object, grad: Grads, _out: object) -> Grads:
        return (GAMMA * grad[0],)

    for block in blocks:
        block.relu.register_full_backward_hook(decay)  # type: ignore[arg-type]
        x = block(x)
    return x


def shared_relu_right(blocks: list[_Block], x: Tensor) -> Tensor:
    """The output of a chain of blocks whose residual gradients are to be decayed by gamma."""
    for block in blocks:
        f = block.branch(x)
        x = block.relu(x + GAMMA * f + (1 - GAMMA) * f.detach())
    return x


def _shared_relu_error(form: Form) -> float:
    """The relative error of the gradient against the product of 1 + gamma f' over the blocks."""
    start = torch.rand(1, 4, generator=seeded(1), dtype=torch.float64).requires_grad_()
    (grad,) = torch.autograd.grad(form(_chain(), start).sum(), start)
    true = torch.ones(1, 4, dtype=torch.float64)
    for block in reversed(_chain()):
        jacobian = block.first @ block.second
        true = (true + GAMMA * true @ jacobian.T).detach()
    return float((grad - true).norm() / true.norm())


def two_relus_wrong(blocks: list[_Bottleneck], x: Tensor) -> Tensor:
    """The output of a chain of blocks whose residual gradients are to be decayed by gamma."""

    def decay(_module: object, grad: Grads, _out: object) -> Grads:
        return (GAMMA * grad[0],)

    for block in blocks:
        for relu in block.relus:
            relu.register_full_backward_hook(decay)  # type: ignore[arg-type]
        x = x + block(x)
    return x


def two_relus_right(blocks: list[_Bottleneck], x: Tensor) -> Tensor:
    """The output of a chain of blocks whose residual gradients are to be decayed by gamma."""

    def decay(_module: object, grad: Grads, _out: object) -> Grads:
        return (GAMMA**0.5 * grad[0],)

    for block in blocks:
        for relu in block.relus:
            relu.register_full_backward_hook(decay)  # type: ignore[arg-type]
        x = x + block(x)
    return x


def _two_relus_error(form: Form) -> float:
    """The largest difference from the product of 1 + gamma f' over the blocks, as a share."""
    return _off_the_product(form, _bottlenecks)


def found_nothing_wrong(blocks: list[_Plain], x: Tensor) -> Tensor:
    """The output of a chain of blocks whose residual gradients are to be decayed by gamma."""

    def decay(_module: object, grad: Grads, _out: object) -> Grads:
        return (GAMMA * grad[0],)

    for name, module in nn.ModuleList(blocks).named_modules():
        if "relu" in name:
            module.register_full_backward_hook(decay)  # type: ignore[arg-type]
    for block in blocks:
        x = x + block(x)
    return x


def found_nothing_right(blocks: list[_Plain], x: Tensor) -> Tensor:
    """The output of a chain of blocks whose residual gradients are to be decayed by gamma."""
    for block in blocks:
        f = block(x)
        x = x + GAMMA * f + (1 - GAMMA) * f.detach()
    return x


def _found_nothing_error(form: Form) -> float:
    """The largest difference from the product of 1 + gamma f' over the blocks, as a share."""
    return _off_the_product(form, _plain)


def _off_the_product(form: Form, chain: Callable[[], list[Any]]) -> float:
    start = torch.rand(1, 4, generator=seeded(1), dtype=torch.float64).requires_grad_()
    (grad,) = torch.autograd.grad(form(chain(), start).sum(), start)
    true = torch.ones(1, 4, dtype=torch.float64)
    for block in reversed(chain()):
        true = true + GAMMA * true @ block.jacobian()
    return float((grad - true).norm() / true.norm())


def name_match_wrong(name: str) -> bool:
    """Whether the gradient through this ReLU is decayed: all but in the first block of a stage."""
    return "relu" in name and "0.relu" not in name


def name_match_right(name: str) -> bool:
    """Whether the gradient through this ReLU is decayed: all but in the first block of a stage."""
    stage, _, inner = name.partition(".")
    block, _, layer = inner.partition(".")
    return stage.startswith("layer") and layer == "relu" and block != "0"


def _name_match_error(form: Callable[[str], bool]) -> float:
    """How many blocks of a ResNet-152 that are not the first of a stage the rule leaves out."""
    with torch.device("meta"):  # only the names are wanted
        net = resnet152()
    names = [name for name, module in net.named_modules() if isinstance(module, nn.ReLU)]
    later = [name for name in names if name.startswith("layer") and name.split(".")[1] != "0"]
    return float(sum(not form(name) for name in later))


PITFALLS = (
    Pitfall("shared-relu", shared_relu_wrong, shared_relu_right, _shared_relu_error, limit=1e-12,
            shown="share"),
    Pitfall("two-relus", two_relus_wrong, two_relus_right, _two_relus_error, limit=1e-12,
            shown="share"),
    Pitfall("found-nothing", found_nothing_wrong, found_nothing_right, _found_nothing_error,
            limit=1e-12, shown="share"),
    Pitfall("name-match", name_match_wrong, name_match_right, _name_match_error),
)  # fmt: skip
