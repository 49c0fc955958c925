"""The learning rate and schedule of zhang2019 at the laptop size, chosen on validation images.

Usage: python benchmarks/choose_lr.py [rates] [schedules]

rates: every kind of training gets the same three rates, constant with a drop to a tenth, the same
seeds and the same budget; the best mean validation score is chosen. schedules: PGD training, which
is the least stable, on further seeds with that schedule and with one that rises and falls. No claim
uses these seeds. Scores are accuracies on images held out of training, attacked where the training
is. The other sizes are those of notebooks/profiles.yaml. Writes benchmarks/results/choose_lr.json.
"""

from __future__ import annotations

import itertools
import json
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import mean
from typing import Any

import torch

from robustnb.data import load, subset
from robustnb.lesson import Experiment
from robustnb.models import build
from robustnb.reproduce.profiles import load as load_profiles
from robustnb.reproduce.project import find
from robustnb.training import (
    fit,
    milestones,
    natural_accuracy,
    pgd_training,
    robust_accuracy,
    standard,
    trades,
    train_val_split,
    triangular,
)

EPS = 0.1
BETAS = (0.3, 1.0, 3.0, 6.0)
KINDS = (*(f"trades-{beta:g}" for beta in BETAS), "pgd", "natural")
RATES, RATE_SEEDS = (0.025, 0.05, 0.1), (100, 101)
SCHEDULES, SCHEDULE_SEEDS = ("constant, drop at 4", "rise and fall"), (103, 104, 105, 106, 107)
DROP, PEAK = 4, 0.3


def scores(kind: str, lr: float, schedule: str, seed: int, size: dict[str, Any]) -> list[float]:
    """Validation accuracy after each epoch of one training, on one thread as in a run."""
    torch.set_num_threads(1)
    seeded = Experiment(seed).seeded
    total = size["train_size"] + size["val_size"]
    images, labels = subset(*load(size["dataset"], "train"), size=total, generator=seeded())
    x, y, x_val, y_val = train_val_split(images, labels, size=size["val_size"], generator=seeded(1))
    attack = {"eps": EPS, "step": size["step"], "steps": size["steps"]}
    objectives = {f"trades-{beta:g}": trades(beta=beta, **attack) for beta in BETAS}
    objectives |= {"pgd": pgd_training(**attack), "natural": standard()}
    validate = robust_accuracy(x_val, y_val, eps=EPS, step=EPS / 4, steps=10)
    if kind == "natural":
        validate = natural_accuracy(x_val, y_val)
    falling = triangular(epochs=size["epochs"], peak=PEAK)
    history = fit(
        build("light_cnn", generator=seeded(3)), x, y, objective=objectives[kind],
        generator=seeded(2), validate=validate,
        lr=lr, epochs=size["epochs"], batch_size=size["batch_size"],
        schedule=milestones(DROP) if schedule == SCHEDULES[0] else falling,
    )  # fmt: skip
    return [epoch.score or 0.0 for epoch in history.epochs]


def train_all(cells: list[tuple[Any, ...]], size: dict[str, Any]) -> dict[Any, list[float]]:
    with ProcessPoolExecutor(max_workers=2, mp_context=get_context("spawn")) as pool:
        futures = {cell: pool.submit(scores, *cell, size) for cell in cells}
        return {cell: future.result() for cell, future in futures.items()}


def rates(size: dict[str, Any]) -> dict[str, Any]:
    constant = SCHEDULES[0]
    found = train_all(list(itertools.product(KINDS, RATES, [constant], RATE_SEEDS)), size)
    results: dict[str, Any] = {"schedule": constant, "seeds": RATE_SEEDS}
    for kind in KINDS:
        best = {lr: [max(found[kind, lr, constant, s]) for s in RATE_SEEDS] for lr in RATES}
        chosen = max(best, key=lambda lr: mean(best[lr]))
        results[kind] = {"validation": {str(lr): v for lr, v in best.items()}, "chosen": chosen}
    return results


def schedules(size: dict[str, Any]) -> dict[str, Any]:
    rate = max(RATES)
    found = train_all(list(itertools.product(["pgd"], [rate], SCHEDULES, SCHEDULE_SEEDS)), size)
    return {"kind": "pgd", "lr": rate} | {
        name: {str(seed): found["pgd", rate, name, seed] for seed in SCHEDULE_SEEDS}
        for name in SCHEDULES
    }


def main() -> None:
    project = find()
    size = load_profiles(project.notebooks)["laptop"].papers["zhang2019"]
    path: Path = project.root / "benchmarks" / "results" / "choose_lr.json"
    results = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    for stage in sys.argv[1:] or ["rates", "schedules"]:
        results[stage] = {"rates": rates, "schedules": schedules}[stage](size)
        print(json.dumps(results[stage], indent=1))
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
