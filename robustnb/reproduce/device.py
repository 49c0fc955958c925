"""Whether this machine has the device that a run asks for, before minutes of theory run on it."""

from __future__ import annotations

import re

from robustnb.errors import UsageError

_CARD = re.compile(r"cuda(?::(?P<number>\d+))?")


def check_device(name: str) -> None:
    """UsageError if `name` is a graphics card that torch does not find here."""
    if not name.startswith("cuda"):
        return
    asked = _CARD.fullmatch(name)
    if asked is None:
        raise UsageError(f"device {name!r} is none; write -p device=cuda, or cuda:0 for one card")
    import torch

    cards = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if int(asked["number"] or 0) >= cards:
        found = f"the cards cuda:0 to cuda:{cards - 1}" if cards else "no graphics card"
        raise UsageError(f"device {name!r} is not here: torch finds {found}; write -p device=cpu")
