"""FAB, the fast adaptive boundary attack (Croce & Hein 2020b): the nearest misclassified image.

Each step replaces the boundary by its tangent plane and goes to that plane's nearest point of the
box, drawn towards the plane's nearest point to x itself; once across, it falls back towards x.
One class is aimed at a time (the paper's FAB-T), so the cost does not grow with the classes. The
last steps are ours: they go from x itself straight to just beyond the plane, which on a linear
model is the optimum.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from robustnb.attacks import projections, validation
from robustnb.attacks.fab_projections import project_onto_hyperplane, quick_step
from robustnb.attacks.losses import margin, misclassified, other_classes
from robustnb.attacks.projections import Clip, Norm
from robustnb.attacks.queries import ModelQueries
from robustnb.generators import check_generator
from robustnb.models.layout import fastest_layout
from robustnb.models.modes import Model, eval_mode
from robustnb.scalars import whole

_ETA = 1.05  # how far past the plane a step goes
_ALPHA_MAX = 0.1  # the most that a step is drawn towards x
_BETA = 0.9  # what is left of the way from x after falling back
_POLISH = (1.02, 1.005, 1.0005, 1.00005)  # how far the last steps go past the plane
_HALVINGS = 6  # of the segment from x to the nearest image found
_PACK = 5


class MinimalAdversarial(NamedTuple):
    """The nearest misclassified image found and its distance, inf where none was (then x)."""

    x_adv: Tensor
    size: Tensor


def fab(
    model: Model,
    x: Tensor,
    y: Tensor,
    *,
    steps: int = 100,
    norm: Norm = "linf",
    targets: int = 9,
    restarts: int = 1,
    clip: Clip = (0.0, 1.0),
    generator: torch.Generator | None = None,
) -> MinimalAdversarial:
    """The nearest misclassified image in `clip`, aiming at the `targets` most likely classes.

    x: (N, ...) in `clip`; y: (N,). The first run starts at x, the others at random around it.
    Guarantee: x_adv in `clip`, and misclassified where size < inf; size = norm(x_adv - x); an image
    that is misclassified as it stands comes back to the bit with size 0; more restarts never give
    a larger size; modes are restored.
    """
    clip = projections.check_box(clip)
    _, _, steps = validation.check_attack(
        model, x, y, eps=0.0, step=1.0, steps=steps, norm=norm, clip=clip
    )
    restarts = validation.check_restarts(restarts, "uniform")
    targets = whole("targets", targets)
    check_generator(generator)
    if len(x) == 0:
        return MinimalAdversarial(x.detach().clone(), x.new_zeros(0))
    queries, x = ModelQueries(model), x.detach()
    with eval_mode(model), fastest_layout(model):
        logits = queries.logits(x)
        validation.check_classes(y, logits)
        classes = other_classes(logits, y, targets)
        best = MinimalAdversarial(
            x.clone(), torch.where(misclassified(logits, y), 0.0, torch.inf).to(x.dtype)
        )
        for restart in range(restarts):
            unit = projections.sample(x, eps=1.0, norm=norm, generator=generator)
            todo = (best.size > 0).nonzero()[:, 0]
            for target in classes.T if len(todo) else ():
                reach = best.size.where(best.size.isfinite(), torch.ones_like(best.size)) / 2
                begin = x + _column(reach, x) * unit if restart else x
                found = fab_targeted(
                    queries, x[todo], y[todo], target[todo], norm=norm, steps=steps,
                    begin=begin[todo], clip=clip,
                )  # fmt: skip
                _keep_nearer(best, found, todo)
    return best


def fab_targeted(
    queries: ModelQueries,
    x: Tensor,
    y: Tensor,
    target: Tensor,
    *,
    steps: int,
    norm: Norm,
    begin: Tensor,
    clip: Clip = (0.0, 1.0),
    within: float | None = None,
) -> MinimalAdversarial:
    """One run from `begin` towards one class each; nothing is checked.

    Any misclassified image counts, whatever its class. With `within` an example is done as soon
    as its size is at most that.
    """
    search = _Search(queries, x.detach(), y, target, norm, clip, begin if clip is None
                     else begin.clamp(*clip))  # fmt: skip
    for k in range(steps):
        search.step()
        if within is not None and k % _PACK == 0 and search.drop(within):
            return search.result
    search.polish(_POLISH)
    search.halve()
    search.report()
    return search.result


class _Search:
    """Where the examples still searched for are, and the nearest image of each."""

    def __init__(
        self,
        queries: ModelQueries,
        x: Tensor,
        y: Tensor,
        target: Tensor,
        norm: Norm,
        clip: Clip,
        at: Tensor,
    ) -> None:
        self.queries, self.norm, self.clip = queries, norm, clip
        self.x, self.y, self.target, self.at = x, y, target, at
        self.row = torch.arange(len(x), device=x.device)
        self.near = MinimalAdversarial(x.clone(), x.new_full((len(x),), torch.inf))
        self.result = MinimalAdversarial(x.clone(), x.new_full((len(x),), torch.inf))

    def step(self) -> None:
        """Algorithm 1, lines 5 to 14, then 15 to 20 where the boundary has been crossed."""
        grad, gain = self._plane()
        here, near = self._towards_plane(self.at, grad, gain)
        there, far = self._towards_plane(self.x, grad, gain + self._drift(grad))
        drawn = (near / (near + far).clamp_min(torch.finfo(near.dtype).tiny)).clamp_max(_ALPHA_MAX)
        alpha = _column(drawn, self.x)
        # (1 - alpha) (at + 1.05 here) + alpha (x + 1.05 there), in the memory of the two steps
        new = here.mul_(_ETA).add_(self.at).mul_(1 - alpha)
        new.add_(there.mul_(_ETA).add_(self.x).mul_(alpha))
        self.at = self._boxed(new)
        across = self._ask(self.at).nonzero()[:, 0]
        if len(across):
            start = self.x[across]
            self.at[across] = self._boxed(start + _BETA * (self.at[across] - start))

    def polish(self, beyond: Sequence[float]) -> None:
        """From x straight to just past the plane at the nearest image, in smaller excess."""
        for times in beyond:
            found = _column(self.near.size.isfinite(), self.x)
            self.at = torch.where(found, self.near.x_adv, self.at)
            grad, gain = self._plane()
            move, _ = self._towards_plane(self.x, grad, (gain + self._drift(grad)) * times)
            self._ask(self._boxed(self.x + move))

    def halve(self) -> None:
        """Bisect the segment from x to the nearest image."""
        low, high = torch.zeros_like(self.near.size), torch.ones_like(self.near.size)
        end = self.near.x_adv.clone()  # what is found on the way is written to the original
        for _ in range(_HALVINGS if bool(self.near.size.isfinite().any()) else 0):
            middle = (low + high) / 2
            hit = self._ask(self._boxed(self.x + _column(middle, self.x) * (end - self.x)))
            low, high = torch.where(hit, low, middle), torch.where(hit, middle, high)

    def drop(self, within: float) -> bool:
        """Drop the examples that are near enough; whether none is left."""
        done = self.near.size.double() <= within
        if bool(done.any()):
            self.report()
            keep = ~done
            self.x, self.y, self.target = self.x[keep], self.y[keep], self.target[keep]
            self.at, self.row = self.at[keep], self.row[keep]
            self.near = MinimalAdversarial(self.near.x_adv[keep], self.near.size[keep])
        return len(self.row) == 0

    def report(self) -> None:
        """Write what was found to the rows of the result."""
        self.result.x_adv[self.row] = self.near.x_adv
        self.result.size[self.row] = self.near.size

    def _plane(self) -> tuple[Tensor, Tensor]:
        """The normal of the tangent plane at the iterate, and the gain that leads onto it."""
        loss, hit, grad, _ = self.queries.loss_and_grad(self.at, self.y, _lead, self.target)
        assert grad is not None
        self._note(self.at, hit)
        return grad, -loss.double()

    def _drift(self, grad: Tensor) -> Tensor:
        return (self.at - self.x).mul_(grad).flatten(1).sum(1, dtype=torch.float64)

    def _towards_plane(self, start: Tensor, grad: Tensor, gain: Tensor) -> tuple[Tensor, Tensor]:
        """The step onto the plane and its norm."""
        if self.norm != "l1":
            return quick_step(start, grad, gain, norm=self.norm, clip=self.clip)
        move = project_onto_hyperplane(start, grad, gain, norm="l1", clip=self.clip)
        return move, projections.lp_distance(move, move * 0, self.norm)

    def _boxed(self, image: Tensor) -> Tensor:
        return image if self.clip is None else image.clamp(*self.clip)

    def _ask(self, at: Tensor) -> Tensor:
        hit = misclassified(self.queries.logits(at), self.y)
        self._note(at, hit)
        return hit

    def _note(self, at: Tensor, hit: Tensor) -> None:
        if self.norm == "linf":  # as `distance`, which is several times slower
            size = (at - self.x).abs_().flatten(1).amax(1)
        else:
            size = projections.lp_distance(at, self.x, self.norm)
        nearer = (hit & (size < self.near.size)).nonzero()[:, 0]
        if len(nearer):
            self.near.x_adv[nearer] = at[nearer]
            self.near.size[nearer] = size[nearer]


def _lead(logits: Tensor, y: Tensor, target: Tensor) -> Tensor:
    """The margin of one class over the true one; for scores (N,) there is only the margin."""
    if logits.ndim == 1:
        return margin(logits, y)
    return (logits.gather(1, target[:, None]) - logits.gather(1, y[:, None]))[:, 0]


def _keep_nearer(best: MinimalAdversarial, found: MinimalAdversarial, rows: Tensor) -> None:
    nearer = found.size < best.size[rows]
    best.x_adv[rows[nearer]] = found.x_adv[nearer]
    best.size[rows[nearer]] = found.size[nearer]


def _column(value: Tensor, like: Tensor) -> Tensor:
    return value.reshape(-1, *[1] * (like.ndim - 1))
