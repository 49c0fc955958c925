"""Class counts under Gaussian noise: the one place where a smoothed classifier is sampled."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
from torch import Tensor

from robustnb.generators import check_generator
from robustnb.models.ask import ask, check_finite
from robustnb.models.layout import in_faster_format
from robustnb.models.modes import Model
from robustnb.scalars import whole

BLOCK = 100  # noisy copies a draw: small enough for a cache, and fixed, as it shapes the stream
_SEEDS = 2**32  # a CPU generator reads no more of its seed than this


def noise_seeds(count: int, *, generator: torch.Generator | None = None) -> list[int]:
    """Seeds of the noise streams of `count` images, all different, from one draw of `generator`.

    >>> seeds = noise_seeds(3, generator=torch.Generator().manual_seed(0))
    >>> len(set(seeds))
    3
    """
    count = whole("count", count, least=0)
    device = check_generator(generator, place=torch.device("cpu"))
    first = int(torch.randint(_SEEDS, (), generator=generator, device=device))
    return [(first + image) % _SEEDS for image in range(count)]


class Sampler:
    """Counts the classes that a model gives to noisy copies of images.

    Every image has a noise stream of its own, read on from call to call. So its noise depends
    neither on the batch size nor on the images beside it, and later calls see fresh noise.
    """

    def __init__(
        self,
        model: Model,
        x: Tensor,
        *,
        sigma: float,
        seeds: Sequence[int],
        batch_size: int,
        drawn: Callable[[int], None] = lambda copies: None,
    ) -> None:
        """Images x (N, ...) with one seed each; `drawn` is told of every batch classified."""
        self.model, self.x, self.sigma, self.batch_size = model, x, sigma, batch_size
        self._streams = [torch.Generator(x.device).manual_seed(seed) for seed in seeds]
        self._drawn = drawn
        rows = batch_size + BLOCK
        self._copies = torch.empty((rows, *x.shape[1:]), dtype=x.dtype, device=x.device)
        self._owner = torch.empty(rows, dtype=torch.int64, device=x.device)

    @torch.no_grad()
    def counts(self, images: Sequence[int], n: int) -> Tensor:
        """How often each class is given to n fresh copies x + N(0, sigma^2 I) of the listed images.

        Returns int64 (len(images), classes) on the CPU. The copies are not clipped.
        """
        if n < 1 or not images:
            raise ValueError(f"need n >= 1 copies of one or more images, got {n} of {len(images)}")
        table = torch.zeros(0)
        finite = torch.tensor(True, device=self.x.device)
        for first, last in self._batches(images, n):
            x = self._copies[first:last]
            logits = in_faster_format(self.model, x, partial(ask, self.model, x), backward=False)
            if not table.numel():
                _check(logits)
                shape = (len(images), logits.shape[1])
                table = torch.zeros(shape, dtype=torch.int64, device=self.x.device)
            finite &= torch.isfinite(logits).all()
            cell = self._owner[first:last] * table.shape[1] + logits.argmax(1)
            table.view(-1).index_add_(0, cell, torch.ones_like(cell))
            self._drawn(last - first)
        if not finite:
            raise ValueError(
                "the model returned NaN or infinite logits on noisy images; check its weights"
            )
        return table.cpu()

    def _batches(self, images: Sequence[int], n: int) -> Iterator[tuple[int, int]]:
        """Rows of the buffer to classify; noise comes in blocks, batches are always full."""
        filled = 0
        for place, image in enumerate(images):
            for drawn in range(0, n, BLOCK):
                rows = slice(filled, filled + min(BLOCK, n - drawn))
                noise = self._copies[rows].normal_(0.0, self.sigma, generator=self._streams[image])
                noise += self.x[image]
                self._owner[rows] = place
                first, filled = 0, rows.stop
                while filled - first >= self.batch_size:
                    yield first, first + self.batch_size
                    first += self.batch_size
                filled = self._to_front(first, filled)
        if filled:
            yield 0, filled

    def _to_front(self, first: int, filled: int) -> int:
        """Move the rows that no batch has taken yet to the front; returns how many they are."""
        rest = filled - first
        if first and rest:
            for buffer in (self._copies, self._owner):
                buffer[:rest] = buffer[first:filled].clone()  # the two may overlap
        return rest


def _check(logits: Tensor) -> None:
    check_finite(logits)
    if logits.ndim != 2:
        raise ValueError(
            f"smoothing counts classes, so the model must return logits ({len(logits)}, "
            f"classes >= 2), got shape {tuple(logits.shape)}; for scores s use "
            "torch.stack([-s, s], 1)"
        )
