"""Where randomness comes from: a generator of torch or of numpy, never a bare seed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from robustnb.scalars import shown

if TYPE_CHECKING:
    import torch

_OF_TORCH = "torch.Generator().manual_seed(3)"
_OF_NUMPY = "np.random.default_rng(3)"


def check_generator(
    generator: Any, *, needed: str = "", place: torch.device | None = None
) -> torch.device | None:
    """The device on which draws are made: the generator's; `place` without a generator.

    TypeError, with what to write, for anything else, such as a seed or numpy's generator, and
    ValueError for None where `needed` says what is drawn.
    """
    import torch

    if isinstance(generator, torch.Generator):
        return generator.device
    if generator is None and not needed:
        return place
    if generator is None:
        raise ValueError(f"{needed} from a generator, which is missing; pass generator={_OF_TORCH}")
    raise TypeError(
        f"generator must be a torch.Generator, got {shown(generator)}; pass generator={_OF_TORCH}"
    )


def check_cpu_generator(generator: Any, *, needed: str = "") -> None:
    """As `check_generator`, and ValueError for a generator on another device than the CPU."""
    device = check_generator(generator, needed=needed)
    if device is not None and device.type != "cpu":
        raise ValueError(
            f"generator must live on the CPU, got one on {device}; pass generator={_OF_TORCH}"
        )


def check_rng(generator: Any, what: str = "rng") -> None:
    """TypeError, with what to write, for anything but a generator of numpy."""
    if not isinstance(generator, np.random.Generator):
        raise TypeError(
            f"{what} must be a numpy.random.Generator, got {shown(generator)}; pass {_OF_NUMPY}"
        )
