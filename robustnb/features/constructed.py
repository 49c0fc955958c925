"""The data sets of Ilyas et al. 2019: D_R and D_NR, D_rand and D_det, of any model and images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from robustnb import identity, tensorfile
from robustnb.attacks.losses import cross_entropy
from robustnb.attacks.projections import direction, project
from robustnb.attacks.queries import ModelQueries
from robustnb.attacks.validation import check_attack, check_batch_size, check_choice, check_labels
from robustnb.features.checks import check_examples
from robustnb.features.representation import Representation, match_representation
from robustnb.generators import check_generator
from robustnb.models.layout import fastest_layout
from robustnb.models.modes import Model, eval_mode
from robustnb.progress import progress
from robustnb.resume import path_of
from robustnb.scalars import finite, whole

_TENSORS = ("images", "labels", "partners", "old_labels", "distances")


@dataclass(frozen=True)
class ConstructedDataset:
    """Images (N, ...) with new labels (N,), and where each comes from.

    `partners` (N, ...): the image that each began at; `old_labels` (N,): the labels of the partners
    before. `distances` (N,): |image - partner|_2 where pixels were bounded, the relative distance
    of representations where those were matched. `recipe`: all settings, and digests of model and
    images, as JSON values.
    """

    images: Tensor
    labels: Tensor
    partners: Tensor
    old_labels: Tensor
    distances: Tensor
    recipe: Mapping[str, Any]

    @property
    def digest(self) -> str:
        """SHA-256 of all tensors."""
        return tensorfile.weights_digest(self._tensors())

    def save(self, path: Path | str) -> None:
        """Write tensors, recipe and digest to a safetensors file, in one step."""
        given = path_of(path)
        assert given is not None
        tensorfile.write(given, self._tensors(), {"recipe": dict(self.recipe)})

    @classmethod
    def load(cls, path: Path | str) -> ConstructedDataset:
        """What `save` wrote; robustnb.tensorfile.DamagedFile if it has changed since."""
        given = path_of(path)
        assert given is not None
        tensors, record = tensorfile.read(given)
        if set(tensors) != set(_TENSORS) or "recipe" not in record:
            raise tensorfile.DamagedFile(f"{path} holds no constructed data set")
        return cls(**tensors, recipe=record["recipe"])

    def _tensors(self) -> dict[str, Tensor]:
        return {name: getattr(self, name) for name in _TENSORS}


def representation_dataset(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    generator: torch.Generator,
    start: Literal["images", "noise"] = "images",
    steps: int = 1000,
    step: float = 0.1,
    representation: Representation | None = None,
    batch_size: int = 256,
) -> ConstructedDataset:
    """D_R of a robust model, D_NR of a standard one (Ilyas 2019, section 3.1 and table 5).

    For each image x_i (N, ...) in [0, 1] an image is found, from another one that is drawn whatever
    its label, whose representation is that of x_i; it keeps the label y_i (N,). Only features that
    the model uses are carried over. start="noise": from uniform noise, and then partners are it.
    """
    check_examples(model, x, y)
    check_choice("start", start, ("images", "noise"))
    check_generator(generator, needed="where the images start is drawn")
    if len(x) < 2:
        raise ValueError(f"x must hold at least two images, to start at another, got {len(x)}")
    if start == "noise":
        place = generator.device
        partners = torch.rand(x.shape, generator=generator, dtype=x.dtype, device=place).to(x)
        old = torch.full_like(y, -1)
    else:
        order = _another(len(x), generator).to(x.device)
        partners, old = x[order], y[order]
    images, distances = match_representation(
        model, x, partners, steps=steps, step=step, representation=representation,
        batch_size=batch_size,
    )  # fmt: skip
    recipe = {"kind": "representation", "start": start, "steps": whole("steps", steps),
              "step": finite("step", step)}  # fmt: skip
    return ConstructedDataset(
        images, y.clone(), partners, old, distances, {**recipe, **_sources(model, x, y)}
    )


def relabelled_dataset(
    model: Model,
    x: Tensor,
    y: Tensor,
    *,
    targets: Literal["random", "next"],
    classes: int,
    eps: float,
    step: float,
    steps: int = 100,
    generator: torch.Generator | None = None,
    batch_size: int = 256,
) -> ConstructedDataset:
    """D_rand and D_det (Ilyas 2019, eq. 7 and table 6): labels that only the attack makes true.

    Each image (N, ...) in [0, 1] is moved by targeted l2 steps, at most `eps` away, towards a class
    t in which it is then filed. targets="random": t uniform over all classes, the old one among
    them, from `generator`; "next": t = (y + 1) mod classes. No random start; the last iterate.
    Raises ValueError for labels y (N,) outside 0..classes-1.
    """
    check_examples(model, x, y)
    check_choice("targets", targets, ("random", "next"))
    classes, batch_size = whole("classes", classes, least=2), check_batch_size(batch_size)
    check_labels(y, x)
    if len(y) and not 0 <= int(y.min()) <= int(y.max()) < classes:
        raise ValueError(
            f"y must hold classes from 0 to {classes - 1}, got {int(y.min())} to {int(y.max())}; "
            "`classes` is the number of the model's classes"
        )
    radius, length, steps = check_attack(
        model, x, y, eps=eps, step=step, steps=steps, norm="l2", clip=(0.0, 1.0)
    )
    if not isinstance(radius, float) or not isinstance(length, float):
        raise ValueError("eps and step must be one number each, as the recipe holds them")
    if targets == "random":
        device = check_generator(generator, needed="random targets are drawn")
        draws = torch.randint(0, classes, y.shape, generator=generator, device=device)
        labels = draws.to(y)
    else:
        labels = (y + 1) % classes
    queries, found = ModelQueries(model), []
    queries.check_labels(y, labels)
    with (
        progress("relabelled images", total=len(x)) as bar,
        eval_mode(model),
        fastest_layout(model),
    ):
        for first in range(0, len(x), batch_size):
            rows = slice(first, first + batch_size)
            found.append(_towards(queries, x[rows], labels[rows], radius, length, steps))
            bar.advance(len(found[-1]))
    images = torch.cat(found) if found else x.clone()
    distances = (images - x).flatten(1).norm(dim=1)
    recipe = {"kind": "relabelled", "targets": targets, "classes": classes, "eps": radius,
              "step": length, "steps": steps}  # fmt: skip
    return ConstructedDataset(
        images, labels, x.clone(), y.clone(), distances, {**recipe, **_sources(model, x, y)}
    )


def _towards(
    queries: ModelQueries, x: Tensor, labels: Tensor, eps: float, step: float, steps: int
) -> Tensor:
    """x after steps of one length towards `labels`, each put back into the ball, then the box.

    That is the paper's order. It never leaves the ball, as the box holds x; the nearest point of
    both together, which `pgd` takes, costs a sixth of the whole. Rounding is mended at the end.
    """
    x = x.detach()
    at = x
    for _ in range(steps):
        grad = queries.loss_and_grad(at, labels, cross_entropy).grad
        assert grad is not None
        moved = at.sub(direction(grad, "l2"), alpha=step).sub_(x)
        far = torch.linalg.vector_norm(moved.flatten(1), dim=1).clamp_min(eps)
        column = (eps / far).reshape(-1, *[1] * (x.ndim - 1)) if eps else 0.0
        at = moved.mul_(column).add_(x).clamp_(0, 1)
    return project(at, x, eps=eps, norm="l2")


def _another(count: int, generator: torch.Generator) -> Tensor:
    """For each of `count` numbers another one, drawn at random: a permutation moved by one."""
    order = torch.randperm(count, generator=generator, device=generator.device)
    other = torch.empty_like(order)
    other[order] = order.roll(1)
    return other


def _sources(model: Model, x: Tensor, y: Tensor) -> dict[str, Any]:
    """Digests of the images and labels, and what is known of the model."""
    return {
        "data": tensorfile.weights_digest({"x": x, "y": y}),
        "model": identity.weights(model),
    }
