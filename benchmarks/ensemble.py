"""The strongest-attack ensemble: robustnb beside torchattacks' AutoAttack, on one thread.

One adversarially trained network, the same images, radius and batches. The peer's standard version
takes 10 steps where ours takes 100, and lacks the untargeted ratio, so there are two comparisons:
as shipped, and with one composition and one number of steps (its 10, and our 100). Examples on
which the two disagree are listed. Written to benchmarks/results/ensemble.json.

How much faster it could still be: of 100 images of mnist_robust in a ball of 0.2, 72 stand, and of
the CPU-seconds the network's own passes are 71 % (APGD 77, FAB 66, Square 73). A loop that cost
nothing would thus be 1.4 times as fast, and an image that stands takes every pass in both
libraries. None of them is asked for twice: FAB could save a pass where a step does not cross the
boundary, but 85 % of its images lie across, and are then asked about from another point.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from measure import circumstances, interleaved, medians, peer_missing
from networks import examples, network
from torch import Tensor, nn

from robustnb.attacks import AttackEnsemble, lp_distance, misclassified, run_ensemble

BATCH = 250
RADII = {"linf": 0.3, "l2": 2.0}
RESULTS = Path(__file__).parent / "results" / "ensemble.json"
EQUAL = ("apgd-ce", "apgd-t", "fab-t", "square")
PGDConfig = Callable[[Tensor, Tensor], Tensor]


def ours(model: nn.Module, ensemble: AttackEnsemble, passes: dict[str, list[int]]) -> PGDConfig:
    """Our ensemble; notes the forward and backward passes of each call."""

    def attack(x: Tensor, y: Tensor) -> Tensor:
        found = run_ensemble(
            model, x, y, ensemble=ensemble, batch_size=BATCH,
            generator=torch.Generator().manual_seed(1),
        )  # fmt: skip
        passes.update({name: list(spent) for name, spent in found.passes.items()})
        return found.x_adv

    return attack


def peer(model: nn.Module, eps: float, norm: str, steps: int | None) -> PGDConfig:
    """AutoAttack of torchattacks in its standard version, batch by batch; or its four members with
    `steps` steps instead of their default."""
    try:
        import torchattacks as other
    except ImportError as error:
        raise peer_missing(error) from error
    settings = {"norm": {"linf": "Linf", "l2": "L2"}[norm], "eps": eps, "seed": 1}
    if steps is None:
        whole = other.AutoAttack(model, version="standard", n_classes=10, **settings)
    else:
        whole = other.MultiAttack(
            [
                other.APGD(model, steps=steps, loss="ce", n_restarts=1, **settings),
                other.APGDT(model, steps=steps, n_classes=10, n_restarts=1, **settings),
                other.FAB(model, steps=steps, multi_targeted=True, n_classes=10, **settings),
                other.Square(model, n_queries=5000, n_restarts=1, **settings),
            ]
        )

    def attack(x: Tensor, y: Tensor) -> Tensor:
        parts = zip(x.split(BATCH), y.split(BATCH), strict=True)
        return torch.cat([whole(a, b).detach() for a, b in parts])

    return attack


def compare(
    title: str, one: AttackEnsemble, steps: int | None, *, name: str, count: int, repeats: int
) -> dict[str, object]:
    """One pair of rows, and the examples on which they differ."""
    model, (x, y) = network(name), examples(name, count)
    passes: dict[str, list[int]] = {}
    attacks = {
        "robustnb": ours(model, one, passes),
        "torchattacks": peer(model, one.eps, one.norm, steps),
    }
    images: dict[str, Tensor] = {}

    def job(label: str) -> Callable[[], None]:
        def run() -> None:
            images[label] = attacks[label](x, y)

        return run

    seconds = interleaved({label: job(label) for label in attacks}, repeats)
    stands = {label: standing(model, images[label], y) for label in attacks}
    rows = [
        {
            "name": label,
            **medians(seconds[label]),
            "robust_accuracy": float(stands[label].double().mean()),
            "excess_over_eps": max(
                0.0, float(lp_distance(images[label], x, one.norm).double().max()) - one.eps
            ),
        }
        for label in attacks
    ]
    own, other = stands["robustnb"], stands["torchattacks"]
    return {
        "title": title, "network": name, "n": len(x), "repeats": repeats, "rows": rows,
        "ensemble": one.to_json(), "peer_steps": steps or 10, "passes": passes,
        "times_the_peer": rows[1]["cpu_seconds"] / rows[0]["cpu_seconds"],
        "points_above_the_peer": 100 * (rows[0]["robust_accuracy"] - rows[1]["robust_accuracy"]),
        "stand_under_ours_alone": (own & ~other).nonzero()[:, 0].tolist(),
        "stand_under_the_peer_alone": (other & ~own).nonzero()[:, 0].tolist(),
    }  # fmt: skip


@torch.no_grad()
def standing(model: nn.Module, x_adv: Tensor, y: Tensor) -> Tensor:
    """Who is classified correctly, asked in batches."""
    parts = zip(x_adv.split(BATCH), y.split(BATCH), strict=True)
    return torch.cat([~misclassified(model(a), b) for a, b in parts])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=1000, help="images of the first two comparisons")
    parser.add_argument("--few", type=int, default=200, help="images of the long comparison")
    parser.add_argument("--norm", default="linf", choices=list(RADII))
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--network", default="mnist_robust")
    parser.add_argument("--out", type=Path, default=RESULTS)
    settings = parser.parse_args()
    torch.set_num_threads(1)
    whole = AttackEnsemble(RADII[settings.norm], norm=settings.norm)
    equal = replace(whole, attacks=EQUAL)
    plan = [
        ("the peer's composition and its 10 steps", replace(equal, steps=10), None, settings.n),
        ("the peer's composition, 100 steps in both", equal, 100, settings.few),
        ("each as it is shipped", whole, None, settings.n),
    ]
    result: dict[str, object] = {"schema": 2, "batch": BATCH, "threads": 1}
    result |= {**circumstances(("torchattacks",)), "comparisons": []}
    settings.out.parent.mkdir(parents=True, exist_ok=True)
    for title, ensemble, steps, count in plan:
        found = compare(
            title, ensemble, steps, name=settings.network, count=count, repeats=settings.repeats
        )
        result["comparisons"].append(found)
        settings.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        print(f"{title}, n = {count}")
        for row in found["rows"]:
            print(
                f"  {row['name']:14s} {row['cpu_seconds']:8.2f} CPU-s  "
                f"robust {row['robust_accuracy']:.4f}"
            )


if __name__ == "__main__":
    main()
