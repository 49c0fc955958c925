from __future__ import annotations

import pytest
import torch

from robustnb.errors import UsageError
from robustnb.reproduce import profiles
from robustnb.reproduce.device import check_device
from robustnb.reproduce.single import run_one


def pretend(monkeypatch, cards):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cards > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: cards)


@pytest.mark.parametrize(
    ("name", "cards"), [("cpu", 0), ("cuda", 1), ("cuda:1", 2), ("mps", 0), ("None", 0)]
)
def test_a_device_that_is_here_passes(monkeypatch, name, cards):
    pretend(monkeypatch, cards)
    check_device(name)


@pytest.mark.parametrize(
    ("name", "cards", "found"),
    [
        ("cuda:one", 2, "write -p device=cuda"),
        ("cuda", 0, "no graphics card"),
        ("cuda:0", 0, "no graphics"),
        ("cuda:2", 2, "cuda:1"),
    ],
)
def test_a_card_that_is_not_here_is_refused_with_what_is(monkeypatch, name, cards, found):
    pretend(monkeypatch, cards)
    with pytest.raises(UsageError, match=found):
        check_device(name)


def test_a_run_on_a_card_that_is_not_here_starts_no_kernel_and_says_why(toy, edit, monkeypatch):
    pretend(monkeypatch, 0)
    edit("size: int = 40", 'size: int = 40\ndevice: str = "cpu"')
    size = profiles.get(toy.notebooks, "smoke")
    with pytest.raises(UsageError, match="write -p device=cpu"):
        run_one(toy, "toy2020", size, 0, ["device=cuda"], report=lambda _line: None)
    assert not (toy.build / "logs").exists()
    assert "device=cpu" in (toy.build / "failed" / "toy2020-smoke-seed0.txt").read_text()
