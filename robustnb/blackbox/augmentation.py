"""New questions for an oracle (Papernot 2016, equations 4 and 5, and its reservoir sampling)."""

from __future__ import annotations

import torch
from torch import Tensor

from robustnb.attacks.projections import Clip, check_box
from robustnb.attacks.queries import gradient, usable
from robustnb.attacks.validation import (
    check_gradients_allowed,
    check_images,
    check_place,
    check_tensor,
)
from robustnb.generators import check_cpu_generator
from robustnb.models.ask import ask, check_finite
from robustnb.models.modes import Model, eval_mode
from robustnb.scalars import finite, whole

_AT_ONCE = 1000  # examples of one gradient


def jacobian_augmentation(
    model: Model, x: Tensor, labels: Tensor, *, step: float, clip: Clip = (0.0, 1.0)
) -> Tensor:
    """x + step sgn(J[label]) for each x (N, ...): one new example each (equation 4).

    J[label] is the gradient in x of the substitute's score (logit) for the label that the oracle
    gave, not for the substitute's own answer. `step` may be negative. The paper's loop unites the
    result with the old examples. clip=None leaves the box, as the authors' later library does.
    """
    step, clip = finite("step", step), check_box(clip)
    check_images(x, clip)
    check_place(model, x)
    check_gradients_allowed(model)
    check_tensor("labels", labels)
    labels = labels.to(x.device)
    if labels.shape != (len(x),) or labels.dtype != torch.int64:
        raise ValueError(
            f"labels must be int64 ({len(x)},), the oracle's answers to x, got {labels.dtype} "
            f"{tuple(labels.shape)}"
        )
    x = x.detach()
    moved = [x[:0]]
    with eval_mode(model):
        for start in range(0, len(x), _AT_ONCE):
            part, own = x[start : start + _AT_ONCE], labels[start : start + _AT_ONCE]
            moved.append(part + step * _gradient(model, part, own).sign())
    found = torch.cat(moved)
    return found if clip is None else found.clamp(*clip)


def _gradient(model: Model, x: Tensor, labels: Tensor) -> Tensor:
    with torch.enable_grad():
        leaf, labels = x.detach().clone().requires_grad_(True), labels.clone()
        logits = ask(model, leaf)
        check_finite(logits)
        if logits.ndim != 2 or int(labels.max()) >= logits.shape[1] or int(labels.min()) < 0:
            raise ValueError(
                f"the substitute's logits are {tuple(logits.shape)}, and the oracle gave labels "
                f"from {int(labels.min())} to {int(labels.max())}; build it with a score for each"
            )
        found = gradient(logits.gather(1, labels[:, None])[:, 0], leaf)
    return usable(found)[0]


def periodic_step(step: float, round: int, *, period: int | None = None) -> float:
    """step (-1)^floor(round / period) (equation 5), counted from round 0; `step` without a period.

    >>> [periodic_step(0.1, round, period=2) for round in range(5)]
    [0.1, 0.1, -0.1, -0.1, 0.1]
    """
    step, round = finite("step", step), whole("round", round, least=0)
    if period is None:
        return step
    return -step if round // whole("period", period) % 2 else step


def reservoir_sample(n: int, size: int, *, generator: torch.Generator | None = None) -> Tensor:
    """`size` of the indices 0..n-1 (size,), each held with probability size / n (Vitter 1985).

    The slides' Algorithm 1: the first `size` fill the places; index i then draws r from 0..i, both
    ends included, and takes place r if there is one. With size >= n all indices are returned.
    """
    n, size = whole("n", n, least=0), whole("size", size, least=0)
    size = min(n, size)
    check_cpu_generator(generator)
    places = torch.arange(size)
    draws = torch.rand(n - size, generator=generator, dtype=torch.float64)
    later = torch.arange(size, n)
    taken = (draws * (later + 1)).long()
    for place, index in zip(taken.tolist(), later.tolist(), strict=True):
        if place < size:
            places[place] = index
    return places


def query_budget(
    n: int, rounds: int, *, doubling: int | None = None, size: int | None = None
) -> int:
    """Labels that `rounds` augmentations of n seeds cost: n 2^min(r, d) + size max(0, r - d).

    `doubling` (d, the paper's sigma) rounds double the set; each later one adds `size` (kappa).

    As no example spawns two in a round, a set smaller than `size` doubles there, too.

    >>> [query_budget(100, 6), query_budget(100, 6, doubling=3, size=400)]
    [6400, 2000]
    """
    n, rounds = whole("n", n), whole("rounds", rounds, least=0)
    doubling, size = check_reservoir(doubling, size)
    total = n
    for round in range(rounds):
        full = doubling is None or size is None or round < doubling
        total += total if full else min(size or 0, total)  # no example spawns two
    return total


def check_reservoir(doubling: int | None, size: int | None) -> tuple[int | None, int | None]:
    """Both settings of reservoir sampling, or neither."""
    if (doubling is None) != (size is None):
        raise ValueError("doubling (rounds) and size (new points a round) go together")
    if doubling is None or size is None:
        return None, None
    return whole("doubling", doubling, least=0), whole("size", size)
