"""Error against CPU seconds of the three solvers, for softmax regression on MNIST.

The error is that of H^-1 v relative to the exact solution in float64, the largest of the test
images. CG and LiSSA stop at growing accuracy; the exact solver is one point. A setting stops paying
where another solver is at least as exact in less time. Written with its picture to
benchmarks/results/influence_solvers.json and .svg; `--draw` only reads the first again.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from measure import circumstances
from torch import Tensor

from robustnb import data
from robustnb.influence import (
    CG,
    Cholesky,
    EmpiricalRisk,
    LinearClassifier,
    LiSSA,
    Solution,
    cross_entropy,
    empirical_risk,
    fit_risk,
)
from robustnb.lesson import plot

RESULTS = Path(__file__).parent / "results" / "influence_solvers.json"
L2 = 0.01
TOLERANCES = (0.3, 0.1, 0.03, 0.01, 1e-3, 1e-4, 1e-6, 1e-8)
DEPTHS = (100, 300, 1_000, 3_000, 10_000)
SCALE, REPEATS = 25.0, 10  # the paper's
Point = dict[str, Any]
Curves = dict[str, list[Point]]


def problem(n: int, tests: int) -> tuple[EmpiricalRisk, Tensor]:
    """The fitted risk, and the gradients (p, tests) of test losses."""
    x, y = data.load("mnist", "train", limit=n)
    x_test, y_test = data.load("mnist", "test", limit=tests)
    model = LinearClassifier(784, classes=10).double()
    risk = fit_risk(
        empirical_risk(model, cross_entropy, data.to_unit(x).double(), y, l2=L2), tol=1e-9
    )
    gradients = risk.data_gradients(data.to_unit(x_test).double(), y_test)
    return risk, gradients.T.contiguous()


def timed(solve: Callable[[], Solution], exact: Tensor) -> Point:
    """CPU seconds, and the largest relative error over the columns."""
    began = time.process_time()
    found = solve().x
    seconds = time.process_time() - began
    error = (found - exact).norm(dim=0) / exact.norm(dim=0)
    return {"cpu_seconds": seconds, "error": float(error.max())}


def measured(risk: EmpiricalRisk, v: Tensor) -> Curves:
    """The points of each curve."""
    exact = CG(tol=1e-13).solve(risk, v).x
    stochastic = [
        LiSSA(torch.Generator().manual_seed(0), scale=SCALE, depth=depth, repeats=REPEATS)
        for depth in DEPTHS
    ]
    solvers = {
        "CG": {f"tol {tol:g}": CG(tol=tol) for tol in TOLERANCES},
        "LiSSA": {f"depth {solver.depth:,}": solver for solver in stochastic},
        "Cholesky": {"exact": Cholesky()},
    }
    return {
        name: [{"setting": setting, **timed(lambda s=solver: s.solve(risk, v), exact)}
               for setting, solver in some.items()]
        for name, some in solvers.items()
    }  # fmt: skip


def paying(curves: Curves) -> dict[str, list[str]]:
    """The settings of each solver that nothing else beats in both error and CPU seconds."""
    every = [(name, point) for name, points in curves.items() for point in points]

    def beaten(point: Point, name: str) -> bool:
        return any(other["error"] <= point["error"] and other["cpu_seconds"] < point["cpu_seconds"]
                   for of, other in every if of != name)  # fmt: skip

    return {name: [point["setting"] for point in points if not beaten(point, name)]
            for name, points in curves.items()}  # fmt: skip


def break_even(first: Curves, second: Curves, tests: Sequence[int]) -> dict[str, float]:
    """Test images from which one factor is quicker than CG, for each tolerance of CG.

    The seconds of both are taken to be linear in the number of test images.
    """
    low, high = tests

    def line(one: Point, two: Point) -> tuple[float, float]:
        slope = (two["cpu_seconds"] - one["cpu_seconds"]) / (high - low)
        return one["cpu_seconds"] - slope * low, slope

    start, more = line(first["Cholesky"][0], second["Cholesky"][0])
    found = {}
    for one, two in zip(first["CG"], second["CG"], strict=True):
        own_start, own_more = line(one, two)
        if own_more > more:
            found[one["setting"]] = (start - own_start) / (own_more - more)
    return found


def drawn(told: dict[str, Curves], file: Path) -> None:
    """One panel for each number of test images; right of the line a factor is quicker."""
    fig, axes = plot.figure("wide", 0.45, panels=len(told))
    for ax, (title, curves) in zip(axes, told.items(), strict=True):
        for k, (name, points) in enumerate(curves.items()):
            seconds = [point["cpu_seconds"] for point in points]
            ax.plot(seconds, [p["error"] for p in points], label=name, **plot.style_of(k))
        ax.axvline(curves["Cholesky"][0]["cpu_seconds"], color="0.6", linewidth=1, zorder=1)
        ax.set(xscale="log", yscale="log", title=title, xlabel="CPU seconds")
    axes[0].set(ylabel="relative error")
    axes[0].legend()
    fig.savefig(file)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=5_000)
    parser.add_argument("--tests", type=int, nargs=2, default=[1, 10])
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--draw", action="store_true", help="measure nothing")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.draw:
        result = json.loads(given.out.read_text(encoding="utf-8"))
    else:
        told = {}
        for tests in given.tests:
            risk, v = problem(given.n, tests)
            told[f"{tests} test image{'s' if tests > 1 else ''}"] = measured(risk, v)
        result = {"n": given.n, "p": risk.p, "l2": L2, "tests": given.tests, "curves": told,
                  **circumstances(())}  # fmt: skip
    curves = result["curves"]
    result["paying"] = {title: paying(some) for title, some in curves.items()}
    result["factor_pays_from"] = break_even(*curves.values(), result["tests"])
    given.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    drawn(curves, given.out.with_suffix(".svg"))
    print(json.dumps({key: result[key] for key in ("paying", "factor_pays_from")}, indent=1))


if __name__ == "__main__":
    main()
