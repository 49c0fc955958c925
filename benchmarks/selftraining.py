"""Self-training in the Gaussian model: the law of a few numbers beside training sets in full.

How long the exact law of Theorem 2 takes as the dimension grows, and how much memory; and whether
it agrees with a simulation that draws every coordinate of every point. One thread. Writes
benchmarks/results/selftraining.json.
"""

from __future__ import annotations

import argparse
import json
import math
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from measure import circumstances, interleaved, medians

from robustnb.theory.carmon2019 import Regime, self_trained_law, simulate_self_training

FACTOR = 288  # unlabelled points in units of n0 k, as the theorem asks for
RESULTS = Path(__file__).parent / "results" / "selftraining.json"


def sized(d: int, n0: int, eps: float, factor: float) -> tuple[Regime, int]:
    """A regime, and `factor` n0 k unlabelled points in it."""
    regime = Regime(d=d, n0=n0, eps=eps)
    return regime, math.ceil(factor * n0 * regime.strength)


def law(regime: Regime, unlabelled: int, draws: int) -> None:
    """Training sets by the law, with n0 labels."""
    rng = np.random.default_rng(0)
    self_trained_law(rng, regime, n=regime.n0, unlabelled=unlabelled, draws=draws)


def peak_mb(job: Callable[[], None]) -> float:
    """Most memory that numpy held at once, in MB."""
    tracemalloc.start()
    job()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak / 1e6


def speed(repeats: int, draws: int) -> list[dict[str, object]]:
    """The law at one strength k and at ever larger dimensions."""
    sizes = {f"d = 1e{power}": 10**power for power in (4, 6, 8, 10, 12)}
    jobs = {}
    for name, d in sizes.items():
        eps = math.sqrt(125 / math.sqrt(d / 4)) if d > 10**6 else 0.5
        jobs[name] = partial(law, *sized(d, 4, eps, FACTOR), draws)
    seconds = interleaved(jobs, repeats)
    return [
        {"name": name, **medians(seconds[name]), "peak_mb": peak_mb(job)}
        for name, job in jobs.items()
    ]


def agree(d: int, draws: int) -> dict[str, object]:
    """Standard errors between the law's and the full simulation's means; both cosines."""
    regime, unlabelled = sized(d, 4, 0.5, 2)
    rng, other = np.random.default_rng((1, d)), np.random.default_rng((2, d))
    short = self_trained_law(rng, regime, n=4, unlabelled=unlabelled, draws=draws)
    full = simulate_self_training(
        other, np.ones(d), sigma=regime.sigma, n=4, unlabelled=unlabelled, draws=draws
    )
    found: dict[str, object] = {"d": d, "unlabelled": unlabelled, "draws": draws}
    for name in ("first", "agreement", "pull", "cosine"):
        a, b = getattr(short, name), getattr(full, name)
        error = math.hypot(a.std(ddof=1), b.std(ddof=1)) / math.sqrt(draws)
        law_mean, full_mean = float(a.mean()), float(b.mean())
        found[name] = {
            "law": law_mean, "full": full_mean, "errors": (law_mean - full_mean) / error
        }  # fmt: skip
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--draws", type=int, default=20, help="training sets for each time")
    parser.add_argument("--sets", type=int, default=1000, help="training sets for the agreement")
    given = parser.parse_args()
    before = circumstances(["numpy"])
    result = {
        "schema": 1,
        **before,
        "draws": given.draws,
        "rows": speed(given.repeats, given.draws),
        "agreement": [agree(d, given.sets) for d in (1_000, 3_000, 10_000)],
    }
    RESULTS.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    for row in result["rows"]:
        print(f"{row['name']:10s} {row['cpu_seconds']:8.3f} CPU-s  {row['peak_mb']:6.1f} MB")
    for row in result["agreement"]:
        print(f"d = {row['d']}: cosine {row['cosine']}")


if __name__ == "__main__":
    main()
