"""Images in groups: each is finished, reported and saved before the next begins."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from robustnb.attacks.checks import check_images, check_place
from robustnb.attacks.geometry import Clip
from robustnb.models.modes import Model, evaluating
from robustnb.progress import Progress, progress
from robustnb.smoothing.counting import BLOCK, Sampler, noise_seeds
from robustnb.training import tensorfile

_MOST = 64  # images a group: what an interruption can lose


@dataclass(frozen=True)
class Work:
    """What to count for a group of images: `task` gives integer rows (images, columns).

    copies: noisy copies of an image at most. fewest: of one call for it, which a group
    must fill batches with. facts: the settings that decide the counts, as JSON values.
    """

    title: str
    task: Callable[[Sampler, list[int]], Tensor]
    copies: int
    fewest: int
    facts: Mapping[str, Any] = field(default_factory=dict)


def run(
    work: Work,
    model: Model,
    x: Tensor,
    *,
    sigma: float,
    batch_size: int,
    generator: torch.Generator | None,
    domain: Clip,
    checkpoint: Path | None,
) -> Tensor:
    """The rows of `work` for all images x, int64 (N, columns), in evaluation mode."""
    _check(x, model, sigma, batch_size, domain)
    if checkpoint is not None and generator is None:
        raise ValueError(
            "to go on later the noise must be the same; pass generator="
            "torch.Generator().manual_seed(0) together with checkpoint"
        )
    seeds = noise_seeds(len(x), generator=generator)
    facts = {} if checkpoint is None else _facts(work, model, x, sigma, seeds)
    rows = [] if checkpoint is None else _restore(checkpoint, facts)
    done = sum(map(len, rows))
    size = min(_MOST, math.ceil(batch_size / work.fewest))
    with progress(work.title, total=(len(x) - done) * work.copies) as bar, evaluating(model):
        for start in range(done, len(x), size):
            part = slice(start, start + size)
            sampler = Sampler(
                model, x[part], sigma=sigma, seeds=seeds[part], batch_size=batch_size,
                drawn=bar.advance,
            )  # fmt: skip
            rows.append(_finished(work, sampler, bar))
            if checkpoint is not None:
                tensorfile.write(checkpoint, {"rows": torch.cat(rows)}, facts)
    return torch.cat(rows)


def _finished(work: Work, sampler: Sampler, bar: Progress) -> Tensor:
    """One group; copies that were saved by stopping early count as done."""
    images, before = len(sampler.x), bar.done
    rows = work.task(sampler, list(range(images)))
    saved = images * work.copies - (bar.done - before)
    if saved:
        bar.advance(saved)
    return rows


def _facts(work: Work, model: Model, x: Tensor, sigma: float, seeds: list[int]) -> dict[str, Any]:
    """All that decides the counts; a checkpoint of other facts is refused."""
    name = getattr(model, "__qualname__", type(model).__qualname__)
    if isinstance(model, nn.Module):
        name += " " + tensorfile.weights_digest(model.state_dict())
    images = tensorfile.weights_digest({"x": x})
    facts = {"work": work.title, "model": name, "images": images, "device": x.device.type}
    return {**facts, "sigma": sigma, "seed": seeds[0], "block": BLOCK, **work.facts}


def _restore(path: Path, facts: Mapping[str, Any]) -> list[Tensor]:
    if not path.exists():
        return []
    try:
        tensors, then = tensorfile.read(path)
    except tensorfile.DamagedFile as error:
        raise ValueError(f"{error}; delete it to begin anew") from error
    changed = sorted(k for k in then.keys() | facts.keys() if then.get(k) != facts.get(k))
    if changed:
        was = ", ".join(f"{k}: {then.get(k)!r}, now {facts.get(k)!r}" for k in changed)
        raise ValueError(f"{path} belongs to other work ({was}); delete it or name another")
    return [tensors["rows"]]


def _check(x: Tensor, model: Model, sigma: float, batch_size: int, domain: Clip) -> None:
    check_images(x, domain)
    check_place(model, x)
    if len(x) == 0:
        raise ValueError("x holds no images; pass at least one")
    if not (math.isfinite(sigma) and sigma > 0):
        raise ValueError(f"sigma must be finite and > 0 in pixel units, got {sigma}; try 0.25")
    check_count("batch_size", batch_size)


def check_count(what: str, value: int) -> None:
    """Refuse anything but an integer >= 1."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{what} must be an integer >= 1, got {value!r}")
