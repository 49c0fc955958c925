from __future__ import annotations

import itertools
from functools import partial

import pytest
import torch
from torch import nn

from robustnb.attacks import lp_distance, margin, misclassified, project, square
from robustnb.attacks.projections import NORMS
from robustnb.attacks.square_attack import p_selection, peak, random_search
from small_inputs import seeded

EPS = {"linf": 0.1, "l2": 0.9, "l1": 3.0}
SMALL = {"linf": 0.03, "l2": 0.12, "l1": 0.3}
Y = torch.arange(40) % 4


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("shape", [(3, 6, 5), (1, 1, 2), (4, 3), (9,), (1,), (2, 3, 2, 2)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_images_of_any_shape_stay_in_ball_and_box(norm, shape, dtype):
    x = torch.rand(6, *shape, generator=seeded(), dtype=dtype)
    weights = torch.randn(x[0].numel(), 3, generator=seeded(1), dtype=dtype)
    y = torch.arange(6) % 3
    x_adv = square(
        lambda x: x.flatten(1) @ weights, x, y, eps=EPS[norm], norm=norm, queries=30,
        generator=seeded(),
    )  # fmt: skip
    assert (x_adv.shape, x_adv.dtype) == (x.shape, x.dtype)
    assert float(lp_distance(x_adv, x, norm).max()) <= EPS[norm]
    assert 0 <= float(x_adv.min()) <= float(x_adv.max()) <= 1


@pytest.mark.parametrize("shape", [(6, 6), (36,)])
def test_a_linear_model_in_linf_is_attacked_to_its_optimum(shape):
    weights = torch.randn(36, 2, generator=seeded(1), dtype=torch.float64)
    x, y = torch.rand(10, *shape, generator=seeded(), dtype=torch.float64), torch.arange(10) % 2

    def gain(image):
        return margin(image.flatten(1) @ weights, y) - margin(x.flatten(1) @ weights, y)

    found = gain(square(lambda x: x.flatten(1) @ weights, x, y, eps=0.1, queries=1000,
                        generator=seeded()))  # fmt: skip
    gap = (weights[:, 1 - y] - weights[:, y]).T.reshape(x.shape)
    best = gain(project(x + gap.sign(), x, eps=0.1, norm="linf"))
    assert float((best / found).max()) <= 1.001


def score(model, x_adv):
    with torch.no_grad():
        return margin(model.eval()(x_adv), Y)


@pytest.mark.parametrize("norm", NORMS)
def test_more_restarts_never_give_a_weaker_image_nor_does_any_weaken_x(curved, images, norm):
    model = curved(scale=8.0)
    found = [images] + [
        square(model, images, Y, eps=EPS[norm] / 4, norm=norm, queries=20, restarts=r,
               generator=seeded())
        for r in (1, 2, 4)
    ]  # fmt: skip
    scores = [score(model, x_adv) for x_adv in found]
    assert all(bool((b >= a).all()) for a, b in itertools.pairwise(scores))
    assert bool((scores[3] > scores[1]).any())


@pytest.mark.parametrize("norm", NORMS)
def test_the_search_gains_much_more_than_its_first_image(curved, images, norm):
    model = curved()
    first, last = (
        score(model, square(model, images, Y, eps=EPS[norm], norm=norm, queries=q,
                            generator=seeded()))
        for q in (1, 200)
    )  # fmt: skip
    assert float((last - score(model, images)).mean()) > 2 * float(
        (first - score(model, images)).mean()
    )


def test_eps_zero_returns_x_to_the_bit_for_all_or_for_one(curved, images):
    assert torch.equal(square(curved(), images, Y, eps=0.0), images)
    eps = torch.full((40,), 0.2)
    eps[7] = 0
    assert torch.equal(square(curved(), images, Y, eps=eps, queries=20)[7], images[7])


def test_no_gradient_is_asked_for(images):
    def steps(x):
        return torch.as_tensor((x.numpy() > 0.5).reshape(len(x), -1)[:, :4].astype(float))

    y = steps(images).argmax(1)
    x_adv = square(steps, images, y, eps=0.3, queries=100, generator=seeded())
    assert int(misclassified(steps(x_adv), y).sum()) > 5


@pytest.mark.parametrize("norm", NORMS)
def test_neither_batches_nor_order_matter(curved, images, norm):
    model = curved()

    def attack(x, y):
        return square(model, x, y, eps=EPS[norm], norm=norm, queries=40, generator=seeded())

    whole = attack(images, Y)
    parts = [attack(a, b) for a, b in zip(images.split(7), Y.split(7), strict=True)]
    torch.testing.assert_close(torch.cat(parts), whole)
    order = torch.randperm(40, generator=seeded())
    torch.testing.assert_close(attack(images[order], Y[order]), whole[order])


@pytest.mark.parametrize("norm", NORMS)
def test_stopping_at_the_misclassified_changes_no_verdict_and_saves_queries(
    curved, images, stopping, norm
):
    attack = partial(
        random_search, x=images, y=Y, eps=SMALL[norm], queries=80, norm=norm, clip=(0.0, 1.0),
        seed=3,
    )  # fmt: skip
    stopped, full = stopping(curved().eval(), Y, attack)
    assert full == 80 * 40 > stopped


def test_one_seed_gives_one_result_and_leaves_the_global_generator_alone(curved, images):
    model = curved()
    before = torch.get_rng_state()
    a, b, c = (
        square(model, images, Y, eps=0.1, queries=20, generator=seeded(s)) for s in (1, 1, 2)
    )
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    assert torch.equal(before, torch.get_rng_state())


def test_windows_shrink_by_the_papers_schedule():
    parts = [
        p_selection(query / 10_000) for query in (0, 11, 51, 201, 501, 1001, 2001, 4001, 6001, 8001)
    ]
    assert parts == [0.8 / 2**k for k in range(10)]


def test_the_peak_is_the_papers_pile_of_rectangles():
    """Ring k of a square of side 5 holds the sum of 1 / (3 - i)^2 up to k."""
    middle = [1 / 9, 1 / 9 + 1 / 4, 1 / 9 + 1 / 4 + 1]
    torch.testing.assert_close(
        peak(5, 5)[2], torch.tensor([*middle, *middle[1::-1]], dtype=torch.float64)
    )
    assert peak(4, 7).shape == (4, 7)
    torch.testing.assert_close(peak(4, 7), peak(4, 7).flip(0, 1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(queries=0), "queries must be an integer >= 1"),
        (dict(restarts=0), "restarts must be an integer >= 1"),
        (dict(eps=-1.0), "eps must be finite and >= 0"),
        (dict(norm="l0"), "linf, l2, l1"),
        (dict(model=lambda x: x.flatten(1) / 0), "NaN or infinite logits"),
        (dict(model=lambda x: x), "flatten its output"),
    ],
)
def test_bad_input_is_refused_with_the_fix(images, change, message):
    call = {"model": lambda x: x.flatten(1), "eps": 0.1, **change}
    with pytest.raises(ValueError, match=message):
        square(call.pop("model"), images, Y, **call)


def test_an_empty_batch_comes_back():
    x = torch.zeros(0, 1, 4, 4)
    assert square(nn.Flatten(), x, torch.zeros(0, dtype=torch.int64), eps=0.1).shape == x.shape
