"""A nearest-neighbour classifier with a gradient (Papernot 2016, section 2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from robustnb.scalars import finite, whole


class SoftNearestNeighbour(nn.Module):
    """Scores log sum_z exp(-|x - z|^2 / bandwidth) over the training points z of each class.

    As the bandwidth falls to 0 the best score is that of the nearest point's class. In many
    dimensions all weight lies on one point, so that cross-entropy has a gradient of exactly 0;
    attack it with loss="margin", whose gradient never vanishes. x: (N, ...), flattened.
    """

    points: Tensor
    labels: Tensor

    def __init__(
        self, points: Tensor, labels: Tensor, *, classes: int, bandwidth: float = 1.0
    ) -> None:
        """points: (n, ...) floats; labels: (n,) int64, each class at least once."""
        super().__init__()
        classes = whole("classes", classes, least=2)
        self.bandwidth = finite("bandwidth", bandwidth, above=0)
        if len(points) != len(labels) or labels.dtype != torch.int64 or labels.ndim != 1:
            raise ValueError(
                f"points (n, ...) need labels (n,) of int64, got {len(points)} and "
                f"{labels.dtype} {tuple(labels.shape)}"
            )
        if sorted(set(labels.tolist())) != list(range(classes)):
            raise ValueError(f"every class from 0 to {classes - 1} needs a point, and no other")
        order = labels.argsort(stable=True)
        self.register_buffer("points", points.detach().flatten(1)[order])
        self.register_buffer("labels", labels[order])
        self.sizes = torch.bincount(labels, minlength=classes).tolist()

    def forward(self, x: Tensor) -> Tensor:
        """Scores (N, classes)."""
        flat = x.flatten(1)
        if flat.shape[1] != self.points.shape[1]:
            raise ValueError(
                f"an example has {flat.shape[1]} numbers, a training point {self.points.shape[1]}"
            )
        apart = (
            flat.square().sum(1, keepdim=True) - 2 * flat @ self.points.T
            + self.points.square().sum(1)
        )  # fmt: skip
        by_class = torch.split(-apart / self.bandwidth, self.sizes, dim=1)
        return torch.stack([part.logsumexp(1) for part in by_class], 1)
