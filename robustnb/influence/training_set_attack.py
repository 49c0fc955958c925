"""Training-set attacks: change training images a little so that test losses rise after retraining.

Koh & Liang 2017, section 5.2: x <- Proj(x + step sign(I_pert,loss(x, z_test))), retrain, repeat.
The projection keeps images that round to the same 8-bit image: half a grey level around each pixel.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from robustnb.generators import check_cpu_generator
from robustnb.influence.checks import check_index, check_test, chosen
from robustnb.influence.linear import LinearRisk
from robustnb.influence.refit import fit_risk
from robustnb.influence.retraining import losses_at
from robustnb.influence.risk import check_choice
from robustnb.influence.scores import inverse_hvp, pert_loss
from robustnb.influence.solution import Solver
from robustnb.influence.solvers import Cholesky
from robustnb.progress import progress
from robustnb.scalars import finite, whole

HALF_A_LEVEL = 0.5 / 255


@dataclass(frozen=True)
class PoisonedImages:
    """Attacked training images (k, ...), and what they did.

    losses (steps + 1, m): the test losses before and after each step with retraining;
    wrong (steps + 1, m): whether each test point is misclassified then.
    """

    index: Tensor
    images: Tensor
    losses: Tensor
    wrong: Tensor
    risk: LinearRisk = field(repr=False)


def attack_training_set(
    risk: LinearRisk,
    x_test: Tensor,
    y_test: Tensor,
    *,
    index: Tensor,
    steps: int,
    step: float,
    box: float = HALF_A_LEVEL,
    direction: Literal["influence", "random"] = "influence",
    generator: torch.Generator | None = None,
    solver: Solver | None = None,
    tol: float = 1e-8,
) -> PoisonedImages:
    """Raise the mean loss of x_test (m, ...) by changing training images `index` (k,).

    step and box in pixels of [0, 1]. Only the linear layer of the risk is retrained; gradients go
    through the whole network. `direction="random"` takes random signs instead, the control, and
    needs a generator.
    """
    steps, step = whole("steps", steps), finite("step", step, above=0)
    box = finite("box", box, above=0)
    check_choice("direction", direction, ("influence", "random"))
    check_cpu_generator(generator, needed="random signs are drawn" if direction == "random" else "")
    solver = chosen(solver, Cholesky)
    index = check_index(index, risk.n, device=risk.y.device)
    check_test(risk, x_test, y_test)
    clean = risk.x[index].clone()
    images = clean.clone()
    told = [_state(risk, x_test, y_test)]
    with progress("training-set attack", total=steps) as bar:
        for _ in range(steps):
            if direction == "influence":
                s = inverse_hvp(risk, x_test, y_test, solver=solver).x.mean(1)
                signs = pert_loss(risk, images, risk.y[index], s).sign()
            else:
                signs = 2.0 * torch.randint(0, 2, images.shape, generator=generator) - 1
            images = project(images + step * signs.to(images), clean, box)
            moved = fit_risk(risk.replaced(index, images), tol=tol)
            assert isinstance(moved, LinearRisk)
            risk = moved
            told.append(_state(risk, x_test, y_test))
            bar.advance(note=f"mean test loss {float(told[-1][0].mean()):.3f}")
    losses, wrong = (torch.stack(parts) for parts in zip(*told, strict=True))
    return PoisonedImages(index, images, losses, wrong, risk)


def project(images: Tensor, clean: Tensor, box: float) -> Tensor:
    """The nearest images in [0, 1] within `box` of the clean ones, pixel by pixel."""
    return images.clamp(clean - box, clean + box).clamp(0, 1)


def _state(risk: LinearRisk, x_test: Tensor, y_test: Tensor) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        z = risk.model(x_test.clone())
    wrong = z * y_test <= 0 if z.ndim == 1 else z.argmax(1) != y_test
    return losses_at(risk, risk.theta[:, None], x_test, y_test)[0], wrong
