"""D_rand and D_R of Ilyas et al. 2019: robustnb beside the nearest loops of other libraries.

Part 1, D_rand: targeted l2 steps of fixed length, the same number of gradient passes for all:
`relabelled_dataset`, torchattacks' PGDL2 and foolbox's L2 gradient attack, in batches of 256.
Part 2, D_R: `match_representation` beside a plain loop over batches. Part 3: growth with images and
steps. A bare forward and backward pass for each step and image is timed in the same run: it is what
the arithmetic allows. Interleaved repeats on one thread; written to results/constructed.json.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import torch
from measure import circumstances, interleaved, medians, peer_missing
from torch import Tensor, nn
from torch.nn import functional as F

from robustnb.attacks.losses import predicted
from robustnb.data import load, subset, to_unit
from robustnb.features import match_representation, penultimate, relabelled_dataset
from robustnb.models import build
from robustnb.training import fit, standard

RESULTS = Path(__file__).parent / "results" / "constructed.json"
BATCH, EPS, STEPS, STEP = 256, 4.0, 30, 1 / 3
MATCH_STEPS, MATCH_STEP = 60, 0.2


def trained(count: int) -> tuple[nn.Module, Tensor, Tensor]:
    """A network trained on Fashion-MNIST, and images with labels for it."""
    draws = torch.Generator().manual_seed(0)
    x, y = subset(*load("fashion_mnist", "train"), size=max(count, 5000), generator=draws)
    net = build("light_cnn", generator=draws)
    fit(net, x, y, objective=standard(), epochs=5, batch_size=64, lr=0.003, optimizer="adam",
        generator=draws)  # fmt: skip
    return net.eval(), to_unit(x[:count]), y[:count]


def bare_passes(net: nn.Module, x: Tensor, y: Tensor, steps: int) -> None:
    """As many forward and backward passes towards the images, and nothing else."""
    for images, labels in zip(x.split(BATCH), y.split(BATCH), strict=True):
        for _ in range(steps):
            leaf = images.clone().requires_grad_()
            torch.autograd.grad(F.cross_entropy(net(leaf), labels, reduction="sum"), leaf)


def peers(net: nn.Module, x: Tensor, targets: Tensor) -> dict[str, Callable[[], Tensor]]:
    """The other libraries' targeted l2 attacks, without a random start."""
    try:
        import foolbox
        import torchattacks
    except ImportError as error:
        raise peer_missing(error) from error
    by_torchattacks = torchattacks.PGDL2(net, eps=EPS, alpha=STEP, steps=STEPS, random_start=False)
    by_torchattacks.set_mode_targeted_by_label(quiet=True)
    wrapped = foolbox.PyTorchModel(net, bounds=(0, 1), device="cpu")
    by_foolbox = foolbox.attacks.L2PGD(abs_stepsize=STEP, steps=STEPS, random_start=False)
    criterion = foolbox.criteria.TargetedMisclassification

    def in_batches(craft: Callable[[Tensor, Tensor], Tensor]) -> Callable[[], Tensor]:
        return lambda: torch.cat([
            craft(a, t).detach()
            for a, t in zip(x.split(BATCH), targets.split(BATCH), strict=True)
        ])  # fmt: skip

    return {
        "torchattacks": in_batches(by_torchattacks),
        "foolbox": in_batches(lambda a, t: by_foolbox.run(wrapped, a, criterion(t), epsilon=EPS)),
    }


def plain_match(net: nn.Module, x: Tensor, start: Tensor) -> Tensor:
    """The loop that one writes: normalised gradient steps on the distance of representations."""
    seen, found = penultimate(net), []
    for images, begun in zip(x.split(BATCH), start.split(BATCH), strict=True):
        with torch.no_grad():
            target = seen(images)
        at = begun.clone()
        for _ in range(MATCH_STEPS):
            at.requires_grad_()
            distance = (seen(at) - target).norm(dim=1)
            (slope,) = torch.autograd.grad(distance.sum(), at)
            length = slope.flatten(1).norm(dim=1)[:, None, None, None] + 1e-10
            at = (at.detach() - MATCH_STEP * slope / length).clamp(0, 1)
        found.append(at)
    return torch.cat(found)


def measured(jobs: dict[str, Callable[[], Tensor]], repeats: int) -> tuple[dict, dict]:
    """Medians and images of every job."""
    images: dict[str, Tensor] = {}

    def job(name: str) -> Callable[[], None]:
        def run() -> None:
            images[name] = jobs[name]()

        return run

    seconds = interleaved({name: job(name) for name in jobs}, repeats)
    return {name: medians(times) for name, times in seconds.items()}, images


def relabelling(net: nn.Module, x: Tensor, y: Tensor, repeats: int) -> dict[str, object]:
    """Part 1."""
    targets = (y + 1) % 10

    def ours() -> Tensor:
        return relabelled_dataset(
            net, x, y, targets="next", classes=10, eps=EPS, step=STEP, steps=STEPS
        ).images

    def bare() -> Tensor:
        bare_passes(net, x, y, STEPS)
        return x

    rows, images = measured({"robustnb": ours, **peers(net, x, targets), "bare": bare}, repeats)
    for name, row in rows.items():
        with torch.no_grad():
            row["success"] = float((predicted(net(images[name])) == targets).double().mean())
    return {"n": len(x), "eps": EPS, "steps": STEPS, "rows": rows, **ratios(rows)}


def matching(net: nn.Module, x: Tensor, y: Tensor, repeats: int) -> dict[str, object]:
    """Part 2."""
    start = x.flip(0)

    def ours() -> Tensor:
        way = {"steps": MATCH_STEPS, "step": MATCH_STEP}
        return match_representation(net, x, start, **way)[0]

    def bare() -> Tensor:
        bare_passes(net, x, y, MATCH_STEPS)
        return x

    jobs = {"robustnb": ours, "plain loop": lambda: plain_match(net, x, start), "bare": bare}
    rows, images = measured(jobs, repeats)
    seen = penultimate(net)
    for name, row in rows.items():
        with torch.no_grad():
            apart = (seen(images[name]) - seen(x)).norm(dim=1) / seen(x).norm(dim=1)
        row["median_distance"] = float(apart.median())
    return {"n": len(x), "steps": MATCH_STEPS, "rows": rows, **ratios(rows)}


def ratios(rows: dict[str, dict]) -> dict[str, float]:
    """CPU seconds of each over ours; "bare" says how much faster nothing but passes would be."""
    own = rows["robustnb"]["cpu_seconds"]
    return {f"{name}_over_ours": row["cpu_seconds"] / own for name, row in rows.items()}


def growth(net: nn.Module, x: Tensor, y: Tensor) -> list[dict[str, object]]:
    """Part 3: CPU seconds of D_det by images and steps."""
    found = []
    for count in (len(x) // 4, len(x) // 2, len(x)):
        for steps in (STEPS // 3, STEPS):

            def run(count: int = count, steps: int = steps) -> None:
                relabelled_dataset(
                    net, x[:count], y[:count], targets="next", classes=10, eps=EPS, step=STEP,
                    steps=steps,
                )  # fmt: skip

            seconds = medians(interleaved({"ours": run}, 3)["ours"])
            found.append({"images": count, "steps": steps, "cpu": seconds["cpu_seconds"]})
    return found


def main() -> None:
    """Measure, and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=5000, help="images of D_rand")
    parser.add_argument("--match", type=int, default=500, help="images of D_R")
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)
    told = circumstances(("torchattacks", "foolbox"))
    net, x, y = trained(given.count)
    for job in (
        lambda: bare_passes(net, x[:BATCH], y[:BATCH], 2),
        *peers(net, x[:50], y[:50]).values(),
    ):
        job()  # first calls build kernels
    result = {
        "relabelled": relabelling(net, x, y, given.repeats),
        "matched": matching(net, x[: given.match], y[: given.match], given.repeats),
        "growth": growth(net, x, y),
        **told,
    }
    RESULTS.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    for part in ("relabelled", "matched"):
        print(part, {k: round(v, 3) for k, v in result[part].items() if k.endswith("_ours")})


if __name__ == "__main__":
    main()
