"""Logistic regression on a few points, minimised to rounding under any weights of its points.

Every loss holds its share of the decay, L(z, theta) = log(1 + exp(-y theta.x)) + l2/2 |theta|^2,
as in the paper. Written in numpy without the library's own influence functions, to check them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robustnb.generators import check_rng
from robustnb.scalars import finite, whole

Floats = NDArray[np.float64]
_STEPS = 100


def sigmoid(t: Floats | float) -> Floats:
    """1 / (1 + exp(-t))."""
    return np.exp(-np.logaddexp(0.0, -np.asarray(t, dtype=np.float64)))


@dataclass(frozen=True)
class LogisticProblem:
    """Points x (n, d) with labels y (n,) of -1 and +1, and the weight l2 > 0 of the decay."""

    x: Floats
    y: Floats
    l2: float

    @classmethod
    def random(cls, rng: np.random.Generator, *, n: int, d: int, l2: float) -> LogisticProblem:
        """Normal points, whose labels follow a random direction with noise."""
        check_rng(rng)
        n, d, l2 = whole("n", n), whole("d", d), finite("l2", l2, above=0)
        x = rng.standard_normal((n, d))
        y = np.sign(x @ rng.standard_normal(d) + 0.5 * rng.standard_normal(n))
        return cls(x, y, l2)

    @property
    def n(self) -> int:
        """The number of points."""
        return len(self.y)

    def loss(self, theta: Floats, x: Floats, y: float) -> float:
        """The loss of a test point, without decay."""
        return float(np.logaddexp(0.0, -y * (x @ theta)))

    def test_gradient(self, theta: Floats, x: Floats, y: float) -> Floats:
        """The gradient (d,) of `loss`."""
        found: Floats = -y * sigmoid(-y * (x @ theta)) * x
        return found

    def gradient(self, theta: Floats, x: Floats, y: float) -> Floats:
        """The gradient (d,) of the loss of a training point."""
        return self.test_gradient(theta, x, y) + self.l2 * theta

    def point_hessian(self, theta: Floats, x: Floats) -> Floats:
        """The Hessian (d, d) of the loss of a training point."""
        m = float(x @ theta)
        return float(sigmoid(m) * sigmoid(-m)) * np.outer(x, x) + self.l2 * np.eye(len(theta))

    def hessian(self, theta: Floats) -> Floats:
        """The mean Hessian (d, d) over the training points."""
        m = self.x @ theta
        bent = sigmoid(m) * sigmoid(-m)
        found: Floats = (self.x.T * bent) @ self.x / self.n + self.l2 * np.eye(len(theta))
        return found

    def minimiser(self, weights: Floats | None = None, more: Points = ()) -> Floats:
        """The theta (d,) at which sum_i weights_i L(z_i, theta) is least, by Newton's method.

        weights (n,): 1/n each by default; `more` adds points as (weight, x, y). The weights may be
        negative as long as the sum stays convex.
        """
        w = np.full(self.n, 1 / self.n) if weights is None else weights
        x = np.vstack([self.x, *(point for _, point, _ in more)])
        y = np.append(self.y, [label for _, _, label in more])
        w = np.append(w, [weight for weight, _, _ in more])
        theta = np.zeros(self.x.shape[1])
        for _ in range(_STEPS):
            m = y * (x @ theta)
            g = -(w * y * sigmoid(-m)) @ x + self.l2 * w.sum() * theta
            bent = (x.T * (w * sigmoid(m) * sigmoid(-m))) @ x
            step = np.linalg.solve(bent + self.l2 * w.sum() * np.eye(len(theta)), g)
            theta = theta - step
            if np.abs(step).max() < 1e-15:
                break
        return theta

    def upweighted(self, i: int, eps: float) -> Floats:
        """The minimiser of R + eps L(z_i)."""
        weights = np.full(self.n, 1 / self.n)
        weights[i] += eps
        return self.minimiser(weights)

    def replaced(self, i: int, delta: Floats, eps: float) -> Floats:
        """The minimiser of R + eps L(z_i moved by delta) - eps L(z_i)."""
        weights = np.full(self.n, 1 / self.n)
        weights[i] -= eps
        return self.minimiser(weights, ((eps, self.x[i] + delta, float(self.y[i])),))


Points = tuple[tuple[float, Floats, float], ...]
