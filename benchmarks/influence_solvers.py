"""Error against CPU seconds of the three solvers, for softmax regression on MNIST.

The error is that of H^-1 v relative to the exact solution in float64, the largest of the test
images. CG and LiSSA stop at growing accuracy; the exact solver is one point. Written with its
picture to benchmarks/results/influence_solvers.json and .svg.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

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


def timed(solve: Callable[[], Solution], exact: Tensor) -> dict[str, float]:
    """CPU seconds, and the largest relative error over the columns."""
    began = time.process_time()
    found = solve().x
    seconds = time.process_time() - began
    error = (found - exact).norm(dim=0) / exact.norm(dim=0)
    return {"cpu_seconds": seconds, "error": float(error.max())}


def measured(risk: EmpiricalRisk, v: Tensor) -> dict[str, list[dict[str, float]]]:
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


def drawn(told: dict[str, dict[str, list[dict[str, float]]]], file: Path) -> None:
    """One panel for each number of test images."""
    fig, axes = plot.figure("wide", 0.45, panels=len(told))
    for ax, (title, curves) in zip(axes, told.items(), strict=True):
        for k, (name, points) in enumerate(curves.items()):
            seconds = [point["cpu_seconds"] for point in points]
            ax.plot(seconds, [p["error"] for p in points], label=name, **plot.style_of(k))
        ax.set(xscale="log", yscale="log", title=title, xlabel="CPU seconds")
    axes[0].set(ylabel="relative error")
    axes[0].legend()
    fig.savefig(file)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=5_000)
    parser.add_argument("--tests", type=int, nargs=2, default=[1, 10])
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    told = {}
    for tests in given.tests:
        risk, v = problem(given.n, tests)
        told[f"{tests} test image{'s' if tests > 1 else ''}"] = measured(risk, v)
    result = {"n": given.n, "p": risk.p, "l2": L2, "curves": told, **circumstances(())}
    given.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    drawn(told, given.out.with_suffix(".svg"))


if __name__ == "__main__":
    main()
