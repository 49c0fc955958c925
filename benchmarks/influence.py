"""All influences of a model of MNIST for ten test images, by us and by peers.

The models are softmax regression and, with `--model cnn`, the paper's network of 2,616 parameters,
stopped before a minimum; what is added to the Hessian is the decay of the first, and one and a half
times the most negative eigenvalue of the second.

Each method runs in a process of its own, so that its peak memory is its own, and is not timed until
a first call on a few images has loaded what it imports; the order rotates from repeat to repeat,
and CPU seconds count. Scores are compared with those of CG in float64 to a residual of 1e-10.
Written after every run to benchmarks/results/influence.json or influence_cnn.json, with the table
printed at the end. `--methods` measures some and keeps the others' figures in the file; `--problem`
keeps the fitted model and its exact scores for the next call. Needs `make peers` and
benchmarks/requirements.txt.
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from influence_peers import METHODS, NETWORK_CHUNK, Given, State, risk_of
from measure import circumstances, peer_missing
from torch import Tensor

from robustnb import data
from robustnb.influence import CG, adam_steps, extreme_eigenvalues, fit_risk, up_loss
from robustnb.influence.autodiff import ModelRisk
from robustnb.models import build

RESULTS = Path(__file__).parent / "results"
L2 = 0.01
CHUNKS = {"softmax": 5_500, "cnn": NETWORK_CHUNK}  # images that the peers are given at once
STEPS, BATCH, RATE = 3_000, 500, 0.003  # of Adam, for the network
LANCZOS = 100  # products; after forty the least eigenvalue lay a third further down
_WARM = 300  # images of the first call, which is not timed
_NO_MEMORY = re.compile(r"you tried to allocate (\d+) bytes")
Row = dict[str, object]


def prepared(model: str, n: int, tests: int, tol: float) -> Given:
    """Data, weights, what is added to the Hessian, and exact scores."""
    x, y = (part[5_000 : 5_000 + n] for part in data.load("mnist", "train"))
    x_test, y_test = data.load("mnist", "test", limit=tests)
    x, x_test = data.to_unit(x).double(), data.to_unit(x_test).double()
    given: Given = {"x": x, "y": y, "x_test": x_test, "y_test": y_test, "chunk": CHUNKS[model]}
    if model == "softmax":
        state = {"1.weight": torch.zeros(10, 784), "1.bias": torch.zeros(10)}
        risk = fit_risk(risk_of({k: v.double() for k, v in state.items()}, x, y, L2), tol=1e-9)
        given["added"] = L2
    else:
        state = build("tanh_cnn", generator=torch.Generator().manual_seed(0)).state_dict()
        start = risk_of(state, x.float(), y)
        assert isinstance(start, ModelRisk)
        risk = start.at(adam_steps(start, steps=STEPS, batch_size=BATCH, lr=RATE, seed=1))
        draws = torch.Generator().manual_seed(2)
        least, _ = extreme_eigenvalues(risk, generator=draws, steps=LANCZOS)
        given["added"] = max(0.01, -1.5 * least)
    given["state"] = unflattened(risk.theta.float(), state)
    exact = risk_of({name: value.double() for name, value in given["state"].items()}, x, y)
    given["exact"] = up_loss(exact, x_test, y_test, solver=CG(tol=tol), damping=given["added"])
    return given | {"x": x.float(), "x_test": x_test.float()}


def unflattened(theta: Tensor, like: State) -> State:
    """The parameters (p,) by the names and shapes of `like`."""
    parts = theta.split([value.numel() for value in like.values()])
    return {name: part.view_as(like[name]) for name, part in zip(like, parts, strict=True)}


def one(name: str, file: Path, tests: int, n: int | None, memory: float) -> None:
    """Run a method in this process and print what it took and how near it came."""
    torch.set_num_threads(1)
    resource.setrlimit(resource.RLIMIT_DATA, (int(memory * 1e9),) * 2)
    given = torch.load(file)
    exact = given.pop("exact")[:tests, :n]
    given["x"], given["y"] = given["x"][:n].clone(), given["y"][:n].clone()
    given["x_test"], given["y_test"] = given["x_test"][:tests], given["y_test"][:tests]
    METHODS[name](first_images(given))
    before = memory_from_here()
    wall, cpu = time.perf_counter(), time.process_time()
    found = METHODS[name](given).double()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    peak = peak_mb()
    pearson = [float(torch.corrcoef(torch.stack(pair))[0, 1])
               for pair in zip(found, exact, strict=True)]  # fmt: skip
    slope = (found * exact).sum(1) / exact.square().sum(1)
    told = {"wall": wall / tests, "cpu": cpu / tests, "tests": tests, "peak_mb": peak,
            "before_mb": before, "least_pearson": min(pearson),
            "slopes": [float(slope.min()), float(slope.max())]}  # fmt: skip
    sys.stdout.write("RESULT " + json.dumps(told) + "\n")


def memory_from_here() -> float:
    """Begin the peak of this process anew, at what it holds now, in MB (Linux)."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return peak_mb()


def peak_mb() -> float:
    """The most that this process has held, in MB."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def first_images(given: Given) -> Given:
    """A problem so small that it only loads what a method imports on its first call."""
    sizes = {"x": _WARM, "y": _WARM, "x_test": 1, "y_test": 1}
    return {key: value[: sizes[key]] if key in sizes else value for key, value in given.items()}


def asked(name: str, file: Path, tests: int, memory: float, n: int | None = None) -> Row:
    """The result of one method in a process of its own, or why there is none."""
    command = [sys.executable, __file__, "--method", name, "--file", str(file)]
    command += ["--tests", str(tests), "--memory", str(memory), *(["--n", str(n)] if n else [])]
    done = subprocess.run(command, capture_output=True, text=True)
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    if done.returncode or not lines:
        return {"failed": reason(done.returncode, done.stderr, memory)}
    found: Row = json.loads(lines[-1].removeprefix("RESULT "))
    return found


def reason(code: int, errors: str, memory: float) -> str:
    """Why a method's process ended, in words; a progress bar is none."""
    if code == -signal.SIGKILL:
        return "killed by the system, as it does when memory runs out"
    if code < 0:
        return f"ended by {signal.Signals(-code).name}"
    wanted = _NO_MEMORY.search(errors)
    if wanted:
        more = int(wanted[1]) / 1e9
        return f"out of memory: it asked for {more:.2g} GB more than fit into {memory:g} GB"
    lines = [line.strip() for line in errors.splitlines() if line.strip() and "%|" not in line]
    return lines[-1] if lines else f"ended with status {code}, and said nothing"


def grown(file: Path, n: int, tests: int, memory: float) -> Row:
    """What the first n training images take of us, and the memory beyond the data."""
    found = asked("robustnb", file, tests, memory, n)
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
    parser.add_argument("--growth", type=int, nargs="*", help="training images; none to leave out")
    parser.add_argument("--memory", type=float, default=16, help="GB that a method may hold")
    parser.add_argument("--exact-tol", type=float, default=1e-10, help="residual of the scores")
    parser.add_argument("--methods", nargs="*", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--problem", type=Path, help="file that keeps the fitted model")
    parser.add_argument("--method", choices=list(METHODS), help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    softmax = given.model == "softmax"
    if not given.method:
        given.n = given.n or (55_000 if softmax else 5_500)
    if given.growth is None:
        given.growth = [given.n // share for share in (8, 4, 2, 1)] if given.n else []
    given.out = given.out or RESULTS / f"influence{'' if softmax else '_cnn'}.json"
    return given


def main() -> None:
    given = arguments()
    if given.method:
        one(given.method, given.file, given.tests, given.n, given.memory)
        return
    try:
        around = circumstances(("captum", "dattri", "pyDVL"))
    except ImportError as error:
        raise peer_missing(error) from error
    with tempfile.TemporaryDirectory() as folder:
        file = given.problem or Path(folder) / "problem.pt"
        if not file.exists():
            torch.save(prepared(given.model, given.n, given.tests, given.exact_tol), file)
        result = begun(given, torch.load(file)) | around
        measure(given, file, result)
        if given.growth:
            result["growth"] = [grown(file, n, tests, given.memory) for n in given.growth
                                for tests in (1, given.tests)]  # fmt: skip
            write(given.out, result)
    print(table(result))


def begun(given: argparse.Namespace, problem: Given) -> Row:
    """The result so far: what is in the file of other methods on the same problem."""
    about = {"model": given.model, "n": given.n, "added": problem["added"],
             "p": sum(value.numel() for value in problem["state"].values()),
             "test_images": given.tests}  # fmt: skip
    kept = json.loads(given.out.read_text(encoding="utf-8")) if given.out.exists() else {}
    same = set(given.methods) != set(METHODS) and about.items() <= kept.items()
    return {**(kept if same else {"methods": {}}), **about}


def measure(given: argparse.Namespace, file: Path, result: Row) -> None:
    """Run the methods asked for, and write the result after each run."""
    names, runs = given.methods, {name: [] for name in given.methods}
    for repeat in range(given.repeats):
        for name in names[repeat % len(names) :] + names[: repeat % len(names)]:
            loop = name == "published loop"
            if loop and repeat:
                continue  # once is enough to see a factor of twenty
            tests = given.loop_tests if loop else given.tests
            runs[name].append(asked(name, file, tests, given.memory))
            result["methods"][name] = summary(runs[name])
            result["cpu_ratio_to_robustnb"] = ratios(result["methods"])
            write(given.out, result)


def write(file: Path, result: Row) -> None:
    file.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def ratios(methods: dict[str, Row]) -> dict[str, float]:
    """CPU seconds as multiples of ours, where both are known."""
    seconds = {name: row["cpu_seconds_a_test_image"] for name, row in methods.items()
               if "cpu_seconds_a_test_image" in row}  # fmt: skip
    own = seconds.get("robustnb")
    return {name: value / own for name, value in seconds.items()} if own else {}


def table(result: Row) -> str:
    """The methods as a Markdown table."""
    lines = ["| method | CPU s a test image | times ours | least Pearson | slopes | peak MB |",
             "| :-- | --: | --: | --: | --: | --: |"]  # fmt: skip
    for name in (name for name in METHODS if name in result["methods"]):
        row = result["methods"][name]
        if "failed" in row:
            lines.append(f"| {name} | {row['failed']} | | | | |")
            continue
        low, high = row["slopes"]
        lines.append(
            f"| {name} | {row['cpu_seconds_a_test_image']:.3g} "
            f"| {result['cpu_ratio_to_robustnb'].get(name, float('nan')):.3g} "
            f"| {row['least_pearson']:.6f} | {low:.4f} to {high:.4f} | {row['peak_mb']:,.0f} |"
        )
    return "\n".join(lines)


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
