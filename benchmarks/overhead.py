"""What attacks cost over bare passes, on our networks and on networks as users bring them.

A bare pass is one forward and one backward pass of cross-entropy towards the images, without an
attack; it is timed in torch's plain memory format and in channels-last, and the faster of the two
is 1. Every library makes the same number of passes on the same batch; "worst kept" makes one
forward pass more, and each APGD at least one. "first call" meets a network for the first time, so
it compares the formats as well. One thread, interleaved repeats, medians of CPU seconds, and the
targets with whether they are met; written to benchmarks/results/overhead.json.

On our light_cnn the targets are missed. A pass of it is short, so that what a step does with the
images beside it shows: a copy for the model, the sign, the step, the projection, the look at the
gradient, and the choice of the worst. Part of the rest is the C library's: it gives freed memory
back and takes it again, 1,000 pages a bare pass and 1,700 a step, a fifth and a fourth of the time.
With MALLOC_MMAP_THRESHOLD_=33554432 MALLOC_TRIM_THRESHOLD_=268435456 in the environment it keeps
the memory, and no page is taken twice.
"""

from __future__ import annotations

import argparse
import copy
import json
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
import torchvision
from attacks import PEERS, peers
from measure import circumstances, interleaved, medians, peer_missing
from torch import Tensor, nn

from robustnb.attacks import apgd, pgd
from robustnb.models import build, use_layout

BATCH = 100  # at most what an attack asks at once on a CPU
EPS, STEP = 8 / 255, 2 / 255
RESULTS = Path(__file__).parent / "results" / "overhead.json"
OURS, FIRST = "robustnb", "robustnb, first call"
WORST, AUTO = "robustnb, worst kept", "robustnb APGD"
AS_IT_COMES = "robustnb, format kept"
TARGETS = {WORST: 1.05, AUTO: 1.10}  # times bare passes in the faster format
PEER_TARGET = 1.3  # times faster than the fastest peer, on networks that users bring


def vgg() -> nn.Module:
    """A network like VGG for 32 x 32 images: three pairs of convolutions with batch norm."""
    layers: list[nn.Module] = []
    for before, width in ((3, 32), (32, 64), (64, 128)):
        for channels in (before, width):
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(128 * 16, 10))


def mnist_tutorial() -> nn.Module:
    """The small network of many tutorials on MNIST."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(64 * 49, 128), nn.ReLU(), nn.Linear(128, 10),
    )  # fmt: skip


class Case(NamedTuple):
    """An untrained network, since what a pass costs does not depend on the weights."""

    make: Callable[[], nn.Module]
    shape: tuple[int, int, int]
    times: int = 1  # that an attack is run on end, where it is too short to be timed


NETWORKS = {
    "our light_cnn": Case(partial(build, "light_cnn"), (1, 28, 28), times=10),
    "our wide_resnet 10-1": Case(partial(build, "wide_resnet", depth=10, widen=1), (3, 32, 32)),
    "torchvision resnet18": Case(partial(torchvision.models.resnet18, num_classes=10), (3, 32, 32)),
    "VGG-like": Case(vgg, (3, 32, 32)),
    "small MNIST network": Case(mnist_tutorial, (1, 28, 28), times=2),
}


def bare(model: nn.Module, x: Tensor, y: Tensor, *, steps: int, last: bool) -> None:
    """So many passes and nothing else, with weights and images in one format."""
    form = torch.channels_last if last else torch.contiguous_format
    model, x = copy.deepcopy(model).to(memory_format=form), x.contiguous(memory_format=form)
    for _ in range(steps):
        leaf = x.detach().requires_grad_()
        loss = nn.functional.cross_entropy(model(leaf), y, reduction="sum")
        torch.autograd.grad(loss, leaf)


def jobs(
    model: nn.Module, x: Tensor, y: Tensor, steps: int
) -> tuple[dict[str, Callable[[], object]], dict[str, Callable[[], object]]]:
    """PGD and APGD of every library."""
    try:
        import torchattacks
    except ImportError as error:
        raise peer_missing(error) from error

    def own(net: nn.Module, keep: str = "last") -> Tensor:
        return pgd(net, x, y, eps=EPS, step=STEP, steps=steps, keep=keep)

    def kept() -> Tensor:
        with use_layout("keep"):
            return own(model)

    others = {
        name: partial(craft, x, y)
        for name, craft in peers(model, x, eps=EPS, step=STEP, steps=steps).items()
    }
    by_pgd = {
        OURS: lambda: own(model), WORST: lambda: own(model, "worst"),
        FIRST: lambda: own(copy.deepcopy(model)), AS_IT_COMES: kept, **others,
    }  # fmt: skip
    auto = torchattacks.APGD(model, norm="Linf", eps=EPS, steps=steps, n_restarts=1, loss="ce")
    by_apgd = {
        AUTO: lambda: apgd(model, x, y, eps=EPS, steps=steps),
        "torchattacks APGD": partial(auto, x, y),
    }
    return by_pgd, by_apgd


def again(job: Callable[[], object], times: int) -> None:
    for _ in range(times):
        job()


def compare(name: str, *, steps: int, repeats: int) -> dict[str, object]:
    """All rows for one network."""
    torch.manual_seed(0)
    case = NETWORKS[name]
    model, x = case.make().eval(), torch.rand(BATCH, *case.shape)
    with torch.no_grad():
        y = model(x).argmax(1)
    by_pgd, by_apgd = jobs(model, x, y, steps)
    formats = {
        "bare passes, plain": partial(bare, model, x, y, steps=steps, last=False),
        "bare passes, channels-last": partial(bare, model, x, y, steps=steps, last=True),
    }
    every = {
        label: partial(again, job, case.times)
        for label, job in {**formats, **by_pgd, **by_apgd}.items()
    }
    for _ in range(2):  # first calls build kernels and compare formats
        for job in every.values():
            job()
    rows = {label: medians(taken) for label, taken in interleaved(every, repeats).items()}
    seconds = {label: float(row["cpu_seconds"]) for label, row in rows.items()}
    unit = min(seconds[label] for label in formats)
    fastest = min(seconds[label] for label in by_pgd if not label.startswith(OURS))
    return {
        "network": name, "batch": BATCH, "steps": steps, "times": case.times,
        "rows": [
            {"name": label, **row, "times_bare_passes": seconds[label] / unit}
            for label, row in rows.items()
        ],
        "channels_last_takes": seconds["bare passes, channels-last"]
        / seconds["bare passes, plain"],
        "times_faster_than_the_fastest_peer": fastest / seconds[OURS],
        "targets": {
            label: {"at_most": most, "met": seconds[label] / unit <= most}
            for label, most in TARGETS.items()
        } | ({} if name.startswith("our") else {
            "times_faster_than_the_fastest_peer": {
                "at_least": PEER_TARGET, "met": fastest / seconds[OURS] >= PEER_TARGET,
            }
        }),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=list(NETWORKS))
    parser.add_argument("--out", type=Path, default=RESULTS)
    settings = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", category=UserWarning)
    found = {"schema": 1, **circumstances(PEERS), "repeats": settings.repeats, "networks": []}
    for name in settings.networks:
        table = compare(name, steps=settings.steps, repeats=settings.repeats)
        found["networks"].append(table)
        settings.out.parent.mkdir(parents=True, exist_ok=True)
        settings.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        print(f"{name}: channels-last takes {table['channels_last_takes']:.2f} of the plain format")
        for row in table["rows"]:
            print(f"  {row['name']:28s} {row['times_bare_passes']:6.3f}", flush=True)
        print(f"  {table['times_faster_than_the_fastest_peer']:.2f} times the fastest peer")
        print("  " + "; ".join(f"{what}: {goal}" for what, goal in table["targets"].items()))


if __name__ == "__main__":
    main()
