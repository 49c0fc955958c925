"""An empirical risk R(theta) = mean of the losses + l2/2 |theta|^2 and its products at theta.

Weight decay follows one convention. R always holds l2/2 |theta|^2. With `decay="inside"`, the
paper's, every training point carries its share: the gradient of a training loss includes l2 theta,
and the risk without a point is the mean over n - 1 losses plus l2/2 |theta|^2. With
`decay="outside"` the penalty stays n l2/2 |theta|^2 in the sum when a point leaves, and the
gradient of a training loss does not include it. The loss of a test point never includes it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor

from robustnb.influence.losses import Loss
from robustnb.influence.solution import Curvature
from robustnb.models.modes import Model

Decay = Literal["inside", "outside"]


class EmpiricalRisk(ABC):
    """The risk of a model on its training set, at parameters theta (p,).

    x (n, ...) and y (n,) are the training set. `decayed` (p,) is 1 where l2 applies, else 0.
    Products take columns (p, k) and go through the examples in chunks of `chunk_size`.
    """

    model: Model
    loss: Loss
    x: Tensor
    y: Tensor
    theta: Tensor
    decayed: Tensor
    l2: float
    decay: Decay
    chunk_size: int

    @property
    def n(self) -> int:
        """The number of training points."""
        return len(self.y)

    @property
    def p(self) -> int:
        """The number of parameters."""
        return len(self.theta)

    def chunks(self, count: int | None = None) -> Iterator[slice]:
        """Slices of at most `chunk_size` that cover the training set, or `count` examples."""
        count = self.n if count is None else count
        for start in range(0, count, self.chunk_size):
            yield slice(start, min(start + self.chunk_size, count))

    @abstractmethod
    def at(self, theta: Tensor) -> EmpiricalRisk:
        """The same risk at other parameters (p,); the model is left as it is."""

    @abstractmethod
    def losses(self, x: Tensor, y: Tensor) -> Tensor:
        """The losses (m,) of examples x (m, ...), y (m,), without weight decay."""

    @abstractmethod
    def data_gradients(self, x: Tensor, y: Tensor) -> Tensor:
        """The gradient of each loss, (m, p), without weight decay; memory m p."""

    @abstractmethod
    def data_slopes(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """The derivative of each loss along each column of v (p, k): (m, k), differentiable in x.

        No gradient of a single example is formed.
        """

    @abstractmethod
    def data_gradient(self) -> Tensor:
        """The mean gradient of the training losses, (p,), without weight decay."""

    @abstractmethod
    def data_product(self, v: Tensor, rows: Tensor | None, curvature: Curvature) -> Tensor:
        """The mean Hessian of the training losses (or of `rows`) times v (p, k), without decay."""

    def sample_products(self, v: Tensor, rows: Tensor, curvature: Curvature) -> Tensor:
        """As `data_product`, each column j of v (p, k) with its own examples rows[j] (k, b)."""
        columns = [
            self.data_product(column[:, None], own, curvature)
            for column, own in zip(v.T, rows, strict=True)
        ]
        return torch.cat(columns, dim=1)

    def training_losses(self) -> Tensor:
        """The losses (n,) of the training points, without weight decay."""
        return torch.cat([self.losses(self.x[rows], self.y[rows]) for rows in self.chunks()])

    def penalty_gradient(self) -> Tensor:
        """The gradient of l2/2 |theta|^2, (p,)."""
        return self.l2 * self.decayed * self.theta

    def gradient(self) -> Tensor:
        """The gradient of R, (p,)."""
        return self.data_gradient() + self.penalty_gradient()

    def value(self) -> float:
        """R at theta."""
        total = float(self.training_losses().sum())
        penalty = float((self.decayed * self.theta.square()).sum())
        return total / self.n + self.l2 / 2 * penalty

    def product(
        self, v: Tensor, *, rows: Tensor | None = None, curvature: Curvature = "hessian"
    ) -> Tensor:
        """H v for columns v (p, k), or a vector (p,): of R, or of the examples `rows` and decay.

        curvature: the "hessian", or the "gauss_newton" matrix, which is never indefinite.
        """
        columns = v if v.ndim == 2 else v[:, None]
        if columns.shape[0] != self.p:
            raise ValueError(f"v must have {self.p} rows, one a parameter, got {tuple(v.shape)}")
        found = self.data_product(columns, rows, curvature)
        found = found + self.l2 * self.decayed[:, None] * columns
        return found if v.ndim == 2 else found[:, 0]

    def matrix(self, curvature: Curvature = "hessian") -> Tensor:
        """H (p, p), symmetric."""
        eye = torch.eye(self.p, dtype=self.theta.dtype, device=self.theta.device)
        found = torch.cat(
            [self.product(part, curvature=curvature) for part in torch.split(eye, 64, 1)], 1
        )
        return (found + found.T) / 2

    def train_gradients(self, x: Tensor, y: Tensor) -> Tensor:
        """The gradient (m, p) of each example's loss as a training point: decay as documented."""
        found = self.data_gradients(x, y)
        return found + self.penalty_gradient() if self.decay == "inside" else found

    def train_slopes(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """The inner products (m, k) of `train_gradients` with the columns of v (p, k)."""
        found = self.data_slopes(v, x, y)
        return found + self.penalty_gradient() @ v if self.decay == "inside" else found

    def preconditioner(self, damping: float, columns: int) -> Preconditioner | None:
        """An approximate inverse of H + damping I for CG, or None where it would not pay."""
        return None


class Preconditioner(ABC):
    """A symmetric positive definite approximation of the inverse."""

    @abstractmethod
    def __call__(self, v: Tensor) -> Tensor:
        """The approximate inverse times columns v (p, k)."""


def check_choice(what: str, value: str, choices: tuple[str, ...]) -> None:
    """Refuse a word that is none of the choices."""
    if value not in choices:
        raise ValueError(f"{what} must be one of {', '.join(choices)}, got {value!r}")
