"""The strongest-attack ensemble: robustnb beside torchattacks' AutoAttack, on one thread.

One adversarially trained network on MNIST digits, the same images and radius, interleaved
repeats. Prints medians and writes benchmarks/results/ensemble.json.
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
from attacks import robust_network
from torch import Tensor, nn

from robustnb import data
from robustnb.attacks import Ensemble, distance, ensemble_evaluate, fooled

BATCH = 250
RADII = {"linf": 0.3, "l2": 2.0}
RESULTS = Path(__file__).parent / "results" / "ensemble.json"
Attack = Callable[[Tensor, Tensor], Tensor]


def ours(model: nn.Module, ensemble: Ensemble, passes: list[int]) -> Attack:
    """Our ensemble; notes the forward and backward passes of each call."""

    def attack(x: Tensor, y: Tensor) -> Tensor:
        found = ensemble_evaluate(
            model, x, y, ensemble=ensemble, batch_size=BATCH,
            generator=torch.Generator().manual_seed(1),
        )  # fmt: skip
        passes[:] = [sum(column) for column in zip(*found.passes.values(), strict=True)]
        return found.x_adv

    return attack


def peer(model: nn.Module, ensemble: Ensemble) -> Attack:
    """AutoAttack of torchattacks in its standard version, batch by batch."""
    try:
        import torchattacks
    except ImportError as error:
        raise SystemExit(
            f"{error.name} is missing. Make an environment for the comparison and install "
            "the peers there: pip install --no-deps -r benchmarks/requirements.txt"
        ) from error
    norm = {"linf": "Linf", "l2": "L2"}[ensemble.norm]
    other = torchattacks.AutoAttack(
        model, norm=norm, eps=ensemble.eps, version="standard", n_classes=10, seed=1
    )

    def attack(x: Tensor, y: Tensor) -> Tensor:
        parts = zip(x.split(BATCH), y.split(BATCH), strict=True)
        return torch.cat([other(a, b).detach() for a, b in parts])

    return attack


def timed(attack: Attack, x: Tensor, y: Tensor) -> tuple[Tensor, float, float]:
    """The images with the wall and CPU seconds they took."""
    wall, cpu = time.perf_counter(), time.process_time()
    x_adv = attack(x, y)
    return x_adv, time.perf_counter() - wall, time.process_time() - cpu


@torch.no_grad()
def row(
    name: str, model: nn.Module, x_adv: Tensor, x: Tensor, y: Tensor, ensemble: Ensemble,
    seconds: list[tuple[float, float]],
) -> dict[str, object]:  # fmt: skip
    """Medians, every repeat, the accuracy left and by how much the radius is exceeded."""
    size = distance(x_adv, x, ensemble.norm).double()
    return {
        "name": name,
        "wall_seconds": statistics.median(wall for wall, _ in seconds),
        "cpu_seconds": statistics.median(cpu for _, cpu in seconds),
        "repeats": [{"wall": wall, "cpu": cpu} for wall, cpu in seconds],
        "robust_accuracy": float((~fooled(model(x_adv), y)).float().mean()),
        "excess_over_eps": max(0.0, float(size.max()) - ensemble.eps),
    }


def compare(
    model: nn.Module, x: Tensor, y: Tensor, ensemble: Ensemble, *, repeats: int
) -> list[dict[str, object]]:
    """One row for each; the order rotates from repeat to repeat."""
    passes: list[int] = []
    attacks = {"robustnb": ours(model, ensemble, passes), "torchattacks": peer(model, ensemble)}
    names, seconds = list(attacks), {name: [] for name in attacks}
    images: dict[str, Tensor] = {}
    for repeat in range(repeats):
        turn = repeat % len(names)
        for name in names[turn:] + names[:turn]:
            images[name], wall, cpu = timed(attacks[name], x, y)
            seconds[name].append((wall, cpu))
    rows = [row(name, model, images[name], x, y, ensemble, seconds[name]) for name in names]
    rows[0] |= {"forward_passes": passes[0], "backward_passes": passes[1]}
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=500, help="images (at most 4,000)")
    parser.add_argument("--norm", default="linf", choices=list(RADII))
    parser.add_argument("--eps", type=float, help="radius in pixel units; default by norm")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--model", default="light_cnn", choices=["light_cnn", "small_cnn"])
    parser.add_argument("--out", type=Path, default=RESULTS)
    settings = parser.parse_args()
    torch.set_num_threads(1)
    model = robust_network(settings.model, settings.epochs)
    images, y = data.load("mnist_embedded", "train", limit=settings.n)
    x, eps = data.to_unit(images), settings.eps or RADII[settings.norm]
    # The peer's standard version lacks the untargeted ratio; the rest is the same work.
    ensemble = Ensemble(eps, norm=settings.norm, attacks=("apgd-ce", "apgd-t", "fab-t", "square"))
    rows = compare(model, x, y, ensemble, repeats=settings.repeats)
    result = {
        "schema": 1,
        "settings": {
            "n": len(x), "repeats": settings.repeats, "batch": BATCH, "model": settings.model,
            "epochs": settings.epochs, "threads": 1, "ensemble": ensemble.to_json(),
        },
        "versions": {name: importlib.metadata.version(name) for name in ("torch", "torchattacks")},
        "machine": {"processor": platform.processor() or platform.machine(),
                    "cores": os.cpu_count(), "load": os.getloadavg()[0]},
        "rows": rows,
    }  # fmt: skip
    settings.out.parent.mkdir(parents=True, exist_ok=True)
    settings.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    for line in rows:
        print(
            f"{line['name']:14s} {line['cpu_seconds']:8.2f} CPU-s  {line['wall_seconds']:8.2f} s  "
            f"robust {line['robust_accuracy']:.4f}"
        )


if __name__ == "__main__":
    main()
