"""The random state of a training: one generator on the CPU, and what is drawn from it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


def reseed(generator: torch.Generator, device: torch.device) -> torch.Generator:
    """Seed dropout and a generator on the device: the CPU generator alone is then the state."""
    dropout, noise = torch.randint(2**62, (2,), generator=generator).tolist()
    torch.default_generator.manual_seed(dropout)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(dropout)
    return torch.Generator(device).manual_seed(noise)


@contextmanager
def private_randomness(device: torch.device) -> Iterator[None]:
    """Give the global random state back as it was: dropout can draw from nothing else."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        yield
