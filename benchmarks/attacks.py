"""PGD for equal work: robustnb against torchattacks and foolbox, on one thread.

One adversarially trained network on MNIST digits; every library runs the same number of steps on
the same batches, in interleaved repeats. Written to benchmarks/results/attacks.json.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from robustnb import data
from robustnb.attacks import evaluate, fooled, paper_attack, pgd
from robustnb.models import build

EPS, STEP, BATCH = 0.3, 0.01, 250
RESULTS = Path(__file__).parent / "results" / "attacks.json"
Crafter = Callable[[Tensor, Tensor], Tensor]


def peers(model: nn.Module, steps: int) -> dict[str, Crafter]:
    """The other libraries' PGD with a uniform start, or an exit that says how to get them."""
    try:
        import foolbox
        import torchattacks
    except ImportError as error:
        raise SystemExit(
            f"{error.name} is missing. Make an environment for the comparison and install "
            "the peers there: pip install --no-deps -r benchmarks/requirements.txt"
        ) from error
    attack = torchattacks.PGD(model, eps=EPS, alpha=STEP, steps=steps, random_start=True)
    wrapped = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")
    other = foolbox.attacks.LinfPGD(abs_stepsize=STEP, steps=steps, random_start=True)

    def by_foolbox(x: Tensor, y: Tensor) -> Tensor:
        return other.run(wrapped, x, foolbox.criteria.Misclassification(y), epsilon=EPS)

    return {"torchattacks": attack, "foolbox": by_foolbox}


def ours(model: nn.Module, steps: int) -> dict[str, Crafter]:
    """Our PGD: the same work as the peers, and with the worst iterate kept (one pass more)."""
    generator = torch.Generator().manual_seed(1)

    def crafter(keep: str) -> Crafter:
        return lambda x, y: pgd(
            model, x, y, eps=EPS, step=STEP, steps=steps, keep=keep, generator=generator
        )

    return {"robustnb": crafter("last"), "robustnb, worst kept": crafter("worst")}


def robust_network(name: str, epochs: int) -> nn.Module:
    """A network trained on 10-step PGD images (enough to stand against some of the attack)."""
    images, labels = data.load("mnist_embedded", "train")
    x, generator = data.to_unit(images), torch.Generator().manual_seed(0)
    settings = {"zero_last": False} if name == "small_cnn" else {}
    model = build(name, generator=generator, **settings)
    total = epochs * -(-len(x) // 100)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for step in range(total):
        rows = torch.randint(len(x), (100,), generator=generator)
        eps = EPS * min(1.0, 2 * step / total)  # a full radius from the start never gets going
        x_adv = pgd(
            model, x[rows], labels[rows], eps=eps, step=eps / 4, steps=10, keep="last",
            generator=generator,
        )  # fmt: skip
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x_adv), labels[rows]).backward()
        optimizer.step()
    return model.eval()


def timed(craft: Crafter, x: Tensor, y: Tensor) -> tuple[Tensor, float, float]:
    """The crafted images with the wall and CPU seconds they took."""
    wall, cpu = time.perf_counter(), time.process_time()
    parts = [craft(a, b).detach() for a, b in zip(x.split(BATCH), y.split(BATCH), strict=True)]
    return torch.cat(parts), time.perf_counter() - wall, time.process_time() - cpu


def compare(model: nn.Module, x: Tensor, y: Tensor, *, steps: int, repeats: int) -> list[dict]:
    """One row per library; the order rotates from repeat to repeat."""
    crafters = {**ours(model, steps), **peers(model, steps)}
    names = list(crafters)
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    images: dict[str, Tensor] = {}
    for craft in crafters.values():
        craft(x[:BATCH], y[:BATCH])  # first calls build kernels
    for repeat in range(repeats):
        turn = repeat % len(names)
        for name in names[turn:] + names[:turn]:
            images[name], wall, cpu = timed(crafters[name], x, y)
            seconds[name].append((wall, cpu))
    return [row(name, model, images[name], x, y, seconds[name]) for name in names]


@torch.no_grad()
def row(
    name: str, model: nn.Module, x_adv: Tensor, x: Tensor, y: Tensor, seconds: list
) -> dict[str, object]:
    """Medians, every repeat, the accuracy left and by how much the radius is exceeded."""
    return {
        "name": name,
        "wall_seconds": statistics.median(wall for wall, _ in seconds),
        "cpu_seconds": statistics.median(cpu for _, cpu in seconds),
        "repeats": [{"wall": wall, "cpu": cpu} for wall, cpu in seconds],
        "robust_accuracy": float((~fooled(model(x_adv), y)).float().mean()),
        "excess_over_eps": max(0.0, float((x_adv - x).abs().max()) - EPS),
    }


def engine(model: nn.Module, x: Tensor, y: Tensor, *, steps: int) -> dict[str, object]:
    """The evaluation engine, which stops attacking an example once it has fallen."""
    wall, cpu = time.perf_counter(), time.process_time()
    attack = paper_attack(eps=EPS, step=STEP, steps=steps)
    found = evaluate(
        model, x, y, attacks=[attack], batch_size=BATCH,
        generator=torch.Generator().manual_seed(2),
    )  # fmt: skip
    return {
        "name": "robustnb evaluate",
        "wall_seconds": time.perf_counter() - wall,
        "cpu_seconds": time.process_time() - cpu,
        "robust_accuracy": float(found.strongest.float().mean()),
        "natural_accuracy": float(found.natural_correct.float().mean()),
        "forward_passes_per_example": found.passes[attack.name].forward / len(x),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=2000, help="images (at most 4,000)")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--model", default="light_cnn", choices=["light_cnn", "small_cnn"])
    parser.add_argument("--frozen", action="store_true", help="weights that ask for no gradient")
    parser.add_argument("--out", type=Path, default=RESULTS)
    settings = parser.parse_args()
    torch.set_num_threads(1)
    model = robust_network(settings.model, settings.epochs).requires_grad_(not settings.frozen)
    images, y = data.load("mnist_embedded", "train", limit=settings.n)
    x = data.to_unit(images)
    rows = compare(model, x, y, steps=settings.steps, repeats=settings.repeats)
    result = {
        "schema": 1,
        "settings": {
            "n": len(x), "steps": settings.steps, "repeats": settings.repeats, "eps": EPS,
            "step": STEP, "batch": BATCH, "model": settings.model, "frozen": settings.frozen,
            "threads": 1,
        },
        "versions": {
            name: importlib.metadata.version(name)
            for name in ("torch", "torchattacks", "foolbox")
        },
        "machine": {"processor": platform.processor() or platform.machine(),
                    "cores": os.cpu_count(), "load": os.getloadavg()[0]},
        "rows": rows,
        "engine": engine(model, x, y, steps=settings.steps),
    }  # fmt: skip
    settings.out.parent.mkdir(parents=True, exist_ok=True)
    settings.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    for line in [*rows, result["engine"]]:
        print(
            f"{line['name']:22s} {line['cpu_seconds']:8.2f} CPU-s  {line['wall_seconds']:8.2f} s  "
            f"robust {line['robust_accuracy']:.4f}"
        )


if __name__ == "__main__":
    main()
