"""LiSSA (Agarwal et al. 2017): the Neumann series of the inverse on sampled examples.

With scale s the recursion is h <- b + h - (H_j h + damping h) / s, where H_j is the Hessian of a
random batch with the decay, and h / s estimates (H + damping I)^-1 b. Damping is added to the
Hessian, as in every solver here; published code multiplies it by the scale.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from robustnb.generators import check_cpu_generator
from robustnb.influence.errors import NegativeCurvatureError, NotConvergedError
from robustnb.influence.risk import EmpiricalRisk, check_choice
from robustnb.influence.solution import (
    Curvature,
    Solution,
    check_right_side,
    relative_residuals,
)
from robustnb.influence.spectrum import extreme_eigenvalues, sample_bound
from robustnb.progress import progress
from robustnb.scalars import finite, whole

_MARGIN = 1.2  # of the scale above the largest eigenvalue met
_MOST_STEPS = 200_000
_CHECKED_EVERY = 64


@dataclass(frozen=True)
class LiSSA:
    """Stochastic estimation, averaged over `repeats`.

    generator: draws the batches (it is used up). `scale` and `depth` are measured where None: the
    scale is above the largest eigenvalue of the whole matrix and of sampled batches, and the depth
    brings the bias of the flattest direction below `tol`. A depth of one's own may be too short;
    then the `residual` of the solution tells. Raises NotConvergedError where the recursion
    diverges, and NegativeCurvatureError where the matrix is not positive definite.
    """

    generator: torch.Generator
    batch_size: int = 1
    repeats: int = 10
    tol: float = 0.01
    scale: float | None = None
    depth: int | None = None

    def __post_init__(self) -> None:
        """Refuse settings that mean nothing."""
        if self.generator is None:
            raise TypeError("LiSSA draws batches; pass generator=torch.Generator().manual_seed(3)")
        check_cpu_generator(self.generator)
        plain: dict[str, float] = {
            "batch_size": whole("batch_size", self.batch_size),
            "repeats": whole("repeats", self.repeats),
            "tol": finite("tol", self.tol, above=0),
        }
        if self.scale is not None:
            plain["scale"] = finite("scale", self.scale, above=0)
        if self.depth is not None:
            plain["depth"] = whole("depth", self.depth)
        for name, value in plain.items():
            object.__setattr__(self, name, value)

    def plan(
        self, risk: EmpiricalRisk, *, damping: float = 0.0, curvature: Curvature = "hessian"
    ) -> tuple[float, int]:
        """The scale and depth: those given, else from measured eigenvalues."""
        if self.scale is not None and self.depth is not None:
            return self.scale, self.depth
        least, largest = extreme_eigenvalues(risk, generator=self.generator, curvature=curvature)
        flattest = least + damping
        if bool((risk.decayed == 1).all()) and least > 0:
            flattest = risk.l2 + damping  # Ritz values lie above the least eigenvalue
        if flattest <= 0:
            raise NegativeCurvatureError(flattest, damping)
        met = sample_bound(
            risk, batch_size=self.batch_size, curvature=curvature, generator=self.generator
        )
        scale = self.scale or _MARGIN * (max(largest, met) + damping)
        depth = self.depth or math.ceil(scale / flattest * math.log(1 / self.tol))
        if depth > _MOST_STEPS:
            raise NotConvergedError(
                "LiSSA", 1.0,
                f"the flattest direction ({flattest:.2g}) at scale {scale:.3g} needs {depth:,} "
                f"steps; use CG(), more damping, larger batches, or give depth",
            )  # fmt: skip
        return scale, depth

    def solve(
        self,
        risk: EmpiricalRisk,
        b: Tensor,
        *,
        damping: float = 0.0,
        curvature: Curvature = "hessian",
    ) -> Solution:
        """The average of the repeats for right-hand sides b (p, k)."""
        check_choice("curvature", curvature, ("hessian", "gauss_newton"))
        damping = finite("damping", damping, least=0)
        check_right_side(b)
        scale, depth = self.plan(risk, damping=damping, curvature=curvature)
        start = b.repeat(1, self.repeats)
        h = start.clone()
        shift = damping + risk.l2 * risk.decayed[:, None]
        grown = 1e3 * float(start.norm()) * max(1.0, scale / float(shift.max().clamp(min=1e-6)))
        with progress("LiSSA", total=depth) as bar:
            for j in range(depth):
                rows = torch.randint(
                    risk.n, (h.shape[1], self.batch_size), generator=self.generator
                ).to(risk.y.device)
                curved = risk.sample_products(h, rows, curvature)
                h = start + h - (curved + shift * h) / scale
                bar.advance()
                if j % _CHECKED_EVERY == 0 and not float(h.norm()) <= grown:
                    raise self._diverged(risk, damping, curvature, scale, j)
        if not float(h.norm()) <= grown:
            raise self._diverged(risk, damping, curvature, scale, depth)
        x = (h / scale).view(risk.p, self.repeats, b.shape[1]).mean(1)
        residuals = relative_residuals(risk, x, b, damping=damping, curvature=curvature)
        return Solution(x, residuals, depth, "LiSSA")

    def _diverged(
        self, risk: EmpiricalRisk, damping: float, curvature: Curvature, scale: float, step: int
    ) -> NegativeCurvatureError | NotConvergedError:
        """Why the recursion grew: no inverse to find, or a scale that is too small."""
        least, _ = extreme_eigenvalues(risk, generator=self.generator, curvature=curvature)
        if least + damping <= 0:
            return NegativeCurvatureError(least + damping, damping)
        return NotConvergedError(
            "LiSSA", math.inf,
            f"the recursion diverged within {step + 1} steps: scale {scale:.3g} is below the "
            "largest eigenvalue that it meets. Leave scale out (it is then measured), or use "
            "larger batches",
        )  # fmt: skip
