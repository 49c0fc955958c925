"""The nearest neighbour as a classifier, and one with a gradient (Papernot 2016, section 2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from robustnb.scalars import finite, whole


class NearestNeighbour(nn.Module):
    """Scores 1 for the class of the nearest training point and 0 for the others.

    It is exact. Distances are first taken as |z|^2 - 2 x.z, in one product of matrices without the
    coordinates that are the same for all points; all points that rounding leaves in question are
    compared again by |x - z| in float64. Among points that are equally near the first counts.
    scikit-learn's brute force does the whole product in float64. x: (N, ...), flattened.
    """

    points: Tensor
    differing: Tensor
    squares: Tensor
    labels: Tensor

    def __init__(self, points: Tensor, labels: Tensor, *, classes: int) -> None:
        """points: (n, ...) floats; labels: (n,) int64 below `classes`."""
        super().__init__()
        _check_points(points, labels)
        self.classes = whole("classes", classes, least=2)
        if len(labels) == 0 or not 0 <= int(labels.min()) <= int(labels.max()) < classes:
            raise ValueError(f"labels must name at least one point and lie in 0..{classes - 1}")
        rows = points.detach().flatten(1)
        self.size = rows.shape[1]
        self.register_buffer("differing", (rows != rows[0]).any(0).nonzero()[:, 0])
        self.register_buffer("points", rows[:, self.differing])
        self.register_buffer("squares", self.points.double().square().sum(1).to(points.dtype))
        self.register_buffer("labels", labels)

    def forward(self, x: Tensor) -> Tensor:
        """Scores (N, classes)."""
        nearest = self.nearest(x)
        return nn.functional.one_hot(self.labels[nearest], self.classes).to(x.dtype)

    @torch.no_grad()
    def nearest(self, x: Tensor) -> Tensor:
        """The index of the nearest training point, (N,)."""
        flat = _as_rows(x, self.size)[:, self.differing]
        rough = torch.addmm(self.squares, flat, self.points.T, alpha=-2)
        # a sum of n products in any order is off by at most n u |x| |z|; eps is 2 u
        longest = self.squares.max().sqrt()
        doubt = longest * (flat.norm(dim=1) + longest) * torch.finfo(x.dtype).eps
        within = rough.amin(1) + 2 * (flat.shape[1] + 8) * doubt
        rows, columns = (rough <= within[:, None]).nonzero(as_tuple=True)
        apart = (flat[rows].double() - self.points[columns].double()).square().sum(1)
        least = apart.new_full((len(x),), torch.inf).scatter_reduce(0, rows, apart, "amin")
        hit = apart == least[rows]
        first = columns.new_full((len(x),), len(self.points))
        found: Tensor = first.scatter_reduce(0, rows[hit], columns[hit], "amin")
        return found


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
        _check_points(points, labels)
        if sorted(set(labels.tolist())) != list(range(classes)):
            raise ValueError(f"every class from 0 to {classes - 1} needs a point, and no other")
        order = labels.argsort(stable=True)
        self.register_buffer("points", points.detach().flatten(1)[order])
        self.register_buffer("labels", labels[order])
        self.sizes = torch.bincount(labels, minlength=classes).tolist()

    def forward(self, x: Tensor) -> Tensor:
        """Scores (N, classes)."""
        flat = _as_rows(x, self.points.shape[1])
        apart = (
            flat.square().sum(1, keepdim=True) - 2 * flat @ self.points.T
            + self.points.square().sum(1)
        )  # fmt: skip
        by_class = torch.split(-apart / self.bandwidth, self.sizes, dim=1)
        return torch.stack([part.logsumexp(1) for part in by_class], 1)


def _check_points(points: Tensor, labels: Tensor) -> None:
    if len(points) != len(labels) or labels.dtype != torch.int64 or labels.ndim != 1:
        raise ValueError(
            f"points (n, ...) need labels (n,) of int64, got {len(points)} and "
            f"{labels.dtype} {tuple(labels.shape)}"
        )


def _as_rows(x: Tensor, size: int) -> Tensor:
    """x (N, ...) as rows as long as a training point."""
    flat = x.flatten(1)
    if flat.shape[1] != size:
        raise ValueError(f"an example has {flat.shape[1]} numbers, a training point {size}")
    return flat
