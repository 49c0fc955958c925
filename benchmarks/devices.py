"""The same calls on the CPU and on a GPU: whether both run, and how far their results differ.

Deterministic calls are compared number by number, the others by a rate. A call that fails on either
device is told with the last line of ours that it reached. Written to results/devices.json.
"""

from __future__ import annotations

import argparse
import json
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from measure import circumstances
from torch import Tensor, nn

from robustnb import attacks, blackbox, features, influence, smoothing, training, transfer_learning
from robustnb.data import load, subset, to_unit
from robustnb.models import build
from robustnb.models.nearest_neighbour import SoftNearestNeighbour

RESULTS = Path(__file__).parent / "results" / "devices.json"
EPS = {"linf": 0.1, "l2": 1.0, "l1": 8.0}


def draws(seed: int = 0) -> torch.Generator:
    """A new generator."""
    return torch.Generator().manual_seed(seed)


class Bench:
    """One network and its digits on a device."""

    def __init__(self, device: str) -> None:
        """Train the network on the CPU, so that both devices have the same one."""
        x, y = subset(*load("mnist", "train"), size=600, generator=draws())
        net = build("light_cnn", generator=draws())
        training.fit(net, x, y, objective=training.standard(), epochs=4, batch_size=50, lr=0.003,
                     optimizer="adam", generator=draws())  # fmt: skip
        self.net = net.to(device).eval()
        self.x, self.y = to_unit(x[:40]).to(device), y[:40].to(device)
        self.many, self.labels = x.to(device), y.to(device)
        self.device = device

    def fitted(self, objective: Any, **how: Any) -> Tensor:
        """The logits after a short training."""
        net = build("light_cnn", generator=draws()).to(self.device)
        training.fit(net, self.many, self.labels, objective=objective, epochs=1, batch_size=50,
                     lr=0.003, optimizer="adam", generator=draws(), **how)  # fmt: skip
        with torch.no_grad():
            return net.eval()(self.x).float()

    def risk(self) -> Any:
        """Softmax regression, fitted, for influence functions."""
        net = nn.Sequential(nn.Flatten(), nn.Linear(784, 10)).double().to(self.device)
        rows = to_unit(self.many[:200]).double()
        found = influence.empirical_risk(
            net, influence.cross_entropy, rows, self.labels[:200], l2=0.1
        )
        return influence.fit_risk(found), rows, self.labels[:200]


def influences(bench: Bench, solver: Any) -> Tensor:
    """Influence of 200 digits on 5 others."""
    risk, rows, labels = bench.risk()
    return influence.up_loss(risk, rows[:5], labels[:5], solver=solver)


def cases() -> dict[str, Callable[[Bench], Any]]:
    """Every call by name."""
    found: dict[str, Callable[[Bench], Any]] = {}
    for norm, eps in EPS.items():
        way = {"eps": eps, "norm": norm}
        found |= {
            f"pgd {norm}": lambda b, way=way: attacks.pgd(
                b.net, b.x, b.y, step=way["eps"] / 4, steps=5, start="zero", **way),
            f"fgsm {norm}": lambda b, way=way: attacks.fgsm(b.net, b.x, b.y, **way),
            f"apgd {norm}": lambda b, way=way: attacks.apgd(
                b.net, b.x, b.y, steps=10, generator=draws(), **way),
            f"fab {norm}": lambda b, norm=norm: attacks.fab(
                b.net, b.x, b.y, steps=10, norm=norm, targets=3, generator=draws()).size,
            f"ensemble {norm}": lambda b, way=way: attacks.evaluate(
                b.net, b.x, b.y, generator=draws(), attacks=[attacks.standard_ensemble(
                    way["eps"], norm=way["norm"], steps=5, targets=2, queries=20)]).robust,
            f"audit {norm}": lambda b, way=way: float(attacks.robustness_audit(
                b.net, b.x, b.y, source=b.net, queries=10, generator=draws(),
                attack=attacks.multi_loss_pgd(way["eps"], norm=way["norm"], steps=5, restarts=3),
            )["steps"]["ok"]),
        }  # fmt: skip
    found |= {
        f"square {norm}": lambda b, norm=norm: attacks.square(
            b.net, b.x, b.y, eps=EPS[norm], norm=norm, queries=50, generator=draws())
        for norm in ("linf", "l2")
    }  # fmt: skip
    found |= {
        "mifgsm": lambda b: attacks.mifgsm(b.net, b.x, b.y, eps=0.1, step=0.025, steps=5),
        "skip gradient": lambda b: attacks.pgd(
            attacks.skip_gradient(wide(b.device), 0.5), b.x, b.y, eps=0.1, step=0.05, steps=3,
            start="zero"),
        "soft neighbour": lambda b: attacks.fgsm(
            SoftNearestNeighbour(to_unit(b.many), b.labels, classes=10).to(b.device), b.x, b.y,
            eps=0.1, loss="margin"),
        "train standard": lambda b: b.fitted(training.standard()),
        "train pgd": lambda b: b.fitted(training.pgd_training(eps=0.1, step=0.05, steps=3)),
        "train trades": lambda b: b.fitted(
            training.trades(beta=6.0, eps=0.1, step=0.05, steps=3)),
        "train free": lambda b: b.fitted(training.free_training(eps=0.1, replays=2)),
        "train stability": lambda b: b.fitted(training.stability_training(sigma=0.25, beta=6.0)),
        "train amp": lambda b: b.fitted(training.standard(), amp=True),
        "certify": lambda b: smoothing.certify(
            b.net, b.x[:5], sigma=0.25, n0=20, n=200, generator=draws()).radius,
        "relabelled": lambda b: features.relabelled_dataset(
            b.net, b.x, b.y, targets="next", classes=10, eps=1.0, step=0.2, steps=5).images,
        "matched": lambda b: features.match_representation(
            b.net, b.x[:8], b.x.flip(0)[:8], steps=5, step=0.1)[0],
        "gradients": lambda b: features.input_gradients(b.net, b.x, b.y),
        "augmentation": lambda b: blackbox.jacobian_augmentation(b.net, b.x, b.y, step=0.1),
        "labels": lambda b: blackbox.labels_of(b.net)(b.x),
        "signs": lambda b: blackbox.random_signs(b.x, eps=0.1, generator=draws()),
        "split": lambda b: transfer_learning.cache_features(
            transfer_learning.split(b.net)[0], b.x).of(transfer_learning.split(b.net)[0]),
        "influence exact": lambda b: influences(b, influence.Cholesky()),
        "influence cg": lambda b: influences(b, influence.CG()),
    }  # fmt: skip
    return found


def wide(device: str) -> nn.Module:
    """A small residual network with drawn weights."""
    net = build("wide_resnet", depth=10, widen=1, in_channels=1, generator=draws())
    return net.to(device).eval()


def tried(call: Callable[[Bench], Any], bench: Bench) -> tuple[Tensor | None, str]:
    """What a call gives on a device, on the CPU in float64; or where it failed."""
    try:
        return torch.as_tensor(call(bench)).detach().cpu().double(), ""
    except Exception as error:
        ours = [f for f in traceback.extract_tb(error.__traceback__) if "robustnb" in f.filename]
        place = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else "here"
        return None, f"{type(error).__name__} at {place}: {str(error).splitlines()[0][:200]}"


def main() -> None:
    """Compare, and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--other", default="cuda", help="the device beside the CPU")
    given = parser.parse_args()
    told = circumstances(())
    if given.other.startswith("cuda"):
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
        told["device"] = torch.cuda.get_device_name()
    benches = [Bench("cpu"), Bench(given.other)]
    rows: dict[str, dict[str, Any]] = {}
    for name, call in cases().items():
        (first, why), (second, other) = (tried(call, bench) for bench in benches)
        if first is None or second is None:
            rows[name] = {"failed": why or other, "on": "cpu" if why else given.other}
        else:
            apart = (first - second).abs()
            rows[name] = {
                "largest": float(apart.max()),
                "differ": float((apart > 1e-4).double().mean()),
            }
        print(name, rows[name], flush=True)
    RESULTS.write_text(json.dumps({"rows": rows, **told}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
