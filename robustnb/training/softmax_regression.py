"""Softmax regression by gradient descent with its gradient written out, where many are trained."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from robustnb.scalars import finite, whole
from robustnb.training.checks import check_training
from robustnb.training.randomness import private_randomness, reseed


def fit_softmax(
    images: Tensor,
    labels: Tensor,
    *,
    classes: int,
    epochs: int,
    batch_size: int,
    lr: float,
    generator: torch.Generator,
    momentum: float = 0.9,
) -> nn.Sequential:
    """A new softmax regression, trained on cross-entropy from zero weights.

    images: (N, ...) floats in [0, 1]; labels: (N,) int64 below `classes`. The gradient of the mean
    cross-entropy is the mean of (p - e_y) x^T, so a step is two products of matrices. Its batches
    and, up to rounding, its weights are those of `fit` with `standard()` and the same generator on
    `Sequential(Flatten(), Linear(...))` whose weights are zero; it takes a third of the time.

    Raises ValueError for settings that cannot work, and FloatingPointError when the weights are
    not finite.
    """
    lr, momentum = finite("lr", lr, above=0.0), finite("momentum", momentum, least=0.0)
    epochs, batch_size = whole("epochs", epochs), whole("batch_size", batch_size)
    sizes = images[:1].numel(), whole("classes", classes, least=2)
    with torch.device("meta"):  # where nothing is drawn
        layer = nn.Linear(*sizes, dtype=images.dtype)
    layer.to_empty(device=images.device)
    net = nn.Sequential(nn.Flatten(), layer)
    for weights in net.parameters():
        nn.init.zeros_(weights)
    check_training(net, images, labels, generator)
    if batch_size > len(labels):
        raise ValueError(
            f"batch_size must lie in [1, {len(labels)}], the number of images, got {batch_size}"
        )
    rows, truth = images.flatten(1), nn.functional.one_hot(labels, classes).to(images.dtype)
    with private_randomness(images.device), torch.no_grad():
        descent = _Descent(layer, lr, momentum)
        for _ in range(epochs):
            reseed(generator, images.device)  # `fit` draws here, too
            order = torch.randperm(len(rows), generator=generator).to(images.device)
            for index in torch.split(order, batch_size):
                descent.step(rows, truth, index)
    if not all(bool(weights.isfinite().all()) for weights in net.parameters()):
        raise FloatingPointError(f"the weights are no longer finite; lower lr (now {lr:g})")
    return net


class _Descent:
    """Gradient descent with momentum on the weights of one layer, in place."""

    def __init__(self, layer: nn.Linear, lr: float, momentum: float) -> None:
        self.layer, self.lr, self.momentum = layer, lr, momentum
        self.speeds = torch.zeros_like(layer.weight), torch.zeros_like(layer.bias)
        self.batch = layer.weight.new_empty(0)

    def step(self, rows: Tensor, truth: Tensor, index: Tensor) -> None:
        """One step on the examples `index` of rows (N, n), whose labels are one-hot in truth."""
        weight, bias = self.layer.weight, self.layer.bias
        x = self._taken(rows, index)
        error = torch.addmm(bias, x, weight.T).softmax(1).sub_(truth.index_select(0, index))
        speed, shift = self.speeds
        speed.addmm_(error.T, x, beta=self.momentum, alpha=1 / len(index))
        shift.mul_(self.momentum).add_(error.mean(0))
        weight.sub_(speed, alpha=self.lr)
        bias.sub_(shift, alpha=self.lr)

    def _taken(self, rows: Tensor, index: Tensor) -> Tensor:
        """rows[index], in memory that is used again: new memory would take as long as a product."""
        if len(self.batch) != len(index):
            self.batch = rows.new_empty(len(index), rows.shape[1])
        return torch.index_select(rows, 0, index, out=self.batch)
