"""Layers and initialisation shared by the networks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from robustnb.generators import check_cpu_generator
from robustnb.scalars import finite, is_scalar, shown, whole

Init = Literal["torch", "he_in", "he_out"]


class Normalize(nn.Module):
    """(x - mean) / std per channel, as a model's first layer, so that attacks stay in pixel units.

    x: (N, C, H, W); `mean` and `std` have one number per channel.

    >>> Normalize([0.5], [0.25])(torch.ones(1, 1, 1, 1)).item()
    2.0
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Keep one mean and one deviation per channel."""
        super().__init__()
        centres = [finite("a mean", value) for value in _listed("mean", mean)]
        widths = [finite("a std", value) for value in _listed("std", std)]
        if len(centres) != len(widths) or not widths or min(widths) <= 0:
            raise ValueError(f"mean and std must be as long and std > 0, got {mean} and {std}")
        self.register_buffer("mean", torch.tensor(centres)[:, None, None])
        self.register_buffer("std", torch.tensor(widths)[:, None, None])

    def forward(self, x: Tensor) -> Tensor:
        """Normalise a batch."""
        if x.ndim != 4 or x.shape[1] != len(self.mean):
            raise ValueError(f"x must be (N, {len(self.mean)}, H, W), got {tuple(x.shape)}")
        return (x - self.mean) / self.std


def _listed(what: str, values: Sequence[Any]) -> list[Any]:
    if isinstance(values, str) or is_scalar(values) or not hasattr(values, "__iter__"):
        raise TypeError(f"{what} must be a list of numbers, got {shown(values)}; write [{values}]")
    return list(values)


def check_sizes(what: str, sizes: Sequence[int]) -> list[int]:
    """Sizes of any whole numbers as a list of ints; TypeError or ValueError if they are none."""
    return [whole(f"a number in {what}", size) for size in _listed(what, sizes)]


def check_dropout(share: float) -> float:
    """The share of units that dropout leaves out, as a float; ValueError outside [0, 1]."""
    share = finite("dropout", share, least=0)
    if share > 1:
        raise ValueError(f"dropout must lie in [0, 1], the share left out, got {share}")
    return share


def on_meta() -> torch.device:
    """The device on which layers are made without drawing random numbers; `materialise` ends it."""
    return torch.device("meta")


def materialise(
    model: nn.Module,
    *,
    generator: torch.Generator | None,
    init: Init = "torch",
    channels_last: bool,
) -> None:
    """Give a model made on the meta device its weights, drawn from `generator` in module order.

    The global random state is left alone unless `generator` is None. init: "torch" is PyTorch's
    default of each layer; "he_in" and "he_out" draw convolutions from He 2015's normal by fan-in
    or fan-out, with zero biases.
    """
    model.to_empty(device="cpu")
    initialise(model, generator=generator, init=init)
    if channels_last:
        model.to(memory_format=torch.channels_last)


def initialise(
    model: nn.Module, *, generator: torch.Generator | None, init: Init = "torch"
) -> None:
    """Draw the weights of a model on the CPU anew and in place, as `materialise` does.

    Batch norm begins again, its running statistics included. Other layers stay as they are.
    """
    check_cpu_generator(generator)
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            _initialise(module, generator, init if isinstance(module, nn.Conv2d) else "torch")
        elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.reset_parameters()  # ones and zeros, nothing random


@torch.no_grad()
def _initialise(
    layer: nn.Conv2d | nn.Linear, generator: torch.Generator | None, init: Init
) -> None:
    if init != "torch":
        mode: Literal["fan_in", "fan_out"] = "fan_in" if init == "he_in" else "fan_out"
        nn.init.kaiming_normal_(layer.weight, mode=mode, generator=generator)
        if layer.bias is not None:
            layer.bias.zero_()
        return
    nn.init.kaiming_uniform_(layer.weight, a=math.sqrt(5), generator=generator)
    if layer.bias is not None:
        bound = 1 / math.sqrt(layer.weight[0].numel())
        layer.bias.uniform_(-bound, bound, generator=generator)


@torch.no_grad()
def zero(layer: nn.Linear) -> None:
    """Set a layer's weights and biases to 0: the first logits are then constant."""
    layer.weight.zero_()
    layer.bias.zero_()


def check_input(x: Tensor, *, channels: int, size: int, name: str) -> None:
    """Refuse a batch that is not (N, channels, size, size)."""
    if x.shape[1:] != (channels, size, size):
        raise ValueError(
            f"{name} wants (N, {channels}, {size}, {size}), got {tuple(x.shape)}; resize the "
            "images or build it with other in_channels"
        )


def parameter_count(model: nn.Module) -> int:
    """How many numbers training may change.

    >>> parameter_count(nn.Linear(3, 2))
    8
    """
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


Builder = Callable[..., nn.Module]
