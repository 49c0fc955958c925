"""How fast this machine is: the CPU-seconds that a fixed piece of work takes on one thread.

Machines differ by a factor of three, so the cost of a run is also told in reference seconds: those
of a machine that does this work in `REFERENCE_SECONDS`. The work is of the kinds that notebooks
do: a convolution with its gradient, a sort, and a loop of Python.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from robustnb.errors import RunError
from robustnb.reproduce.isolation import isolated

if TYPE_CHECKING:
    from torch import Tensor

REFERENCE_SECONDS = 1.0
_IMAGES, _CONVOLUTIONS = 32, 80
_NUMBERS, _SORTS = 500_000, 5
_STEPS = 3_000_000


def reference_seconds(cpu_seconds: float, calibration_seconds: float) -> float:
    """CPU-seconds of a machine that needs `calibration_seconds`, as reference seconds."""
    return cpu_seconds / calibration_seconds * REFERENCE_SECONDS


@cache
def measure(settings: Path) -> float:
    """CPU-seconds of the fixed work in a new process; measured once by each process that asks.

    The process is isolated from the user's settings; what tools write goes below `settings`.

    Raises RunError where the work cannot be done, since no notebook could run there either.
    """
    done = subprocess.run(
        [sys.executable, "-s", "-P", "-c", f"from {__name__} import work; print(work())"],
        env=isolated(os.environ, settings),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise RunError(f"torch does not work here, so no notebook can run: {last}")
    return float(done.stdout)


def work() -> float:
    """Do the fixed work on one thread and return the CPU-seconds it took."""
    import torch

    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    images = torch.rand((_IMAGES, 16, 28, 28), generator=generator)
    kernels = torch.rand((16, 16, 3, 3), generator=generator, requires_grad=True)
    numbers = torch.rand(_NUMBERS, generator=generator)
    _convolve(images, kernels)  # the first call also loads and chooses code
    began = time.process_time()
    for _ in range(_CONVOLUTIONS):
        _convolve(images, kernels)
    for _ in range(_SORTS):
        numbers.sort()
    total = 0
    for step in range(_STEPS):
        total += step * step % 7
    return time.process_time() - began


def _convolve(images: Tensor, kernels: Tensor) -> None:
    from torch.nn.functional import conv2d

    loss = conv2d(images, kernels, padding=1).square().mean()
    loss.backward()  # type: ignore[no-untyped-call]
