from __future__ import annotations

import itertools
import math
from functools import partial

import pytest
import torch
from torch import nn

from robustnb.attacks import apgd, dlr, lp_distance, margin, misclassified, project
from robustnb.attacks.apgd_attack import _checkpoints, apgd_single_run
from robustnb.attacks.losses import cross_entropy
from robustnb.attacks.projections import NORMS
from robustnb.attacks.queries import ModelQueries
from small_inputs import seeded

EPS = {"linf": 0.1, "l2": 0.9, "l1": 3.0}
SMALL = {"linf": 0.03, "l2": 0.12, "l1": 0.3}
Y = torch.arange(40) % 4


def two_classes(seed, dtype=torch.float64):
    """A linear model of 48 pixels, images anywhere in the box, labels."""
    weights = torch.randn(48, 2, generator=seeded(seed), dtype=dtype)
    x = torch.rand(20, 3, 4, 4, generator=seeded(seed + 1), dtype=dtype)
    return (lambda x: x.flatten(1) @ weights), weights, x, torch.arange(20) % 2


def best_margin(weights, x, y, norm):
    """The largest margin in ball and box: all that a linear function can gain there."""
    gap = (weights[:, 1 - y] - weights[:, y]).T.reshape(x.shape).double()
    far = x.double() + 1e7 * (gap.sign() if norm == "linf" else gap)
    corner = project(far, x.double(), eps=EPS[norm], norm=norm)
    return (corner * gap).flatten(1).sum(1), (x * gap).flatten(1).sum(1)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("loss", ["ce", "dlr", "margin"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_linear_model_in_the_box_is_attacked_to_its_optimum(norm, loss, dtype):
    model, weights, x, y = two_classes(3, dtype)
    found = margin(model(apgd(model, x, y, eps=EPS[norm], norm=norm, loss=loss, steps=10)), y)
    best, clean = best_margin(weights, x, y, norm)
    assert float(((best - clean) / (found - clean)).max()) <= 1.001


def test_the_l1_optimum_fills_the_heaviest_pixels_one_after_the_other():
    weights = torch.stack([torch.zeros(6), torch.tensor([6.0, 5, 4, 3, 2, 1])], 1).double()
    x, y = torch.full((1, 6), 0.5, dtype=torch.float64), torch.tensor([0])
    x_adv = apgd(lambda x: x @ weights, x, y, eps=1.2, norm="l1", steps=10)
    want = torch.tensor([[1.0, 1.0, 0.7, 0.5, 0.5, 0.5]], dtype=torch.float64)
    torch.testing.assert_close(x_adv, want, rtol=0, atol=1e-6)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("loss", ["ce", "dlr"])
def test_ball_and_box_are_respected_to_the_float(curved, images, norm, loss):
    x, eps = images.float(), EPS[norm]
    x_adv = apgd(
        curved().float(), x, Y, eps=eps, norm=norm, loss=loss, steps=12, restarts=3,
        generator=seeded(),
    )  # fmt: skip
    assert float(lp_distance(x_adv, x, norm).max()) <= eps
    assert 0 <= float(x_adv.min()) <= float(x_adv.max()) <= 1
    assert x_adv.dtype == x.dtype


@pytest.mark.parametrize("norm", NORMS)
def test_eps_zero_returns_x_to_the_bit_for_all_or_for_one(curved, images, norm):
    assert torch.equal(apgd(curved(), images, Y, eps=0.0, norm=norm, steps=5), images)
    eps = torch.full((40,), EPS[norm])
    eps[7] = 0
    x_adv = apgd(curved(), images, Y, eps=eps, norm=norm, steps=5)
    changed = (x_adv != images).flatten(1).any(1)
    assert not changed[7] and int(changed.sum()) > 20


def worth(model, x_adv, loss):
    with torch.no_grad():
        logits = model.eval()(x_adv)
    return misclassified(logits, Y), loss(logits, Y)


@pytest.mark.parametrize("norm", NORMS)
def test_more_restarts_never_give_a_weaker_image(curved, images, norm):
    model, eps = curved(scale=8.0), EPS[norm] / 3
    found = [
        worth(model, apgd(model, images, Y, eps=eps, norm=norm, steps=6, restarts=r, loss="dlr",
                          generator=seeded()), dlr)
        for r in (1, 2, 4)
    ]  # fmt: skip
    for (hit, loss), (hit_more, loss_more) in itertools.pairwise(found):
        assert bool(((hit_more & ~hit) | ((hit_more == hit) & (loss_more >= loss))).all())
    assert not torch.equal(found[0][1], found[2][1])


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_of_all_images_visited_the_worst_is_returned(curved, images, norm):
    """So an iteration more never gives a weaker image, within one schedule."""
    net, visited = curved(scale=8.0).eval(), []

    def model(x):
        visited.append(x.detach().clone())
        return net(x)

    eps = EPS[norm] / 3
    x_adv = apgd(model, images, Y, eps=eps, norm=norm, steps=20, restarts=2, generator=seeded())
    hit, loss = worth(net, x_adv, cross_entropy)
    for seen in visited:
        seen_hit, seen_loss = worth(net, seen, cross_entropy)
        merge_worst = (seen_hit & ~hit) | ((seen_hit == hit) & (seen_loss > loss + 1e-12))
        assert not merge_worst.any()


def test_a_model_that_never_falls_costs_one_pass_more_than_its_steps(images, counting):
    model = counting(nn.Sequential(nn.Flatten(), nn.Linear(16, 3).double()))
    with torch.no_grad():
        model.net[1].bias.copy_(torch.tensor([99.0, 0, 0]))
    queries = ModelQueries(model)
    apgd_single_run(
        queries, images, 0 * Y, eps=0.1, steps=17, norm="linf", loss=cross_entropy, begin=images,
        stop=True,
    )  # fmt: skip
    assert (queries.forward, queries.backward) == (18 * 40, 17 * 40)
    assert model.seen == 18 * 40


@pytest.mark.parametrize("norm", NORMS)
def test_stopping_at_the_misclassified_changes_no_verdict_and_saves_passes(
    curved, images, stopping, norm
):
    attack = partial(
        apgd_single_run, x=images, y=Y, eps=SMALL[norm], steps=30, norm=norm, loss=dlr,
        begin=images,
    )  # fmt: skip
    stopped, full = stopping(curved().eval(), Y, attack)
    assert stopped < full


@pytest.mark.parametrize("norm", NORMS)
def test_neither_batches_nor_order_matter(curved, images, norm):
    settings = dict(eps=EPS[norm] / 2, norm=norm, steps=15, loss="dlr")
    whole = apgd(curved(), images, Y, **settings)
    parts = [
        apgd(curved(), a, b, **settings) for a, b in zip(images.split(7), Y.split(7), strict=True)
    ]
    torch.testing.assert_close(torch.cat(parts), whole)
    order = torch.randperm(40, generator=seeded())
    torch.testing.assert_close(apgd(curved(), images[order], Y[order], **settings), whole[order])


def test_one_seed_gives_one_result_and_leaves_the_global_generator_alone(curved, images):
    model = curved(scale=8.0)
    before = torch.get_rng_state()
    a, b, c = (
        apgd(model, images, Y, eps=0.3, steps=12, restarts=4, generator=seeded(s))
        for s in (1, 1, 2)
    )
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    assert torch.equal(before, torch.get_rng_state())


def test_the_step_shrinks_until_a_smooth_summit_is_reached():
    """Constant steps of this size would circle the summit at a distance of 0.05."""
    summit = torch.tensor([0.53, 0.47, 0.55, 0.46], dtype=torch.float64)
    x = torch.full((1, 4), 0.5, dtype=torch.float64)
    model = lambda x: torch.stack([torch.ones(len(x)), -(x - summit).square().sum(1)], 1)  # noqa: E731
    for norm, eps in (("linf", 0.1), ("l2", 0.2)):
        x_adv = apgd(model, x, torch.tensor([0]), eps=eps, norm=norm, steps=100)
        assert float((x_adv - summit).abs().max()) < 2e-3


def test_the_ratio_sees_what_saturated_cross_entropy_does_not(curved, images):
    """Logits 1e4 times as large: p(y) is exactly 1 in float32 and its gradient 0."""
    net, x = curved().float().eval(), images.float()
    model = lambda x: 1e4 * net(x)  # noqa: E731
    y = model(x).argmax(1)
    fallen = {
        loss: int(misclassified(model(apgd(model, x, y, eps=0.1, loss=loss, steps=20)), y).sum())
        for loss in ("ce", "dlr")
    }
    plain = int(misclassified(net(apgd(net, x, y, eps=0.1, loss="dlr", steps=20)), y).sum())
    assert fallen["ce"] < 5 < 20 < fallen["dlr"]
    assert abs(fallen["dlr"] - plain) <= 1


def test_targets_are_what_the_targeted_ratio_climbs_to(curved, images):
    model = curved().eval()
    y = model(images).argmax(1)
    free = model(apgd(model, images, y, eps=0.3, steps=30, loss="dlr")).argmax(1)
    for k in (1, 2, 3):
        targets = (y + k) % 4
        hit = model(apgd(model, images, y, eps=0.3, steps=30, targets=targets)).argmax(1)
        assert int((hit == targets).sum()) > int((free == targets).sum())


def test_scores_of_two_classes_fall_like_their_two_logits(images):
    w = torch.randn(16, generator=seeded(), dtype=torch.float64)
    y = torch.where(torch.arange(40) % 2 == 0, 1, -1)
    x_adv = apgd(lambda x: x.flatten(1) @ w - 0.1, images, y, eps=0.05, steps=5, loss="dlr")
    away = -y.reshape(-1, 1, 1, 1) * w.sign().reshape(1, 1, 4, 4)
    torch.testing.assert_close(x_adv, (images + 0.05 * away).clamp(0, 1))


def test_a_gradient_that_is_not_finite_counts_as_none(images):
    """sqrt at 0 has an infinite slope; one NaN would carry the image out of the ball."""

    def model(x):
        flat = x.flatten(1)
        dark = (flat - flat).sqrt().sum(1)
        return torch.stack([1 + dark + flat[:, 0], flat[:, 1]], 1)

    queries = ModelQueries(model)
    found = queries.loss_and_grad(images, 0 * Y, cross_entropy)
    assert queries.broken == 40 and bool(found.grad.isfinite().all())
    assert bool(apgd(model, images, 0 * Y, eps=0.1, steps=3).isfinite().all())


def test_modes_are_restored_and_parameters_get_no_gradient(curved, images):
    model = curved().train()
    apgd(model, images, Y, eps=0.1, steps=3)
    assert all(m.training for m in model.modules())
    assert all(p.grad is None for p in model.parameters())


def test_checkpoints_are_the_papers():
    assert sorted(_checkpoints(100)) == [22, 41, 57, 70, 80, 87, 93, 99]


REFUSED = [
    ("unknown loss", dict(loss="kl"), ValueError, "ce, dlr, margin"),
    ("no steps", dict(steps=0), ValueError, "steps must be"),
    ("no restarts", dict(restarts=0), ValueError, "restarts must be"),
    ("NaN eps", dict(eps=math.nan), ValueError, "eps must be finite"),
    ("infinite logits", dict(model=lambda x: x.flatten(1) / 0), ValueError, "NaN or infinite"),
    ("maps", dict(model=lambda x: x), ValueError, "flatten its output"),
    ("detached", dict(model=lambda x: x.detach().flatten(1)), ValueError, "square"),
    ("constant", dict(model=nn.Sequential(nn.Flatten(), nn.Threshold(9, 0))), None, ""),
    ("targets out of range", dict(targets=Y + 99), ValueError, "0..15"),
    ("targets too few", dict(targets=Y[:3]), ValueError, r"shape \(40,\)"),
    ("reduced loss", dict(loss=nn.CrossEntropyLoss()), ValueError, 'reduction="none"'),
]


@pytest.mark.parametrize(
    ("change", "error", "message"), [r[1:] for r in REFUSED], ids=[r[0] for r in REFUSED]
)
def test_bad_input_is_refused_with_the_fix(images, change, error, message):
    call = {"model": nn.Flatten(), "eps": 0.1, "steps": 3, **change}
    if error is None:
        assert torch.equal(apgd(call.pop("model"), images, Y, **call), images)
        return
    with pytest.raises(error, match=message):
        apgd(call.pop("model"), images, Y, **call)


def test_an_empty_batch_comes_back():
    x = torch.zeros(0, 1, 4, 4)
    assert apgd(nn.Flatten(), x, torch.zeros(0, dtype=torch.int64), eps=0.1).shape == x.shape
