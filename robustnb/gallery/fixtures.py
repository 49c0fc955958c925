"""What the pitfalls are measured on: a small network trained on the embedded digits."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor, nn

from robustnb.data import load, subset, to_unit
from robustnb.models import MLP
from robustnb.training.objectives import standard
from robustnb.training.training_loop import fit

SIZE = 300  # test images


class Specimen(NamedTuple):
    """A trained network in evaluation mode, and test images (N, 1, 28, 28) with labels (N,)."""

    net: nn.Module
    x: Tensor
    y: Tensor


def seeded(seed: int) -> torch.Generator:
    """A CPU generator of its own."""
    return torch.Generator().manual_seed(seed)


@cache
def digits() -> Specimen:
    """A network of 32 hidden units after two passes over the embedded digits (half a second)."""
    net = MLP(hidden=(32,), generator=seeded(0))
    images, labels = load("mnist_embedded", "train")
    fit(
        net, images, labels, objective=standard(), epochs=2, batch_size=100, lr=0.1,
        generator=seeded(1),
    )  # fmt: skip
    x, y = subset(*load("mnist_embedded", "test"), size=SIZE, generator=seeded(2))
    return Specimen(net.eval(), to_unit(x), y)


def wrong_answers(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Which images the model misclassifies, (N,) bool."""
    with torch.no_grad():
        answers: Tensor = model(x).argmax(1)
    return answers != y


def gradient(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """The gradient of the summed cross-entropy towards the images."""
    leaf = x.detach().clone().requires_grad_()
    loss = nn.functional.cross_entropy(model(leaf), y, reduction="sum")
    return torch.autograd.grad(loss, leaf)[0]
