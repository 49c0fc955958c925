"""CERTIFY and PREDICT of Cohen et al. 2019 (Section 3.2), for many images at once."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from robustnb.attacks.projections import Clip
from robustnb.models.modes import Model
from robustnb.scalars import whole
from robustnb.smoothing.batching import Work, run
from robustnb.smoothing.certificate import (
    ABSTAIN,
    Certificate,
    check_alpha,
    check_sigma,
    lower_bound,
)
from robustnb.smoothing.failure_probability import vote_p_value
from robustnb.smoothing.sampling import Sampler


def certify(
    model: Model,
    x: Tensor,
    *,
    sigma: float,
    n0: int = 100,
    n: int = 100_000,
    alpha: float = 0.001,
    batch_size: int = 1000,
    generator: torch.Generator | None = None,
    domain: Clip = (0.0, 1.0),
    checkpoint: Path | str | None = None,
) -> Certificate:
    """CERTIFY: the smoothed model's class and an l2 radius for each image x (N, ...) in `domain`.

    n0 noisy copies choose a class; n fresh ones bound its probability p_A from below by
    one-sided Clopper-Pearson; above 1/2 the radius is sigma Phi^-1(bound), else it abstains.
    Guarantee: for each image, with probability >= 1 - alpha the smoothed model gives the
    returned class to every point nearer than the radius. Noisy copies are not clipped.
    The noise of an image is its own, so neither batch_size nor neighbours change its counts.
    With a `checkpoint` file, an interrupted call goes on where it stopped, with the same result.
    """
    sigma, batch_size = check_sigma(sigma), whole("batch_size", batch_size)
    n0, n, alpha = whole("n0", n0), whole("n", n), check_alpha(alpha)

    def task(sampler: Sampler, images: list[int]) -> Tensor:
        top = sampler.counts(images, n0).argmax(1)
        hits = sampler.counts(images, n).gather(1, top[:, None])
        return torch.cat([top[:, None], hits], 1)

    work = Work("certify", task, copies=n0 + n, fewest=n0, facts={"n0": n0, "n": n})
    table = run(
        work, model, x, sigma=sigma, batch_size=batch_size, generator=generator,
        domain=domain, checkpoint=checkpoint,
    )  # fmt: skip
    top, hits = table.unbind(1)
    lower = torch.from_numpy(lower_bound(hits.numpy(), n, alpha))
    return Certificate(top, hits, torch.full_like(hits, n), lower, sigma, n0, alpha)


def predict(
    model: Model,
    x: Tensor,
    *,
    sigma: float,
    n: int = 1000,
    alpha: float = 0.001,
    batch_size: int = 1000,
    generator: torch.Generator | None = None,
    domain: Clip = (0.0, 1.0),
    checkpoint: Path | str | None = None,
) -> Tensor:
    """PREDICT: the smoothed model's class of each image x (N, ...), or ABSTAIN (-1): (N,) int64.

    n noisy copies vote; a two-sided binomial test of the two largest counts must give a
    p-value <= alpha. Guarantee: for each image, another class than the smoothed model's is
    returned with probability <= alpha. n < 1 + log2(1 / alpha) always abstains.
    """
    sigma, batch_size = check_sigma(sigma), whole("batch_size", batch_size)
    n, alpha = whole("n", n), check_alpha(alpha)
    work = Work(
        "predict", lambda sampler, images: _top_two(sampler.counts(images, n)),
        copies=n, fewest=n, facts={"n": n},
    )  # fmt: skip
    table = run(
        work, model, x, sigma=sigma, batch_size=batch_size, generator=generator,
        domain=domain, checkpoint=checkpoint,
    )  # fmt: skip
    return _decided(table, alpha)


def predict_from_counts(counts: Tensor, *, alpha: float) -> Tensor:
    """PREDICT's decision from class counts (N, classes): the top class or ABSTAIN, (N,) int64.

    >>> predict_from_counts(torch.tensor([[10, 0], [11, 0]]), alpha=0.001).tolist()
    [-1, 0]
    """
    if not isinstance(counts, Tensor) or counts.dtype not in (torch.int64, torch.int32):
        kind = counts.dtype if isinstance(counts, Tensor) else type(counts).__name__
        raise TypeError(
            f"counts must be a tensor of whole numbers, got {kind}; use torch.as_tensor(counts) "
            "with dtype int64"
        )
    if counts.ndim != 2 or counts.shape[1] < 2:
        raise ValueError(
            f"counts must be (N, classes) with two classes or more, got {tuple(counts.shape)}"
        )
    if bool((counts < 0).any()):
        raise ValueError("counts must be >= 0: how often each class was returned")
    return _decided(_top_two(counts), check_alpha(alpha))


def _top_two(counts: Tensor) -> Tensor:
    """(N, 3): the class with most votes, its votes, and the next class's."""
    votes, classes = counts.topk(2, dim=1)
    return torch.cat([classes[:, :1], votes], 1)


def _decided(table: Tensor, alpha: float) -> Tensor:
    top, most, second = table.unbind(1)
    p_value = torch.from_numpy(vote_p_value(most.numpy(), second.numpy()))
    return torch.where(p_value <= alpha, top, ABSTAIN)
