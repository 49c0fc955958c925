"""Free adversarial training beside PGD training: time of an epoch, and time to equal robustness.

Free training with m = steps + 1 replays makes as many passes in an epoch as PGD training with that
many steps, so epochs cost the same by arithmetic; what it saves must come from fewer epochs. Both
are trained for growing numbers of epochs from the same weights, on one thread and interleaved, and
scored by PGD-20 on held-out training images. Time to the robustness that both reach is interpolated
along each curve of means. Written to results/free_training.json.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import mean

import numpy as np
import torch
from measure import circumstances, interleaved, medians

from robustnb.data import load, subset
from robustnb.models import build
from robustnb.training import (
    fit,
    free_training,
    pgd_training,
    robust_accuracy,
    standard,
    train_val_split,
    triangular,
)

RESULTS = Path(__file__).parent / "results" / "free_training.json"
EPS, STEPS, LR, BATCH, HELD_OUT = 0.1, 7, 0.05, 128, 500
EPOCHS = (1, 2, 4)


def trainings(images: int, repeats: int) -> dict[str, dict[str, object]]:
    """Seconds and scores of every kind of training and number of epochs."""
    draws = torch.Generator().manual_seed(0)
    x, y = subset(*load("fashion_mnist", "train"), size=images + HELD_OUT, generator=draws)
    x, y, x_val, y_val = train_val_split(x, y, size=HELD_OUT, generator=draws)
    score = robust_accuracy(x_val, y_val, eps=EPS, step=EPS / 8, steps=20)
    kinds = {
        "natural": standard,
        f"pgd-{STEPS}": lambda: pgd_training(eps=EPS, step=EPS / 4, steps=STEPS),
        f"free-{STEPS + 1}": lambda: free_training(eps=EPS, replays=STEPS + 1),
    }
    scores: dict[str, list[float]] = {}

    def train(kind: str, epochs: int) -> None:
        found = scores.setdefault(f"{kind}, {epochs}", [])
        seeded = torch.Generator().manual_seed(len(found))
        net = build("light_cnn", generator=seeded)
        fit(net, x, y, objective=kinds[kind](), epochs=epochs, batch_size=BATCH, lr=LR,
            schedule=triangular(epochs=epochs), generator=seeded)  # fmt: skip
        found.append(float(score(net)))

    jobs = {f"{kind}, {n}": lambda kind=kind, n=n: train(kind, n) for kind in kinds for n in EPOCHS}
    seconds = interleaved(jobs, repeats)
    return {name: {**medians(seconds[name]), "robust": scores[name]} for name in jobs}


def to_reach(rows: dict[str, dict[str, object]], kind: str, share: float) -> float:
    """CPU seconds until a kind of training has a robust accuracy, interpolated."""
    own = [rows[f"{kind}, {n}"] for n in EPOCHS]
    heights = np.maximum.accumulate([mean(row["robust"]) for row in own])
    return float(np.interp(share, heights, [row["cpu_seconds"] for row in own]))


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--images", type=int, default=4000)
    given = parser.parse_args()
    torch.set_num_threads(1)
    pgd, free = f"pgd-{STEPS}", f"free-{STEPS + 1}"
    found: dict[str, object] = circumstances([])
    rows = trainings(given.images, given.repeats)
    best = {k: max(mean(rows[f"{k}, {n}"]["robust"]) for n in EPOCHS) for k in (pgd, free)}
    both = min(best.values())
    spent = {k: to_reach(rows, k, both) for k in (pgd, free)}
    epoch = {k: rows[f"{k}, {EPOCHS[-1]}"]["cpu_seconds"] / EPOCHS[-1] for k in (pgd, free)}
    found |= {
        "images": given.images, "rows": rows,
        "seconds_an_epoch": epoch, "free_over_pgd_an_epoch": epoch[free] / epoch[pgd],
        "robust_accuracy_that_both_reach": both, "seconds_to_reach_it": spent,
        "pgd_over_free_to_reach_it": spent[pgd] / spent[free],
    }  # fmt: skip
    RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
