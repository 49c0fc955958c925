"""Images in groups: each is finished, reported and saved before the next begins."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from robustnb import resume, tensorfile
from robustnb.attacks.projections import Clip, check_box
from robustnb.attacks.sanity_checks import check_batch_independence
from robustnb.attacks.validation import check_images, check_place
from robustnb.models.ask import ask
from robustnb.models.fingerprint import facts_of
from robustnb.models.layout import fastest_layout
from robustnb.models.modes import Model, eval_mode
from robustnb.progress import Progress, progress
from robustnb.resume import path_of
from robustnb.smoothing.sampling import BLOCK, Sampler, noise_seeds

_MOST = 64  # images a group: what an interruption can lose
_ASKED = 16  # noisy copies that are asked about in two batches


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
    checkpoint: Path | str | None,
) -> Tensor:
    """The rows of `work` for all images x, int64 (N, columns), in evaluation mode."""
    checkpoint, domain = path_of(checkpoint), check_box(domain, "domain")
    _check(x, model, domain)
    x = x.detach()
    if checkpoint is not None and generator is None:
        raise ValueError(
            "to go on later the noise must be the same; pass generator="
            "torch.Generator().manual_seed(0) together with checkpoint"
        )
    seeds = noise_seeds(len(x), generator=generator)
    facts = {} if checkpoint is None else _facts(work, model, x, sigma, seeds, domain)
    rows = [] if checkpoint is None else _restore(checkpoint, facts)
    done = sum(map(len, rows))
    size = min(_MOST, math.ceil(batch_size / work.fewest))
    with (
        progress(work.title, total=(len(x) - done) * work.copies) as bar,
        eval_mode(model),
        fastest_layout(model),
    ):
        if done < len(x):
            _check_batches(model, x, sigma)
        for start in range(done, len(x), size):
            part = slice(start, start + size)
            sampler = Sampler(
                model, x[part], sigma=sigma, seeds=seeds[part], batch_size=batch_size,
                drawn=bar.advance,
            )  # fmt: skip
            rows.append(_finished(work, sampler, bar))
            if checkpoint is not None:
                resume.save(checkpoint, {"rows": torch.cat(rows)}, facts)
    return torch.cat(rows)


def _finished(work: Work, sampler: Sampler, bar: Progress) -> Tensor:
    """One group; copies that were saved by stopping early count as done."""
    images, before = len(sampler.x), bar.done
    rows = work.task(sampler, list(range(images)))
    saved = images * work.copies - (bar.done - before)
    if saved:
        bar.advance(saved)
    return rows


def _facts(
    work: Work, model: Model, x: Tensor, sigma: float, seeds: list[int], domain: Clip
) -> dict[str, Any]:
    """All that decides the counts; a checkpoint of other facts is refused."""
    images = tensorfile.weights_digest({"x": x})
    facts = {"work": work.title, "images": images, "device": x.device.type, "sigma": sigma}
    facts |= {"seed": seeds[0], "block": BLOCK, **work.facts}
    return facts | facts_of(model, x, clip=domain)


def _restore(path: Path, facts: Mapping[str, Any]) -> list[Tensor]:
    saved = resume.load(path, what="certification")
    if saved is None:
        return []
    resume.refuse_other(path, saved[1], facts, what="certification")
    return [saved[0]["rows"]]


def _check(x: Tensor, model: Model, domain: Clip) -> None:
    check_images(x, domain)
    check_place(model, x)
    if len(x) == 0:
        raise ValueError("x holds no images; pass at least one")


@torch.no_grad()
def _check_batches(model: Model, x: Tensor, sigma: float) -> None:
    """Refuse a model whose answer to a copy depends on the copies that happen to lie beside it."""
    own = torch.Generator(x.device).manual_seed(0)
    copies = x[torch.arange(_ASKED, device=x.device) % len(x)]
    noise = torch.empty_like(copies).normal_(0.0, sigma, generator=own)
    check_batch_independence(model, copies + noise, ask(model, copies + noise))
