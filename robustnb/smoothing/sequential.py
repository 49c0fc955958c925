"""CERTIFY with early stopping: fewer copies where a wanted radius is soon decided."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robustnb.attacks.projections import Clip
from robustnb.models.modes import Model
from robustnb.scalars import finite, whole
from robustnb.smoothing.batching import Work, run
from robustnb.smoothing.certificate import (
    Certificate,
    certified_radius,
    check_alpha,
    check_sigma,
    lower_bound,
    upper_bound,
)
from robustnb.smoothing.sampling import Sampler

Undecided = Callable[[NDArray[np.int64], int], NDArray[np.bool_]]
_NOT_REACHED = -1
_GROWTH, _FIRST = 4, 100  # looks at n, n / 4, n / 16, ..., none before 100 copies


def certify_sequential(
    model: Model,
    x: Tensor,
    *,
    sigma: float,
    target: float,
    n0: int = 100,
    n: int = 100_000,
    alpha: float = 0.001,
    looks: Sequence[int] | None = None,
    batch_size: int = 1000,
    generator: torch.Generator | None = None,
    domain: Clip = (0.0, 1.0),
    checkpoint: Path | str | None = None,
) -> Certificate:
    """CERTIFY that looks at the counts several times and stops once `target` is decided.

    Not the procedure of Cohen et al. 2019: it asks only whether the l2 radius reaches `target`.
    `looks` are numbers of copies, the last one n. Each bound is made at alpha / len(looks), so all
    hold together with probability >= 1 - alpha, whatever the rule of stopping. An image stops
    when its radius reaches `target`, or when its upper bound says that it will not. The radius
    is the largest of the looks made: as valid as CERTIFY's, but often not far beyond `target`.
    """
    sigma, batch_size = check_sigma(sigma), whole("batch_size", batch_size)
    n0, n, alpha = whole("n0", n0), whole("n", n), check_alpha(alpha)
    target = finite("target", target, least=0, hint="; it is an l2 radius in pixel units")
    plan = default_looks(n) if looks is None else [whole("a look", look) for look in looks]
    _check_looks(plan, n)
    share = alpha / len(plan)

    def task(sampler: Sampler, images: list[int]) -> Tensor:
        top = sampler.counts(images, n0).argmax(1)
        hits = _hits(sampler, top, plan, partial(_open, share=share, sigma=sigma, target=target))
        return torch.cat([top[:, None], hits], 1)

    facts = {"n0": n0, "looks": plan, "alpha": alpha, "target": target}
    work = Work("certify, stopping early", task, copies=n0 + n, fewest=n0, facts=facts)
    table = run(
        work, model, x, sigma=sigma, batch_size=batch_size, generator=generator,
        domain=domain, checkpoint=checkpoint,
    )  # fmt: skip
    return _certificate(table, plan, share, sigma=sigma, n0=n0, alpha=alpha)


def default_looks(n: int) -> list[int]:
    """Numbers of copies at which to look: n, a quarter of it, and so on down to 100.

    >>> default_looks(10_000)
    [156, 625, 2500, 10000]
    """
    looks = [whole("n", n)]
    while looks[0] // _GROWTH >= _FIRST:
        looks.insert(0, looks[0] // _GROWTH)
    return looks


def _hits(sampler: Sampler, top: Tensor, looks: Sequence[int], undecided: Undecided) -> Tensor:
    """(images, looks) hits up to each look, as far as the image stayed undecided."""
    table = torch.full((len(top), len(looks)), _NOT_REACHED)
    total = torch.zeros_like(top)
    active = list(range(len(top)))
    for column, (before, look) in enumerate(pairwise([0, *looks])):
        fresh = sampler.counts(active, look - before)
        total[active] += fresh.gather(1, top[active, None])[:, 0]
        table[active, column] = total[active]
        go_on = undecided(total[active].numpy(), look)
        active = [image for image, more in zip(active, go_on, strict=True) if more]
        if not active:
            break
    return table


def _open(
    hits: NDArray[np.int64], look: int, *, share: float, sigma: float, target: float
) -> NDArray[np.bool_]:
    """Where neither bound says on which side of `target` the radius lies."""
    low, high = lower_bound(hits, look, share), upper_bound(hits, look, share)
    reached = (certified_radius(low, sigma=sigma) >= target) & (low > 0.5)
    hopeless = (certified_radius(high, sigma=sigma) < target) | (high <= 0.5)
    return np.asarray(~reached & ~hopeless)


def _certificate(
    table: Tensor, looks: Sequence[int], share: float, *, sigma: float, n0: int, alpha: float
) -> Certificate:
    top, hits = table[:, 0], table[:, 1:]
    reached = hits != _NOT_REACHED
    sizes = torch.tensor(list(looks))
    low = lower_bound(hits.clamp_min(0).numpy(), sizes.numpy(), share)
    lower = torch.where(reached, torch.from_numpy(low), 0.0).amax(1)
    last = reached.sum(1) - 1
    at_last = hits.gather(1, last[:, None])[:, 0]
    return Certificate(top, at_last, sizes[last], lower, sigma, n0, alpha)


def _check_looks(looks: Sequence[int], n: int) -> None:
    if not looks or looks[-1] != n or any(a >= b for a, b in pairwise([0, *looks])):
        raise ValueError(f"looks must grow and end at n = {n}, got {list(looks)}")
