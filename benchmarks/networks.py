"""The networks that the speed comparisons attack, trained here once and kept in build/benchmarks.

mnist_robust and mnist_natural are LightCNN on the embedded MNIST digits, cifar_robust is a
WRN-10-1 (a CIFAR residual network narrow enough to train on one CPU core) on CIFAR-10.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from robustnb import data
from robustnb.attacks import pgd
from robustnb.models import build

KEPT = Path(__file__).resolve().parents[1] / "build" / "benchmarks"


class Recipe(NamedTuple):
    """How a network is made. `ascent` steps of PGD for every training image, 0 for none."""

    model: str
    settings: dict[str, object]
    data: str
    eps: float
    ascent: int
    steps: int
    batch: int
    rate: float


RECIPES = {
    "mnist_robust": Recipe("light_cnn", {}, "mnist_embedded", 0.3, 10, 400, 100, 2e-3),
    "mnist_natural": Recipe("light_cnn", {}, "mnist_embedded", 0.3, 0, 120, 100, 2e-3),
    "cifar_robust": Recipe(
        "wide_resnet", {"depth": 10, "widen": 1}, "cifar10", 8 / 255, 2, 2400, 64, 0.15
    ),
}


def network(name: str) -> nn.Module:
    """The network of that name in evaluation mode, from its file or trained."""
    recipe = RECIPES[name]
    model = build(recipe.model, generator=torch.Generator().manual_seed(0), **recipe.settings)
    mark = hashlib.sha256(json.dumps([recipe, torch.__version__]).encode()).hexdigest()[:12]
    path = KEPT / f"{name}-{mark}.pt"
    if path.exists():
        model.load_state_dict(torch.load(path, weights_only=True))
        return model.eval()
    _train(model, recipe)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(model.state_dict(), path)
    return model.eval()


def examples(name: str, count: int) -> tuple[Tensor, Tensor]:
    """The first images and labels on which that network is attacked."""
    recipe = RECIPES[name]
    split = "test" if recipe.data == "cifar10" else "train"  # the embedded digits are few
    images, labels = data.load(recipe.data, split, limit=count)
    return data.to_unit(images), labels


def _train(model: nn.Module, recipe: Recipe) -> None:
    images, labels = data.load(recipe.data, "train")
    generator = torch.Generator().manual_seed(0)
    optimizer = _optimizer(model, recipe)
    for step in range(recipe.steps):
        done = step / recipe.steps
        for group in optimizer.param_groups:
            group["lr"] = recipe.rate * min(1.0, 10 * done + 0.1, 1.2 * (1 - done) + 0.01)
        rows = torch.randint(len(images), (recipe.batch,), generator=generator)
        x, y = data.to_unit(images[rows]), labels[rows]
        if recipe.ascent:
            eps = recipe.eps * min(1.0, 2 * done + 0.1)  # full from the start never gets going
            x = pgd(
                model, x, y, eps=eps, step=2.5 * eps / recipe.ascent / 1.7, steps=recipe.ascent,
                keep="last", generator=generator,
            )  # fmt: skip
        optimizer.zero_grad()
        nn.functional.cross_entropy(model.train()(x), y).backward()
        optimizer.step()


def _optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    if recipe.data == "cifar10":
        return torch.optim.SGD(
            model.parameters(), lr=recipe.rate, momentum=0.9, weight_decay=5e-4, nesterov=True
        )
    return torch.optim.Adam(model.parameters(), lr=recipe.rate)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=list(RECIPES))
    torch.set_num_threads(1)
    network(parser.parse_args().name)
