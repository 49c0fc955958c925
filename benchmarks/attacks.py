"""PGD and robust accuracy by PGD: robustnb against torchattacks, foolbox and ART, on one thread.

Part 1, equal work: the images of the same number of steps on the same batches. Part 2, robust
accuracy: how long until it is known which examples stand; the peers attack all of them to the end,
`evaluate` those alone who still stand. Part 3: how cost and memory grow with examples and steps.
Interleaved repeats, all of them kept; written to benchmarks/results/attacks.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from measure import circumstances, interleaved, medians, peer_missing
from networks import examples, network
from torch import Tensor, nn

from robustnb.attacks import evaluate, misclassified, pgd, pgd_attack

BATCH = 250
RESULTS = Path(__file__).parent / "results" / "attacks.json"
STEPS = {"mnist_robust": 40, "mnist_natural": 40, "cifar_robust": 20}
RADII = {"mnist_robust": (0.3, 0.01), "mnist_natural": (0.3, 0.01), "cifar_robust": (8 / 255, 0.01)}
PEERS = ("torchattacks", "foolbox", "adversarial-robustness-toolbox")
Crafter = Callable[[Tensor, Tensor], Tensor]


def peers(
    model: nn.Module, x: Tensor, *, eps: float, step: float, steps: int
) -> dict[str, Crafter]:
    """The other libraries' PGD from a uniform start, or an exit that says how to get them."""
    try:
        import foolbox
        import torchattacks
        from art.attacks.evasion import ProjectedGradientDescentPyTorch
        from art.estimators.classification import PyTorchClassifier
    except ImportError as error:
        raise peer_missing(error) from error
    wrapped = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")
    by_foolbox = foolbox.attacks.LinfPGD(abs_stepsize=step, steps=steps, random_start=True)
    estimator = PyTorchClassifier(
        model, nn.CrossEntropyLoss(), tuple(x.shape[1:]), 10, clip_values=(0.0, 1.0),
        device_type="cpu",
    )  # fmt: skip
    by_art = ProjectedGradientDescentPyTorch(
        estimator, norm="inf", eps=eps, eps_step=step, max_iter=steps, num_random_init=1,
        batch_size=BATCH, verbose=False,
    )  # fmt: skip
    misclassified = foolbox.criteria.Misclassification
    return {
        "torchattacks": torchattacks.PGD(model, eps=eps, alpha=step, steps=steps),
        "foolbox": lambda x, y: by_foolbox.run(wrapped, x, misclassified(y), epsilon=eps),
        "ART": lambda x, y: torch.from_numpy(by_art.generate(x.numpy(), y.numpy())),
    }


def crafters(
    model: nn.Module, x: Tensor, *, eps: float, step: float, steps: int
) -> dict[str, Crafter]:
    """Our PGD, the same work and with the worst iterate kept (one pass more), and the peers'."""
    generator = torch.Generator().manual_seed(1)

    def own(keep: str) -> Crafter:
        return lambda x, y: pgd(
            model, x, y, eps=eps, step=step, steps=steps, keep=keep, generator=generator
        )

    others = peers(model, x, eps=eps, step=step, steps=steps)
    return {"robustnb": own("last"), "robustnb, worst kept": own("worst"), **others}


def equal_work(name: str, *, count: int, repeats: int) -> dict[str, object]:
    """Part 1 on one network."""
    model, (x, y), steps = network(name), examples(name, count), STEPS[name]
    eps, step = RADII[name]
    images: dict[str, Tensor] = {}

    def job(label: str, craft: Crafter) -> Callable[[], None]:
        def run() -> None:
            parts = zip(x.split(BATCH), y.split(BATCH), strict=True)
            images[label] = torch.cat([craft(a, b).detach() for a, b in parts])

        return run

    found = crafters(model, x, eps=eps, step=step, steps=steps)
    for craft in found.values():
        craft(x[:50], y[:50])  # first calls build kernels
    seconds = interleaved({label: job(label, craft) for label, craft in found.items()}, repeats)
    rows = [
        {
            "name": label,
            **medians(seconds[label]),
            "robust_accuracy": accuracy(model, images[label], y),
            "excess_over_eps": max(0.0, float((images[label] - x).abs().max()) - eps),
        }
        for label in found
    ]
    best = min(r["cpu_seconds"] for r in rows if r["name"] in ("torchattacks", "foolbox"))
    return {
        "network": name, "n": len(x), "eps": eps, "step": step, "steps": steps, "batch": BATCH,
        "rows": rows, "times_the_faster_of_torchattacks_and_foolbox": best / rows[0]["cpu_seconds"],
    }  # fmt: skip


def robust_accuracy(name: str, *, count: int, repeats: int) -> dict[str, object]:
    """Part 2 on one network: the accuracy itself is what is timed, the clean pass included."""
    model, (x, y), steps = network(name), examples(name, count), STEPS[name]
    eps, step = RADII[name]
    attack = pgd_attack(eps=eps, step=step, steps=steps)
    answers: dict[str, list[float]] = {}
    passes: list[int] = []

    def ours() -> None:
        found = evaluate(
            model, x, y, attacks=[attack], batch_size=BATCH,
            generator=torch.Generator().manual_seed(len(answers.setdefault("robustnb", []))),
        )  # fmt: skip
        answers["robustnb"].append(float(found.robust.double().mean()))
        passes.append(sum(found.passes[attack.name]))

    def job(label: str, craft: Crafter) -> Callable[[], None]:
        def run() -> None:
            parts = zip(x.split(BATCH), y.split(BATCH), strict=True)
            right = [accuracy(model, craft(a, b).detach(), b) * len(b) for a, b in parts]
            answers.setdefault(label, []).append(sum(right) / len(x))

        return run

    others = peers(model, x, eps=eps, step=step, steps=steps)
    jobs = {"robustnb": ours, **{label: job(label, craft) for label, craft in others.items()}}
    seconds = interleaved(jobs, repeats)
    rows = [
        {
            "name": label,
            **medians(seconds[label]),
            "robust_accuracy": statistics.median(answers[label]),
            "robust_accuracies": answers[label],
        }
        for label in jobs
    ]
    return {
        "network": name, "n": len(x), "eps": eps, "step": step, "steps": steps, "batch": BATCH,
        "rows": rows,
        # what dropping can save: the passes of an attack on all, over ours
        "times_fewer_passes": len(x) * 2 * steps / statistics.median(passes),
        "times_the_fastest_peer": min(r["cpu_seconds"] for r in rows[1:]) / rows[0]["cpu_seconds"],
        "points_above_the_lowest_peer": 100
        * (rows[0]["robust_accuracy"] - min(r["robust_accuracy"] for r in rows[1:])),
    }  # fmt: skip


@torch.no_grad()
def accuracy(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """Share of correct answers, in batches."""
    parts = zip(x.split(BATCH), y.split(BATCH), strict=True)
    return float(torch.cat([~misclassified(model(a), b) for a, b in parts]).double().mean())


def growth() -> dict[str, list[dict[str, float]]]:
    """Part 3: each size in a process of its own, so that its peak of memory is its own."""
    sizes = [(500, 20), (1000, 20), (2000, 20), (4000, 20), (1000, 10), (1000, 40), (1000, 80)]
    rows = []
    for count, steps in sizes:
        command = [sys.executable, __file__, "--one", str(count), str(steps)]
        told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        rows.append(json.loads(told))
    return {
        "examples": [row for row in rows if row["steps"] == 20],
        "steps": sorted((r for r in rows if r["n"] == 1000), key=lambda row: row["steps"]),
    }


def one(count: int, steps: int) -> None:
    """CPU seconds and memory of one evaluation in which nothing is dropped (a tiny radius).

    Of the peak, `loaded_mib` was there before, and the images returned take `images_mib`.
    """
    model, (x, y) = network("mnist_robust"), examples("mnist_robust", count)
    attack, loaded = pgd_attack(eps=1e-4, step=1e-5, steps=steps), _peak_mib()
    evaluate(model, x[:BATCH], y[:BATCH], attacks=[attack], batch_size=BATCH)
    start = time.process_time()
    evaluate(model, x, y, attacks=[attack], batch_size=BATCH)
    row = {
        "n": len(x), "steps": steps, "cpu_seconds": time.process_time() - start,
        "loaded_mib": loaded, "peak_mib": _peak_mib(),
        "images_mib": x.numel() * x.element_size() / 2**20,
    }  # fmt: skip
    print(json.dumps(row))


def _peak_mib() -> float:
    """Of this process alone: `getrusage` hands on the parent's (Linux)."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=2000, help="images of part 1 and 2")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--one", type=int, nargs=2, help=argparse.SUPPRESS)
    settings = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", category=UserWarning)
    if settings.one:
        one(*settings.one)
        return
    result = {
        "schema": 3,
        "settings": {"n": settings.n, "repeats": settings.repeats, "batch": BATCH, "threads": 1},
        **circumstances(PEERS),
        "equal_work": [equal_work("mnist_robust", count=settings.n, repeats=settings.repeats)],
        "robust_accuracy": [
            robust_accuracy(
                name, count=min(settings.n, 500) if name == "cifar_robust" else settings.n,
                repeats=settings.repeats,
            )
            for name in STEPS
        ],
        "growth": growth(),
    }  # fmt: skip
    settings.out.parent.mkdir(parents=True, exist_ok=True)
    settings.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    for part in ("equal_work", "robust_accuracy"):
        for table in result[part]:
            print(f"{part}, {table['network']}, n = {table['n']}, {table['steps']} steps")
            for row in table["rows"]:
                print(
                    f"  {row['name']:22s} {row['cpu_seconds']:8.2f} CPU-s  "
                    f"robust {row['robust_accuracy']:.4f}"
                )
    for row in [*result["growth"]["examples"], *result["growth"]["steps"]]:
        print("  " + "  ".join(f"{key} {value:.4g}" for key, value in row.items()))


if __name__ == "__main__":
    main()
