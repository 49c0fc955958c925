"""One training step of TRADES: ours beside the official algorithm, in one process and interleaved.

"official" is the algorithm as published, written here from its description: the clean images pass
through the network again in every attack step, and three train-mode passes make the loss. Both
arms train the same network from the same weights on the same images. The published code keeps the
contiguous layout; so that the algorithm's share shows, it also runs in ours, channels last.

    python benchmarks/trades.py                          # SmallCNN at batch 128, ResNet-18 at 16
    python benchmarks/trades.py --device cuda --batch 128 --amp
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robustnb.models import SmallCNN, resnet18
from robustnb.models.modes import training
from robustnb.training.objectives import Objective, trades

RESULTS = Path(__file__).parent / "results" / "trades.json"


@dataclass(frozen=True)
class Case:
    """The published setting of one data set."""

    build: Callable[..., nn.Module]
    shape: tuple[int, int, int]
    batch: int
    beta: float
    eps: float
    step: float
    steps: int


CASES = {
    "SmallCNN, MNIST": Case(SmallCNN, (1, 28, 28), 128, 1.0, 0.3, 0.01, 40),
    "ResNet-18, CIFAR-10": Case(resnet18, (3, 32, 32), 16, 6.0, 0.031, 0.007, 10),
}


def official_trades(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    generator: torch.Generator | None,
    *,
    beta: float,
    eps: float,
    step: float,
    steps: int,
) -> Tensor:
    """The official algorithm, as published."""
    model.eval()
    x_adv = x + 0.001 * torch.randn(x.shape, generator=generator, device=x.device)
    for _ in range(steps):
        x_adv = x_adv.detach().requires_grad_()
        log_q, p = F.log_softmax(model(x_adv), dim=1), F.softmax(model(x), dim=1)
        (grad,) = torch.autograd.grad(F.kl_div(log_q, p, reduction="sum"), x_adv)
        x_adv = x_adv.detach() + step * grad.sign()
        x_adv = torch.min(torch.max(x_adv, x - eps), x + eps).clamp(0, 1)
    model.train()
    x_adv = x_adv.detach()
    natural = F.cross_entropy(model(x), y)
    log_q, p = F.log_softmax(model(x_adv), dim=1), F.softmax(model(x), dim=1)
    return natural + beta * F.kl_div(log_q, p, reduction="sum") / len(x)


class Arm:
    """One network, its optimizer and the seconds of each of its steps."""

    def __init__(
        self, case: Case, objective: Objective, *, device: str, amp: bool, channels_last: bool
    ) -> None:
        self.layout = torch.channels_last if channels_last else torch.contiguous_format
        draw = torch.Generator().manual_seed(0)
        self.net = case.build(generator=draw).to(device, memory_format=self.layout)
        self.optimizer = torch.optim.SGD(self.net.parameters(), lr=0.01, momentum=0.9)
        self.objective, self.device, self.amp = objective, device, amp
        self.wall: list[float] = []
        self.cpu: list[float] = []

    def step(self, x: Tensor, y: Tensor) -> float:
        """One training step, timed; returns its loss."""
        generator = torch.Generator(self.device).manual_seed(1)
        x = x.contiguous(memory_format=self.layout)
        wall, cpu = time.perf_counter(), time.process_time()
        self.optimizer.zero_grad(set_to_none=True)
        cast = torch.autocast(self.device, torch.bfloat16, enabled=self.amp, cache_enabled=False)
        with training(self.net), cast:
            loss = self.objective(self.net, x, y, generator)
        loss.backward()
        self.optimizer.step()
        if self.device == "cuda":
            torch.cuda.synchronize()
        self.wall.append(time.perf_counter() - wall)
        self.cpu.append(time.process_time() - cpu)
        return float(loss.detach())


def measure(name: str, *, batch: int | None, rounds: int, device: str, amp: bool) -> dict[str, Any]:
    case = CASES[name]
    batch = batch or case.batch
    draw = torch.Generator().manual_seed(2)
    x = torch.rand(batch, *case.shape, generator=draw).to(device)
    y = torch.randint(10, (batch,), generator=draw).to(device)
    setting = {"beta": case.beta, "eps": case.eps, "step": case.step, "steps": case.steps}

    def official(model: nn.Module, x: Tensor, y: Tensor, generator: Any) -> Tensor:
        return official_trades(model, x, y, generator, **setting)

    ours = trades(**setting)
    place = {"device": device, "amp": False, "channels_last": True}
    arms = {
        "official": Arm(case, official, **{**place, "channels_last": False}),
        "official, channels last": Arm(case, official, **place),
        "ours": Arm(case, ours, **place),
    }
    if amp:
        arms["official, channels last, bfloat16"] = Arm(case, official, **{**place, "amp": True})
        arms["ours, bfloat16"] = Arm(case, ours, **{**place, "amp": True})
    for turn in range(rounds + 1):  # the first round warms up and is dropped
        order = list(arms) if turn % 2 else list(arms)[::-1]
        for arm in order:
            arms[arm].step(x, y)
    times = {arm: summary(arms[arm].wall[1:], arms[arm].cpu[1:]) for arm in arms}
    base = times["official"]
    return {
        "case": name, "device": device, "batch": batch, "rounds": rounds, **setting,
        "arms": times,
        "speedup_wall": {a: base["wall_median"] / t["wall_median"] for a, t in times.items()},
        "speedup_cpu": {a: base["cpu_median"] / t["cpu_median"] for a, t in times.items()},
    }  # fmt: skip


def summary(wall: list[float], cpu: list[float]) -> dict[str, Any]:
    return {
        "wall_median": statistics.median(wall), "cpu_median": statistics.median(cpu),
        "wall_seconds": wall, "cpu_seconds": cpu,
    }  # fmt: skip


def machine(device: str) -> dict[str, Any]:
    name = torch.cuda.get_device_name() if device == "cuda" else platform.processor()
    return {
        "name": name or platform.machine(), "threads": torch.get_num_threads(),
        "torch": torch.__version__, "python": platform.python_version(),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--case", choices=[*CASES, "all"], default="all")
    parser.add_argument("--batch", type=int, help="images a step (default: that of the case)")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--amp", action="store_true", help="both in bfloat16 as well")
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    done = json.loads(given.out.read_text()) if given.out.exists() else {}
    for name in CASES if given.case == "all" else [given.case]:
        found = measure(
            name, batch=given.batch, rounds=given.rounds, device=given.device, amp=given.amp
        )
        done[f"{name}, {given.device}"] = {**found, "machine": machine(given.device)}
        given.out.parent.mkdir(parents=True, exist_ok=True)
        given.out.write_text(json.dumps(done, indent=1, sort_keys=True) + "\n")
        for arm, times in found["arms"].items():
            print(
                f"{name}, {arm}: {times['wall_median']:.3f} s, CPU {times['cpu_median']:.3f} s, "
                f"{found['speedup_cpu'][arm]:.2f} times the official algorithm's CPU speed"
            )


if __name__ == "__main__":
    main()
