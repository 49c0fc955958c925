from __future__ import annotations

import pytest
import torch
from torch import nn

from robustnb.attacks import apgd, fab, lp_distance, misclassified
from robustnb.attacks.fab_attack import fab_targeted
from robustnb.attacks.fab_projections import project_onto_hyperplane
from robustnb.attacks.projections import NORMS
from robustnb.attacks.queries import ModelQueries
from small_inputs import seeded

Y = torch.arange(40) % 4


def nearest_plane(weights, x, y, norm):
    """The distance to the nearest class of a linear model, in the box; inf where none is there."""
    logits = x.flatten(1) @ weights
    best = torch.full((len(x),), torch.inf, dtype=torch.float64)
    for k in range(weights.shape[1]):
        slope = (weights[:, [k]] - weights[:, y]).T.reshape(x.shape)
        gain = logits.gather(1, y[:, None])[:, 0] - logits[:, k]
        step = project_onto_hyperplane(x, slope, gain, norm=norm, clip=(0.0, 1.0))
        there = ((step * slope).flatten(1).sum(1) - gain).abs() < 1e-9
        size = lp_distance(step, 0 * step, norm)
        best = torch.where(there & (y != k), torch.minimum(best, size), best)
    return best


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_linear_model_is_attacked_within_a_thousandth_of_the_optimum(norm, classes, dtype):
    weights = torch.randn(48, classes, generator=seeded(3), dtype=dtype)
    x = torch.rand(20, 3, 4, 4, generator=seeded(4), dtype=dtype)
    y = (x.flatten(1) @ weights).argmax(1)
    found = fab(lambda x: x.flatten(1) @ weights, x, y, steps=10, norm=norm)
    ratio = found.size / nearest_plane(weights.double(), x.double(), y, norm)
    assert 1 - 1e-5 <= float(ratio.min()) <= float(ratio.max()) <= 1.001


@pytest.mark.parametrize("norm", NORMS)
def test_what_is_found_is_misclassified_in_the_box_and_as_far_as_it_says(curved, images, norm):
    model, x = curved().float().eval(), images.float()
    found = fab(model, x, Y, steps=20, norm=norm, restarts=2, generator=seeded())
    assert 0 <= float(found.x_adv.min()) <= float(found.x_adv.max()) <= 1
    assert torch.equal(misclassified(model(found.x_adv), Y), found.size.isfinite())
    torch.testing.assert_close(lp_distance(found.x_adv, x, norm), found.size)
    assert int(found.size.isfinite().sum()) == 40


@pytest.mark.parametrize("norm", NORMS)
def test_just_below_the_size_found_projected_gradients_find_little(curved, images, norm):
    """The two attacks share no step, so each bounds the other from above."""
    model = curved().eval()
    y = model(images).argmax(1)
    size = fab(model, images, y, steps=30, norm=norm).size
    x_adv = apgd(model, images, y, eps=0.9 * size, norm=norm, loss="dlr", steps=30)
    assert int(misclassified(model(x_adv), y).sum()) <= 4
    x_adv = apgd(model, images, y, eps=1.2 * size, norm=norm, loss="dlr", steps=30)
    assert int(misclassified(model(x_adv), y).sum()) >= 30


def test_an_image_that_is_wrong_already_comes_back_to_the_bit_with_size_zero(curved, images):
    model = curved().eval()
    y = (model(images).argmax(1) + 1) % 4
    found = fab(model, images, y, steps=5)
    assert torch.equal(found.x_adv, images)
    assert not found.size.any()


def test_where_there_is_nothing_to_find_the_size_is_infinite(images):
    found = fab(lambda x: x.flatten(1)[:, :3] * 1e-3 + torch.tensor([1.0, 0, 0]), images, 0 * Y,
                steps=5)  # fmt: skip
    assert bool(found.size.isinf().all())
    assert torch.equal(found.x_adv, images)


def test_more_restarts_and_more_targets_never_give_a_larger_size(curved, images):
    def size(**settings):
        return fab(curved(scale=8.0), images, Y, steps=6, generator=seeded(), **settings).size

    one, two, four = (size(restarts=r) for r in (1, 2, 4))
    assert bool((two <= one).all()) and bool((four <= two).all()) and bool((four < one).any())
    assert bool((size(targets=3) <= size(targets=1)).all())


@pytest.mark.parametrize("norm", NORMS)
def test_neither_batches_nor_order_matter(curved, images, norm):
    model, settings = curved().eval(), dict(steps=10, norm=norm)
    y = model(images).argmax(1)
    whole = fab(model, images, y, **settings).size
    parts = [
        fab(model, a, b, **settings).size
        for a, b in zip(images.split(7), y.split(7), strict=True)
    ]  # fmt: skip
    torch.testing.assert_close(torch.cat(parts), whole)


def test_one_seed_gives_one_result_and_leaves_the_global_generator_alone(curved, images):
    model = curved(scale=8.0)
    before = torch.get_rng_state()
    a, b, c = (
        fab(model, images, Y, steps=2, restarts=3, generator=seeded(s)).x_adv for s in (1, 1, 2)
    )
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    assert torch.equal(before, torch.get_rng_state())


def test_those_near_enough_are_searched_no_further(curved, images):
    model = curved().eval()
    y = model(images).argmax(1)
    hits, spent = [], []
    for within in (None, 0.05):
        queries = ModelQueries(model)
        found = fab_targeted(
            queries, images, y, (y + 1) % 4, steps=30, norm="linf", begin=images, within=within
        )
        hits.append(found.size <= 0.05)
        spent.append(queries.forward)
    assert torch.equal(*hits)
    assert 0 < int(hits[0].sum()) < 40
    assert spent[1] < spent[0]


def test_scores_of_two_classes_are_attacked_to_their_plane(images):
    w = torch.randn(16, generator=seeded(), dtype=torch.float64)
    y = (images.flatten(1) @ w - 0.1).sign().long()
    found = fab(lambda x: x.flatten(1) @ w - 0.1, images, y, steps=5, norm="l2", clip=None)
    best = (images.flatten(1) @ w - 0.1).abs() / w.norm()
    torch.testing.assert_close(found.size, best, rtol=1e-3, atol=0)


def test_modes_are_restored(curved, images):
    model = curved().train()
    fab(model, images, Y, steps=1)
    assert all(m.training for m in model.modules())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(targets=0), "targets must be an integer >= 1"),
        (dict(restarts=0), "restarts must be an integer >= 1"),
        (dict(steps=0), "steps must be an integer >= 1"),
        (dict(norm="l7"), "linf, l2, l1"),
        (dict(model=lambda x: x.flatten(1) * torch.nan), "NaN or infinite logits"),
        (dict(model=lambda x: x), "flatten its output"),
    ],
)
def test_bad_input_is_refused_with_the_fix(images, change, message):
    call = {"model": lambda x: x.flatten(1), **change}
    with pytest.raises(ValueError, match=message):
        fab(call.pop("model"), images, Y, **call)


def test_an_empty_batch_comes_back():
    found = fab(nn.Flatten(), torch.zeros(0, 1, 4, 4), torch.zeros(0, dtype=torch.int64))
    assert found.x_adv.shape == (0, 1, 4, 4) and found.size.shape == (0,)
