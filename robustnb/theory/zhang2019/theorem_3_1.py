"""Every risk of Theorem 3.1 on batches of finite instances (Zhang et al. 2019, Sections 2 and 3).

An instance is a finite distribution with a score and a ball around each point, so expectations are
sums and maxima are exact. Shapes: B instances of N points each.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from robustnb.generators import check_rng
from robustnb.scalars import real, whole
from robustnb.theory.zhang2019.calibration import Array, Loss, conditional_risk, psi_inverse

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Instances:
    """B finite instances: mass, eta, scores (B, N), reach (B, N, N), lam (B,).

    reach[b, i, j] says that point j lies within eps of point i; it holds for j = i.
    """

    mass: Array
    eta: Array
    scores: Array
    reach: Mask
    lam: Array

    def __post_init__(self) -> None:
        """Refuse shapes, masses, probabilities or balls that are no instance."""
        batch, points = self.mass.shape
        shapes = (self.eta.shape, self.scores.shape, self.reach.shape, self.lam.shape)
        if shapes != ((batch, points),) * 2 + ((batch, points, points), (batch,)):
            raise ValueError(f"shapes must be (B, N), (B, N), (B, N, N), (B,); got {shapes}.")
        if (self.mass < 0).any() or np.abs(self.mass.sum(axis=1) - 1).max() > 1e-9:
            raise ValueError("mass must be non-negative and sum to 1 per instance; divide by it.")
        if (self.eta < 0).any() or (self.eta > 1).any():
            raise ValueError("eta must lie in [0, 1]; it is Pr[Y = 1 | X = x].")
        if not self.reach[:, range(points), range(points)].all():
            raise ValueError("reach must hold on its diagonal: a ball contains its centre.")
        if (self.lam <= 0).any():
            raise ValueError("lam must be positive.")

    def expect(self, values: Array) -> Array:
        """The expectation (B,) of a function of the point (B, N)."""
        return np.asarray((self.mass * values).sum(axis=1))


@dataclass(frozen=True)
class Risks:
    """R_nat, R_nat*, R_bdy, R_rob, Pr[X in B(DB(f), eps)] and E[1{f = 0} min(eta, 1 - eta)]."""

    nat: Array
    best: Array
    bdy: Array
    rob: Array
    near: Array
    undecided: Array


@dataclass(frozen=True)
class Bound:
    """The left side, psi^{-1}(R_phi - R_phi*), and both lines of Theorem 3.1, each (B,)."""

    left: Array
    inverse: Array
    first: Array
    second: Array


def balls(points: ArrayLike, *, eps: ArrayLike) -> Mask:
    """Closed max-norm balls of points (B, N, d) or (N, d); eps is a number or (B,)."""
    points = np.asarray(points, dtype=float)
    gaps = np.abs(points[..., :, None, :] - points[..., None, :, :]).max(axis=-1)
    return np.asarray(gaps <= np.asarray(eps, dtype=float)[..., None, None])


def path_graph(points: int) -> Mask:
    """The balls of radius one on a line of `points` equally spaced points, (N, N)."""
    return balls(np.arange(points)[:, None], eps=1.0)


def _near(instance: Instances) -> Mask:
    """Where some point of the ball has f(x) f(x') <= 0: X in B(DB(f), eps)."""
    signs = np.sign(instance.scores)
    opposed = signs[:, :, None] * signs[:, None, :] <= 0
    return np.asarray((instance.reach & opposed).any(axis=2))


def risks(instance: Instances) -> Risks:
    """All risks, each from its own definition, so that identities between them can be tested."""
    eta, f, reach = instance.eta, instance.scores, instance.reach
    lowest = np.where(reach, f[:, None, :], np.inf).min(axis=2)
    highest = np.where(reach, f[:, None, :], -np.inf).max(axis=2)
    near = _near(instance)
    best = np.minimum(eta, 1 - eta)
    return Risks(
        nat=instance.expect(eta * (f <= 0) + (1 - eta) * (f >= 0)),
        best=instance.expect(best),
        bdy=instance.expect(near * (eta * (f > 0) + (1 - eta) * (f < 0))),
        rob=instance.expect(eta * (lowest <= 0) + (1 - eta) * (highest >= 0)),
        near=instance.expect(near.astype(float)),
        undecided=instance.expect((f == 0) * best),
    )


def zero_set_boundary_risk(instance: Instances) -> Array:
    """R_bdy with the metric ball of {f = 0} instead of sign changes: the wrong definition."""
    eta, f = instance.eta, instance.scores
    near = (instance.reach & (f == 0)[:, None, :]).any(axis=2)
    return instance.expect(near * (eta * (f > 0) + (1 - eta) * (f < 0)))


def surrogate_gap(instance: Instances, loss: Loss) -> Array:
    """R_phi(f) - R_phi* (B,): on a finite space R_phi* is the expectation of H(eta)."""
    excess = conditional_risk(loss, instance.eta, instance.scores) - loss.minimal(instance.eta)
    return instance.expect(excess)


def regulariser(instance: Instances, loss: Loss) -> Array:
    """E max over the ball of phi(f(X') f(X) / lambda), (B,)."""
    f = instance.scores
    products = f[:, :, None] * f[:, None, :] / instance.lam[:, None, None]
    worst = np.where(instance.reach, loss.phi(products), -np.inf).max(axis=2)
    return instance.expect(worst)


def upper_bound(instance: Instances, loss: Loss) -> Bound:
    """Theorem 3.1 as repaired in the chapter: psi^{-1} is cut at 1, points with f = 0 are counted.

    first = psi^{-1}(gap) + R_bdy + E[1{f = 0} min(eta, 1 - eta)]; second replaces the last two
    terms by the regulariser. Where f is never zero the first line is the paper's.
    """
    parts = risks(instance)
    inverse = psi_inverse(loss, surrogate_gap(instance, loss))
    return Bound(
        left=parts.rob - parts.best,
        inverse=inverse,
        first=inverse + parts.bdy + parts.undecided,
        second=inverse + regulariser(instance, loss),
    )


def _random_eta(rng: np.random.Generator, shape: tuple[int, int]) -> Array:
    """A third smooth, a third near 0 and 1, a third in {0, 1/4, 1/2, 3/4, 1}."""
    kind = rng.integers(3, size=(shape[0], 1))
    near_ends = rng.beta(0.2, 0.2, size=shape)
    quarters = rng.integers(5, size=shape) / 4
    return np.where(kind == 0, rng.random(shape), np.where(kind == 1, near_ends, quarters))


def _random_scores(rng: np.random.Generator, eta: Array, zeros: float) -> Array:
    """Random, Bayes-correct, or wrong and small scores; none is zero unless `zeros` > 0."""
    size = rng.lognormal(0.0, 1.0, size=eta.shape)
    bayes = np.where(eta >= 0.5, 1.0, -1.0)
    kind = rng.integers(3, size=(len(eta), 1))
    coin = rng.choice([-1.0, 1.0], size=eta.shape)
    scores = np.where(kind == 0, coin * size, np.where(kind == 1, bayes * size, -bayes * size / 50))
    return np.where(rng.random(eta.shape) < zeros, 0.0, scores)


def random_instance(
    rng: np.random.Generator, *, points: int, count: int = 1, dimension: int = 1, zeros: float = 0.0
) -> Instances:
    """`count` random instances of `points` points in [0, 1]^dimension with closed balls.

    Probabilities, scores (of which a share `zeros` is zero), eps and lambda cover easy and extreme
    cases; lambda lies in [1e-2, 10].
    """
    check_rng(rng)
    points, count, dimension = (
        whole(*size) for size in (("points", points), ("count", count), ("dimension", dimension))
    )
    zeros = real("zeros", zeros)
    if not 0 <= zeros <= 1:
        raise ValueError(f"zeros must be a share in [0, 1], got {zeros}")
    eta = _random_eta(rng, (count, points))
    places = rng.random((count, points, dimension))
    return Instances(
        mass=rng.dirichlet(np.ones(points), size=count),
        eta=eta,
        scores=_random_scores(rng, eta, zeros),
        reach=balls(places, eps=rng.uniform(0.05, 0.6, size=count)),
        lam=10 ** rng.uniform(-2, 1, size=count),
    )
