"""The skip gradient of Wu et al. 2020: its cost, its error, and a transfer matrix.

Part 1: forward and backward pass of a ResNet-50 as it is, of `skip_gradient` of it, and with hooks
on its ReLU modules as published code sets them; errors against a network written out by hand with
stop-gradients. Part 2: a transfer matrix beside a loop over pairs of source and target, and its
growth. Interleaved repeats on one thread; written to results/skip_gradient.json.
"""

from __future__ import annotations

import argparse
import copy
import json
from collections.abc import Callable
from pathlib import Path

import torch
from measure import circumstances, interleaved, medians
from torch import Tensor, nn
from torchvision.models import resnet50

from robustnb.attacks import craft, pgd_attack, skip_gradient, transfer
from robustnb.blackbox import labels_of, transfer_matrix
from robustnb.models import build, use_layout

RESULTS = Path(__file__).parent / "results" / "skip_gradient.json"
GAMMA, SIDE, BATCH = 0.5, 64, 16


def slope(net: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """The gradient of the summed log-sum-exp towards x."""
    leaf = x.clone().requires_grad_()
    return torch.autograd.grad(net(leaf).logsumexp(1).sum(), leaf)[0]


def hooked(net: nn.Module) -> nn.Module:
    """A copy with hooks on the ReLUs of all blocks but the first of each stage, and of the stem."""
    own = copy.deepcopy(net)
    for name, module in own.named_modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
            if "0.relu" not in name:
                module.register_full_backward_hook(lambda _, grad, out: (GAMMA**0.5 * grad[0],))
    return own


def by_hand(net: nn.Module) -> Callable[[Tensor], Tensor]:
    """The forward pass of a bottleneck network, with stop-gradients written out."""

    def block(own: nn.Module, z: Tensor) -> Tensor:
        f = torch.relu(own.bn1(own.conv1(z)))
        f = own.bn3(own.conv3(torch.relu(own.bn2(own.conv2(f)))))
        if own.downsample is not None:
            return torch.relu(f + own.downsample(z))
        return torch.relu(z + GAMMA * f + (1 - GAMMA) * f.detach())

    def forward(x: Tensor) -> Tensor:
        z = net.maxpool(torch.relu(net.bn1(net.conv1(x))))
        for stage in (net.layer1, net.layer2, net.layer3, net.layer4):
            for own in stage:
                z = block(own, z)
        return net.fc(torch.flatten(net.avgpool(z), 1))

    return forward


def gradients(repeats: int) -> dict[str, object]:
    """Part 1."""
    draws = torch.Generator().manual_seed(0)
    net = resnet50().eval()
    x = torch.rand(BATCH, 3, SIDE, SIDE, generator=draws)
    ways = {"plain": net, "robustnb": skip_gradient(net, GAMMA), "hooks": hooked(net)}

    def job(way: nn.Module) -> Callable[[], None]:
        def run() -> None:
            slope(way, x)

        return run

    seconds = interleaved({name: job(way) for name, way in ways.items()}, repeats)
    rows = {name: medians(times) for name, times in seconds.items()}
    net, exact = net.double(), x[:2].double()
    true = slope(by_hand(net), exact)
    for name, way in (("robustnb", skip_gradient(net, GAMMA)), ("hooks", hooked(net))):
        found = slope(way, exact)
        rows[name]["relative_error"] = float((found - true).norm() / true.norm())
        rows[name]["cosine"] = float(
            torch.cosine_similarity(found.flatten(), true.flatten(), dim=0)
        )
    plain = rows["plain"]["cpu_seconds"]
    return {"rows": rows, **{
        f"{name}_over_plain": rows[name]["cpu_seconds"] / plain for name in ("robustnb", "hooks")
    }}  # fmt: skip


def matrices(repeats: int, images: int) -> dict[str, object]:
    """Part 2: S sources and T targets, all of one architecture."""
    draws = torch.Generator().manual_seed(1)
    x = torch.rand(images, 3, 16, 16, generator=draws)
    y = torch.randint(0, 10, (images,), generator=draws)
    nets = {f"net {k}": build("densenet", growth=8, generator=draws).eval() for k in range(4)}
    attack = pgd_attack(eps=8 / 255, step=2 / 255, steps=10, start="zero")

    def once(sources: int, targets: int) -> None:
        chosen = list(nets.items())
        made = {name: craft(net, x, y, attack=attack) for name, net in chosen[:sources]}
        transfer_matrix(made, {n: labels_of(net) for n, net in chosen[:targets]}, x, y)

    def pairs(sources: int, targets: int) -> None:
        for source in list(nets.values())[:sources]:
            for target in list(nets.values())[:targets]:
                transfer(source, target, x, y, attack=attack)

    jobs = {
        f"{name} {s} x {t}": lambda way=way, s=s, t=t: way(s, t)
        for name, way in (("robustnb", once), ("pairs", pairs))
        for s, t in ((2, 2), (2, 4), (4, 4))
    }
    rows = {name: medians(times) for name, times in interleaved(jobs, repeats).items()}
    return {"images": images, "rows": rows, "pairs_over_robustnb_4_x_4":
            rows["pairs 4 x 4"]["cpu_seconds"] / rows["robustnb 4 x 4"]["cpu_seconds"]}  # fmt: skip


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--images", type=int, default=64)
    given = parser.parse_args()
    torch.set_num_threads(1)
    with use_layout("keep"):
        found = {
            **circumstances(["torchvision"]),
            "gradients": gradients(given.repeats),
            "transfer_matrix": matrices(given.repeats, given.images),
        }
    RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
