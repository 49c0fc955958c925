"""The labels and the learning rates of carmon2019 at the laptop size, on validation images.

Usage: python benchmarks/choose_selftraining.py

Unlabeled images can help only where their true labels would. So the number of labeled images is the
largest of LABELS at which true labels of the unlabeled images raise robust accuracy by at least the
7.1 points that the paper reports for pseudo-labels, each side at its own best rate. Pseudo-labels
are not looked at for this choice.

Then every kind of training gets the same rates, the same two seeds and the same budget, and keeps
the rate with the best mean validation score: accuracy under PGD for those with an adversary,
natural accuracy for those without, accuracy on noisy images for stability training. No claim uses
these seeds, and no test image is read. Plain training comes before what its network labels. Other
sizes are those of notebooks/profiles.yaml. Writes benchmarks/results/choose_selftraining.json. The
file that is kept was made in two calls: 1,000 labels with the rates 0.002, 0.004, 0.008 and 0.016,
then 200 labels with those below.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import torch

from robustnb.data import load, subset, to_unit
from robustnb.lesson import Experiment
from robustnb.models import build
from robustnb.reproduce.profiles import load as load_profiles
from robustnb.reproduce.project import find
from robustnb.training import (
    corrupt_labels,
    cosine,
    fit,
    natural_accuracy,
    pseudo_labels,
    robust_accuracy,
    self_training,
    stability_training,
    standard,
    trades,
)

ARMS = (
    "plain", "selftrained", "baseline", "rst", "oracle", "noisy", "baseline-stab", "rst-stab",
    "oracle-stab",
)  # fmt: skip
LABELS, HEADROOM = (1000, 200), 0.071
RATES, SEEDS = (0.001, 0.0025, 0.0063, 0.016, 0.04), (100, 101)
DEFAULTS = {"eps": 0.1, "travel": 2.5, "beta": 6.0, "sigma": 0.25}  # of the parameters cell
VALIDATION = 1000


class Pilot:
    """One seed's data, the objectives of its arms, and the score of each."""

    def __init__(self, seed: int, size: dict[str, Any]) -> None:
        self.size, self.seeded = size, Experiment(seed).seeded
        parts = [size["train_size"], size["pseudo_size"], VALIDATION]
        images, labels = subset(
            *load(size["dataset"], "train"), size=sum(parts), generator=self.seeded()
        )
        self.x, self.x_pool, self.x_val = images.split(parts)
        self.y, self.y_pool, self.y_val = labels.split(parts)

    def objective(self, arm: str, labelled: torch.Tensor) -> Any:
        size, half = self.size, {"share": 0.5, "classes": 10, "generator": self.seeded(4)}
        attack = {"eps": size["eps"], "step": size["travel"] * size["eps"] / size["steps"]}
        robust = trades(beta=size["beta"], steps=size["steps"], **attack)
        stable = stability_training(beta=size["beta"], sigma=size["sigma"])
        kind = stable if arm.endswith("stab") else robust
        if arm in ("plain", "selftrained"):
            kind = standard()
        if arm in ("plain", "baseline", "baseline-stab"):
            return kind
        labels = {"noisy": corrupt_labels(labelled, **half)}
        labels |= dict.fromkeys(("oracle", "oracle-stab"), self.y_pool)
        return self_training(kind, self.x_pool, labels.get(arm, labelled))

    def train(self, arm: str, lr: float, labelled: torch.Tensor) -> torch.nn.Module:
        """One training as in the notebook, on one thread."""
        torch.set_num_threads(1)
        size, alone = self.size, arm in ("plain", "baseline", "baseline-stab")
        per_epoch = size["train_size"] // size["batch_size"]
        epochs = size["updates"] // per_epoch
        net = build("light_cnn", generator=self.seeded(2))
        fit(
            net, self.x, self.y, objective=self.objective(arm, labelled), lr=lr, epochs=epochs,
            batch_size=size["batch_size"] // (1 if alone else 2), max_batches=per_epoch,
            optimizer="adam", schedule=cosine(epochs=epochs), generator=self.seeded(3),
        )  # fmt: skip
        return net

    def score(self, arm: str, net: torch.nn.Module) -> float:
        x, eps = to_unit(self.x_val), self.size["eps"]
        if arm in ("plain", "selftrained"):
            return natural_accuracy(x, self.y_val)(net)
        if arm.endswith("stab"):
            noise = torch.randn(x.shape, generator=self.seeded(5))
            return natural_accuracy(x + self.size["sigma"] * noise, self.y_val)(net)
        return robust_accuracy(x, self.y_val, eps=eps, step=eps / 4, steps=10)(net)


Pilots = Sequence[Pilot]
Labels = Sequence[torch.Tensor]


def best_rate(arm: str, pilots: Pilots, labelled: Labels) -> tuple[dict[str, Any], list[Any]]:
    """The scores of an arm at every rate, the chosen rate, and the networks trained with it."""
    found = {}
    for lr in RATES:
        nets = [pilot.train(arm, lr, y) for pilot, y in zip(pilots, labelled, strict=True)]
        scores = [p.score(arm, net) for p, net in zip(pilots, nets, strict=True)]
        found[lr] = scores, nets
    best = max(RATES, key=lambda lr: mean(found[lr][0]))
    told = {"validation": {str(lr): found[lr][0] for lr in RATES}, "chosen": best}
    print(arm, told, flush=True)
    return told, found[best][1]


def headroom(pilots: Pilots) -> dict[str, Any]:
    """What true labels add to the labeled images alone, each at its best rate."""
    labelled = [pilot.y_pool for pilot in pilots]
    arms = {arm: best_rate(arm, pilots, labelled)[0] for arm in ("baseline", "oracle")}
    score = {arm: mean(told["validation"][str(told["chosen"])]) for arm, told in arms.items()}
    return {"gain": round(score["oracle"] - score["baseline"], 6), "arms": arms}


def choose(size: dict[str, Any]) -> dict[str, Any]:
    """The number of labels with headroom, and the rate of every arm there."""
    results: dict[str, Any] = {"seeds": SEEDS, "headroom": {}}
    for labels in LABELS:
        pilots = [Pilot(seed, {**size, "train_size": labels}) for seed in SEEDS]
        found = results["headroom"][str(labels)] = headroom(pilots)
        print(labels, "labels: true labels add", found["gain"], flush=True)
        if found["gain"] >= HEADROOM:
            break
    results["train_size"] = labels
    results.update(found.pop("arms"))
    labelled = [pilot.y_pool for pilot in pilots]
    for arm in ARMS:
        if arm in results:
            continue
        results[arm], nets = best_rate(arm, pilots, labelled)
        if arm == "plain":  # the intermediate model
            labelled = [pseudo_labels(n, p.x_pool) for n, p in zip(nets, pilots, strict=True)]
    return results


def main() -> None:
    project = find()
    size = DEFAULTS | load_profiles(project.notebooks)["laptop"].papers["carmon2019"]
    path: Path = project.root / "benchmarks" / "results" / "choose_selftraining.json"
    path.write_text(json.dumps(choose(size), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
