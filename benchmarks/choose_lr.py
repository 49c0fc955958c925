"""The learning rate of each kind of training of zhang2019, chosen on validation images.

Usage: python benchmarks/choose_lr.py
Every kind gets the same grid, seeds and budget. The seeds are none that a claim uses, and the
score is accuracy on images held out of training, attacked where the training is. The laptop sizes
are those of notebooks/profiles.yaml. Writes benchmarks/results/choose_lr.json.
"""

from __future__ import annotations

import itertools
import json
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from statistics import mean

import torch

from robustnb.data import load, subset
from robustnb.models import build
from robustnb.reproduce.profiles import load as load_profiles
from robustnb.reproduce.project import find
from robustnb.training import (
    hold_out,
    milestones,
    natural_accuracy,
    pgd_training,
    robust_accuracy,
    standard,
    trades,
)
from robustnb.training.fit import fit

GRID = (0.025, 0.05, 0.1)
SEEDS = (100, 101)
EPS = 0.1
BETAS = (0.3, 1.0, 3.0, 6.0)


def score(kind: str, lr: float, seed: int, size: dict[str, object]) -> float:
    """Validation accuracy of one training, on one thread as in a run."""
    torch.set_num_threads(1)

    def seeded(offset: int = 0) -> torch.Generator:
        return torch.Generator().manual_seed(1000 * seed + offset)

    held, train_size = int(size["val_size"]), int(size["train_size"])
    images, labels = subset(
        *load(str(size["dataset"]), "train"), size=train_size + held, generator=seeded()
    )
    x, y, x_val, y_val = hold_out(images, labels, size=held, generator=seeded(1))
    attack = {"eps": EPS, "step": size["step"], "steps": size["steps"]}
    objectives = {f"trades-{beta:g}": trades(beta=beta, **attack) for beta in BETAS}
    objectives |= {"pgd": pgd_training(**attack), "natural": standard()}
    robust = robust_accuracy(x_val, y_val, eps=EPS, step=EPS / 4, steps=10)
    validate = natural_accuracy(x_val, y_val) if kind == "natural" else robust
    net = build("light_cnn", generator=seeded(3))
    history = fit(
        net, x, y, objective=objectives[kind], generator=seeded(2), validate=validate, lr=lr,
        epochs=int(size["epochs"]), batch_size=int(size["batch_size"]),
        schedule=milestones(*size["drops"]),
    )  # fmt: skip
    return max(epoch.score or 0.0 for epoch in history.epochs)


def main() -> None:
    project = find()
    size = load_profiles(project.notebooks)["laptop"].papers["zhang2019"]
    kinds = [*(f"trades-{beta:g}" for beta in BETAS), "pgd", "natural"]
    cells = list(itertools.product(kinds, GRID, SEEDS))
    with ProcessPoolExecutor(max_workers=2, mp_context=get_context("spawn")) as pool:
        futures = {cell: pool.submit(score, *cell, size) for cell in cells}
        scores = {cell: future.result() for cell, future in futures.items()}
    results = {}
    for kind in kinds:
        found = {lr: [scores[kind, lr, seed] for seed in SEEDS] for lr in GRID}
        best = max(found, key=lambda lr: mean(found[lr]))
        results[kind] = {"validation": {str(lr): v for lr, v in found.items()}, "chosen": best}
        print(kind, results[kind])
    path = project.root / "benchmarks" / "results" / "choose_lr.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"seeds": SEEDS, **results}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
