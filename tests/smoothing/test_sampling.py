"""Counting: the same counts as a plain loop over images, and noise of the right law."""

from __future__ import annotations

import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from robustnb.smoothing import Sampler, noise_seeds
from robustnb.smoothing.sampling import BLOCK
from robustnb.stats import clopper_pearson

SIGMA = 0.5


@pytest.fixture
def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(27, 4)).double()


@pytest.fixture
def x() -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(5, 3, 3, 3, generator=generator, dtype=torch.float64)


def image_by_image(net: nn.Module, x: Tensor, seeds: list[int], sizes: list[int]) -> list[Tensor]:
    """The plain procedure: for each image its own noise, for each of `sizes` in turn."""
    tables = [torch.zeros(len(x), 4, dtype=torch.int64) for _ in sizes]
    for image, seed in enumerate(seeds):
        stream = torch.Generator().manual_seed(seed)
        for table, n in zip(tables, sizes, strict=True):
            blocks = [min(BLOCK, n - k) for k in range(0, n, BLOCK)]
            shapes = [(size, *x.shape[1:]) for size in blocks]
            draws = [torch.randn(shape, generator=stream, dtype=x.dtype) for shape in shapes]
            classes = net(x[image] + SIGMA * torch.cat(draws)).argmax(1)
            table[image] = torch.bincount(classes, minlength=4)
    return tables


@pytest.mark.parametrize("batch_size", [1, 7, 99, 100, 130, 1000])
@pytest.mark.parametrize("sizes", [[30, 250], [100, 7, 100]], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_counts_are_those_of_a_loop_over_images_with_the_same_noise(
    net, x, batch_size, sizes, dtype
) -> None:
    net, x = net.to(dtype), x.to(dtype)
    seeds = noise_seeds(len(x), generator=torch.Generator().manual_seed(2))
    sampler = Sampler(net, x, sigma=SIGMA, seeds=seeds, batch_size=batch_size)
    wanted = image_by_image(net, x, seeds, sizes)
    for n, table in zip(sizes, wanted, strict=True):
        found = sampler.counts(range(len(x)), n)
        assert torch.equal(found, table)
        assert (found.sum(1) == n).all()


def test_an_images_counts_do_not_depend_on_its_neighbours(net, x) -> None:
    seeds = noise_seeds(len(x), generator=torch.Generator().manual_seed(3))
    together = Sampler(net, x, sigma=SIGMA, seeds=seeds, batch_size=64).counts([0, 1, 2, 3, 4], 210)
    alone = Sampler(net, x[3:4], sigma=SIGMA, seeds=seeds[3:4], batch_size=64).counts([0], 210)
    assert torch.equal(together[3:4], alone)


def test_every_batch_but_the_last_is_full(net, x) -> None:
    told: list[int] = []
    seeds = noise_seeds(len(x))
    sampler = Sampler(net, x, sigma=SIGMA, seeds=seeds, batch_size=64, drawn=told.append)
    sampler.counts([0, 2, 4], 110)
    assert told == [64] * 5 + [10]


def test_counts_follow_the_law_of_a_linear_model(linear, at_distance) -> None:
    distances, n = torch.tensor([-1.0, 0.0, 0.3, 0.9]), 20_000
    x = at_distance(distances)
    seeds = noise_seeds(4, generator=torch.Generator().manual_seed(5))
    sampler = Sampler(linear, x, sigma=SIGMA, seeds=seeds, batch_size=500)
    counts = sampler.counts(range(4), n)
    for hits, distance in zip(counts[:, 1].tolist(), distances.tolist(), strict=True):
        assert stats.norm.cdf(distance / SIGMA) in clopper_pearson(hits, n, level=0.9999)


def test_noisy_images_are_not_clipped() -> None:
    def outside(x: Tensor) -> Tensor:
        beyond = ((x < 0) | (x > 1)).flatten(1).any(1)
        return torch.stack([~beyond, beyond], 1).float()

    x = torch.full((1, 64), 0.5)
    sampler = Sampler(outside, x, sigma=1.0, seeds=[0], batch_size=100)
    assert sampler.counts([0], 200).tolist() == [[0, 200]]


def test_the_streams_of_images_are_all_different() -> None:
    seeds = noise_seeds(70_000, generator=torch.Generator().manual_seed(0))
    assert len({seed % 2**32 for seed in seeds}) == 70_000


def test_the_images_are_left_as_they_were(net, x) -> None:
    before = x.clone()
    Sampler(net, x, sigma=SIGMA, seeds=noise_seeds(5), batch_size=8).counts([0, 1], 20)
    assert torch.equal(x, before)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda x: x.flatten(1).sum(1), "torch.stack"),
        (lambda x: x.flatten(1).sum(1, keepdim=True), "one column"),
        (lambda x: x.flatten(1) * torch.nan, "NaN"),
        (
            lambda x: torch.where(torch.arange(len(x))[:, None] < 90, torch.zeros(2), torch.inf),
            "infinite",
        ),
    ],
)
def test_outputs_that_cannot_be_counted_are_refused(x, model, message) -> None:
    sampler = Sampler(model, x, sigma=SIGMA, seeds=noise_seeds(5), batch_size=100)
    with pytest.raises(ValueError, match=message):
        sampler.counts([0], 150)


def test_no_copies_and_no_images_are_refused(net, x) -> None:
    sampler = Sampler(net, x, sigma=SIGMA, seeds=noise_seeds(5), batch_size=100)
    for images, n in (([], 10), ([0], 0)):
        with pytest.raises(ValueError, match="n >= 1 copies"):
            sampler.counts(images, n)
