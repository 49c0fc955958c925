"""All influences of a model of MNIST for ten test images, by us and by peers.

The models are softmax regression and, with `--model cnn`, the paper's network of 2,616 parameters,
stopped before a minimum; what is added to the Hessian is the decay of the first, and one and a half
times the most negative eigenvalue of the second.

Each method runs in a process of its own, so that its peak memory is its own, and is not timed until
a first call on a few images has loaded what it imports; the order rotates from repeat to repeat,
and CPU seconds count. Scores are compared with exact ones, of CG in float64 to a residual of 1e-10.
Written to benchmarks/results/influence.json or influence_cnn.json. Needs `make peers` and
benchmarks/requirements.txt.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from measure import circumstances, peer_missing
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from robustnb import data
from robustnb.influence import (
    CG,
    EmpiricalRisk,
    adam_steps,
    empirical_risk,
    extreme_eigenvalues,
    fit_risk,
    up_loss,
)
from robustnb.influence.autodiff import ModelRisk
from robustnb.models import build

RESULTS = Path(__file__).parent / "results"
L2, CHUNK, PRODUCTS = 0.01, 5_500, 200
STEPS, BATCH, RATE = 3_000, 500, 0.003  # of Adam, for the network
_WARM = 300  # images of the first call, which is not timed
State = dict[str, Tensor]
Given = dict[str, Any]


def model_of(state: State) -> nn.Module:
    """Softmax regression with a bias, or the network, by the names of its weights."""
    softmax = "1.weight" in state and state["1.weight"].shape == (10, 784)
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 10)) if softmax else build("tanh_cnn")
    model = model.to(next(iter(state.values())).dtype)
    model.load_state_dict(state)
    return model


def risk_of(state: State, x: Tensor, y: Tensor, l2: float = 0.0) -> EmpiricalRisk:
    return empirical_risk(model_of(state), cross_entropy_each, x, y, l2=l2, decay="outside")


def cross_entropy_each(logits: Tensor, y: Tensor) -> Tensor:
    return cross_entropy(logits, y, reduction="none")


def prepared(model: str, n: int, tests: int) -> Given:
    """Data, weights, what is added to the Hessian, and exact scores."""
    x, y = (part[5_000 : 5_000 + n] for part in data.load("mnist", "train"))
    x_test, y_test = data.load("mnist", "test", limit=tests)
    x, x_test = data.to_unit(x).double(), data.to_unit(x_test).double()
    given: Given = {"x": x, "y": y, "x_test": x_test, "y_test": y_test}
    if model == "softmax":
        state = {"1.weight": torch.zeros(10, 784), "1.bias": torch.zeros(10)}
        risk = fit_risk(risk_of({k: v.double() for k, v in state.items()}, x, y, L2), tol=1e-9)
        given["added"] = L2
    else:
        state = build("tanh_cnn", generator=torch.Generator().manual_seed(0)).state_dict()
        start = risk_of({k: v.double() for k, v in state.items()}, x, y)
        assert isinstance(start, ModelRisk)
        risk = start.at(adam_steps(start, steps=STEPS, batch_size=BATCH, lr=RATE, seed=1))
        least, _ = extreme_eigenvalues(risk, generator=torch.Generator().manual_seed(2))
        given["added"] = max(0.01, -1.5 * least)
    state = unflattened(risk.theta, state)
    exact = risk_of(state, x, y)
    given["exact"] = up_loss(exact, x_test, y_test, solver=CG(tol=1e-10), damping=given["added"])
    given["state"] = {name: value.float() for name, value in state.items()}
    return given | {"x": x.float(), "x_test": x_test.float()}


def unflattened(theta: Tensor, like: State) -> State:
    """The parameters (p,) by the names and shapes of `like`."""
    parts = theta.split([value.numel() for value in like.values()])
    return {name: part.view_as(like[name]) for name, part in zip(like, parts, strict=True)}


def ours(given: Given) -> Tensor:
    risk = risk_of(given["state"], given["x"], given["y"])
    return up_loss(
        risk, given["x_test"], given["y_test"], solver=CG(tol=1e-3), damping=given["added"]
    )


def published_loop(given: Given) -> Tensor:
    """As in the paper's code: fmin_ncg for one test point after the other, then every gradient."""
    import numpy as np
    from scipy.optimize import fmin_ncg

    model = model_of(given["state"])
    parameters = list(model.parameters())
    x, y = given["x"], given["y"]

    def gradient(images: Tensor, labels: Tensor, graph: bool = False) -> Tensor:
        loss = cross_entropy(model(images), labels)
        parts = torch.autograd.grad(loss, parameters, create_graph=graph)
        return torch.cat([part.reshape(-1) for part in parts])

    def product(v: np.ndarray) -> np.ndarray:
        t = torch.from_numpy(v).float()
        inner = gradient(x, y, graph=True) @ t
        parts = torch.autograd.grad(inner, parameters)
        return (torch.cat([p.reshape(-1) for p in parts]) + given["added"] * t).double().numpy()

    rows = []
    for image, label in zip(given["x_test"], given["y_test"], strict=True):
        v = gradient(image[None], label[None]).double().numpy()
        s = fmin_ncg(
            f=lambda t, v=v: 0.5 * t @ product(t) - v @ t,
            x0=v,
            fprime=lambda t, v=v: product(t) - v,
            fhess_p=lambda _, p: product(p),
            avextol=1e-8,
            maxiter=100,
            disp=False,
        )
        one = torch.from_numpy(s).float()
        rows.append(torch.stack([-(gradient(x[i : i + 1], y[i : i + 1]) @ one)
                                 for i in range(len(y))]))  # fmt: skip
    return torch.stack(rows)


def pydvl(given: Given) -> Tensor:
    from pydvl.influence.torch import CgInfluence

    model = model_of(given["state"])
    loader = DataLoader(TensorDataset(given["x"], given["y"]), batch_size=CHUNK)
    method = CgInfluence(
        model, cross_entropy, regularization=given["added"], rtol=1e-3, atol=1e-6, maxiter=PRODUCTS,
        solve_simultaneously=True,
    ).fit(loader)  # fmt: skip
    factors = method.influence_factors(given["x_test"], given["y_test"])
    parts = [method.influences_from_factors(factors, x, y) for x, y in loader]
    return -torch.cat(parts, 1).detach()


def dattri(given: Given) -> Tensor:
    from dattri.algorithm.influence_function import IFAttributorCG
    from dattri.task import AttributionTask

    model = model_of(given["state"])

    def loss(parameters: State, pair: tuple[Tensor, Tensor]) -> Tensor:
        image, label = pair
        return cross_entropy(torch.func.functional_call(model, parameters, image), label)

    task = AttributionTask(loss_func=loss, model=model, checkpoints=model.state_dict())
    method = IFAttributorCG(task, max_iter=PRODUCTS, tol=1e-6, regularization=given["added"])
    train = TensorDataset(given["x"], given["y"])
    test = TensorDataset(given["x_test"], given["y_test"])
    method.cache(DataLoader(train, batch_size=len(train)))
    found = method.attribute(
        DataLoader(train, batch_size=CHUNK), DataLoader(test, batch_size=len(test))
    )
    return -found.T.detach()


def captum(given: Given) -> Tensor:
    """Arnoldi keeps a hundred eigenvectors; the summed Hessian takes n times the decay."""
    from captum.influence._core.arnoldi_influence_function import ArnoldiInfluenceFunction

    model = model_of(given["state"])
    with tempfile.NamedTemporaryFile(suffix=".pt") as file:
        torch.save(model.state_dict(), file.name)
        method = ArnoldiInfluenceFunction(
            model, TensorDataset(given["x"], given["y"]), file.name,
            loss_fn=nn.CrossEntropyLoss(reduction="none"), batch_size=CHUNK, projection_dim=100,
            arnoldi_dim=200, arnoldi_tol=1e-6, hessian_reg=given["added"] * len(given["y"]),
            checkpoints_load_func=lambda net, path: net.load_state_dict(torch.load(path)) and 1.0,
        )  # fmt: skip
        found = method.influence((given["x_test"], given["y_test"]))
    return -found * len(given["y"])


METHODS: dict[str, Callable[[Given], Tensor]] = {
    "robustnb": ours,
    "published loop": published_loop,
    "pyDVL": pydvl,
    "dattri": dattri,
    "captum Arnoldi": captum,
}


def one(name: str, file: Path, tests: int, n: int | None) -> None:
    """Run a method in this process and print what it took and how near it came."""
    torch.set_num_threads(1)
    given = torch.load(file)
    exact = given.pop("exact")[:tests, :n]
    given["x"], given["y"] = given["x"][:n].clone(), given["y"][:n].clone()
    given["x_test"], given["y_test"] = given["x_test"][:tests], given["y_test"][:tests]
    METHODS[name](first_images(given))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    wall, cpu = time.perf_counter(), time.process_time()
    found = METHODS[name](given).double()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    pearson = [float(torch.corrcoef(torch.stack(pair))[0, 1])
               for pair in zip(found, exact, strict=True)]  # fmt: skip
    slope = (found * exact).sum(1) / exact.square().sum(1)
    told = {"wall": wall / tests, "cpu": cpu / tests, "tests": tests, "peak_mb": peak / 1024,
            "before_mb": before / 1024, "least_pearson": min(pearson),
            "slopes": [float(slope.min()), float(slope.max())]}  # fmt: skip
    sys.stdout.write("RESULT " + json.dumps(told) + "\n")


def first_images(given: Given) -> Given:
    """A problem so small that it only loads what a method imports on its first call."""
    sizes = {"x": _WARM, "y": _WARM, "x_test": 1, "y_test": 1}
    return {key: value[: sizes[key]] if key in sizes else value for key, value in given.items()}


def asked(name: str, file: Path, tests: int, n: int | None = None) -> dict[str, object]:
    """The result of one method in a process of its own, or why there is none."""
    command = [sys.executable, __file__, "--method", name, "--file", str(file)]
    command += ["--tests", str(tests), *(["--n", str(n)] if n else [])]
    done = subprocess.run(command, capture_output=True, text=True)
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    if done.returncode or not lines:
        return {"failed": done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "?"}
    return json.loads(lines[-1].removeprefix("RESULT "))


def grown(file: Path, n: int, tests: int) -> dict[str, object]:
    """What the first n training images take of us, and the memory beyond the data."""
    found = asked("robustnb", file, tests, n)
    if "failed" in found:
        return {"n": n, "test_images": tests, **found}
    beyond = found["peak_mb"] - found["before_mb"]
    return {"n": n, "test_images": tests, "cpu_seconds": found["cpu"] * tests, "beyond_mb": beyond}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=("softmax", "cnn"), default="softmax")
    parser.add_argument("--n", type=int, help="training images: 55,000, or 5,500 for the network")
    parser.add_argument("--tests", type=int, default=10)
    parser.add_argument("--loop-tests", type=int, default=1, help="test images for the loop")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--growth", type=int, nargs="*", default=[5_000, 10_000, 20_000, 40_000])
    parser.add_argument("--method", choices=list(METHODS))
    parser.add_argument("--file", type=Path)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    softmax = given.model == "softmax"
    if not given.method:
        given.n = given.n or (55_000 if softmax else 5_500)
    given.out = given.out or RESULTS / f"influence{'' if softmax else '_cnn'}.json"
    return given


def main() -> None:
    given = arguments()
    if given.method:
        one(given.method, given.file, given.tests, given.n)
        return
    try:
        around = circumstances(("captum", "dattri", "pyDVL"))
    except ImportError as error:
        raise peer_missing(error) from error
    names, runs = list(METHODS), {name: [] for name in METHODS}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "problem.pt"
        problem = prepared(given.model, given.n, given.tests)
        torch.save(problem, file)
        for repeat in range(given.repeats):
            for name in names[repeat % len(names) :] + names[: repeat % len(names)]:
                loop = name == "published loop"
                if loop and repeat:
                    continue  # once is enough to see a factor of twenty
                tests = given.loop_tests if loop else given.tests
                runs[name].append(asked(name, file, tests))
        growth = [grown(file, n, tests) for n in given.growth if n <= given.n
                  for tests in (1, given.tests)]  # fmt: skip
    told = {name: summary(found) for name, found in runs.items()}
    own = told["robustnb"]["cpu_seconds_a_test_image"]
    ratios = {name: row["cpu_seconds_a_test_image"] / own
              for name, row in told.items() if "cpu_seconds_a_test_image" in row}  # fmt: skip
    parameters = sum(value.numel() for value in problem["state"].values())
    result = {"model": given.model, "n": given.n, "p": parameters, "added": problem["added"],
              "test_images": given.tests, "methods": told, "cpu_ratio_to_robustnb": ratios,
              "growth": growth, **around}  # fmt: skip
    given.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def summary(found: list[dict[str, object]]) -> dict[str, object]:
    """Medians over the repeats."""
    good = [row for row in found if "cpu" in row]
    if not good:
        return {"failed": found[0]["failed"]}
    return {
        "cpu_seconds_a_test_image": statistics.median(row["cpu"] for row in good),
        "wall_seconds_a_test_image": statistics.median(row["wall"] for row in good),
        "peak_mb": max(row["peak_mb"] for row in good),
        "least_pearson": min(row["least_pearson"] for row in good),
        "slopes": good[0]["slopes"],
        "test_images": good[0]["tests"],
        "repeats": good,
    }


if __name__ == "__main__":
    main()
