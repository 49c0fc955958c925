"""Every entry point asks a network in the faster format, and gives it back as it was.

No test measures time: a clock runs by how networks are asked.
"""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook

from robustnb.attacks import (
    AttackEnsemble,
    apgd,
    craft,
    evaluate,
    fab,
    pgd,
    pgd_attack,
    run_ensemble,
    square,
    transfer,
)
from robustnb.models import layout, use_layout
from robustnb.smoothing import certify, certify_sequential, predict
from small_inputs import coloured_images, seeded
from small_inputs import convolutional as small

X, Y = coloured_images()


@pytest.fixture
def asked(monkeypatch):
    """Of each convolution so far, whether it was in channels-last; that takes half the time."""
    formats: list[bool] = []

    def tick(module, inputs):
        if isinstance(module, nn.Conv2d) and module.in_channels > 1:
            formats.append(not module.weight.is_contiguous())

    monkeypatch.setattr(layout, "now", lambda device: 2.0 * len(formats) - sum(formats))
    hook = register_module_forward_pre_hook(tick)
    with use_layout("auto"):
        yield formats
    hook.remove()


SHORT = AttackEnsemble(0.01, steps=45, targets=1, queries=60)
PAPER = pgd_attack(eps=0.01, step=0.002, steps=60)
ENTRIES = {
    "pgd": lambda net: pgd(net, X, Y, eps=0.1, step=0.02, steps=40, generator=seeded()),
    "apgd": lambda net: apgd(net, X, Y, eps=0.1, steps=40),
    "fab": lambda net: fab(net, X, Y, steps=40, targets=2),
    "square": lambda net: square(net, X, Y, eps=0.1, queries=60, generator=seeded()),
    "craft": lambda net: craft(net, X, Y, attack=PAPER, generator=seeded()),
    "transfer": lambda net: transfer(net, small(1), X, Y, attack=PAPER, generator=seeded()),
    "evaluate": lambda net: evaluate(net, X, net(X).argmax(1), attacks=[PAPER]),
    "ensemble": lambda net: run_ensemble(net, X, net(X).argmax(1), ensemble=SHORT),
    "certify": lambda net: certify(net, X, sigma=0.1, n=1000, batch_size=200),
    "predict": lambda net: predict(net, X, sigma=0.1, n=1000, batch_size=200),
    "sequential": lambda net: certify_sequential(
        net, X, sigma=0.1, target=9.0, n=4000, batch_size=100
    ),
}


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES)
def test_every_entry_point_chooses_and_gives_back(asked, entry):
    net = small()
    before = [(id(p), p.data_ptr(), p.stride(), p.detach().clone()) for p in net.parameters()]
    entry(net)
    assert any(asked)
    for parameter, (which, pointer, stride, value) in zip(net.parameters(), before, strict=True):
        assert (id(parameter), parameter.data_ptr(), parameter.stride()) == (which, pointer, stride)
        assert torch.equal(parameter, value)


def test_a_resnet_gets_the_same_verdicts_in_both_formats(asked):
    torch.manual_seed(0)
    net = torchvision.models.resnet18(num_classes=4).double().eval()
    x = torch.rand(12, 3, 32, 32, generator=seeded(), dtype=torch.float64)
    with torch.no_grad():
        y = net(x).argmax(1)
    paper = pgd_attack(eps=0.002, step=0.0005, steps=12, restarts=3)
    verdicts = []
    for choice in ("keep", "auto"):
        with use_layout(choice):
            verdicts.append(evaluate(net, x, y, attacks=[paper], generator=seeded()).robust)
        assert any(asked) == (choice == "auto")
    assert torch.equal(*verdicts)
    assert 0 < int(verdicts[0].sum()) < len(x)
