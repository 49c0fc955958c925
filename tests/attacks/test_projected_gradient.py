from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from robustnb.attacks import fgsm, lp_distance, margin, maximize, misclassified, pgd
from robustnb.attacks.projections import NORMS
from small_inputs import seeded


def linear(weights):
    layer = nn.Linear(weights.shape[1], 2, bias=False).double()
    with torch.no_grad():
        layer.weight.copy_(weights)
    return nn.Sequential(nn.Flatten(), layer)


@pytest.mark.parametrize(("norm", "dual"), [("linf", 1), ("l2", 2)])
@pytest.mark.parametrize("loss", ["ce", "margin"])
def test_a_linear_model_loses_eps_times_the_dual_norm_of_its_weights(norm, dual, loss):
    w = torch.randn(2, 9, generator=seeded(), dtype=torch.float64)
    x, y = torch.full((2, 1, 3, 3), 0.5, dtype=torch.float64), torch.tensor([0, 1])
    model, gap = linear(w), w[1] - w[0]
    x_adv = pgd(model, x, y, eps=0.1, step=0.02, steps=60, norm=norm, loss=loss, generator=seeded())
    gain = margin(model(x_adv), y) - margin(model(x), y)
    best = 0.1 * torch.linalg.vector_norm(gap, dual)
    torch.testing.assert_close(gain, best.expand(2), rtol=1e-4, atol=0)


def test_a_linear_model_in_the_box_is_attacked_to_the_clipped_corner():
    w = torch.randn(2, 9, generator=seeded(1), dtype=torch.float64)
    x = torch.rand(5, 1, 3, 3, generator=seeded(2), dtype=torch.float64)
    y = torch.zeros(5, dtype=torch.int64)
    x_adv = pgd(linear(w), x, y, eps=0.3, step=0.05, steps=30, generator=seeded())
    corner = (x + 0.3 * (w[1] - w[0]).sign().reshape(1, 1, 3, 3)).clamp(0, 1)
    torch.testing.assert_close(x_adv, corner)


def test_fgsm_is_one_signed_step(curved, images):
    model, y = curved().eval(), torch.zeros(40, dtype=torch.int64)
    x = images.clone().requires_grad_()
    (grad,) = torch.autograd.grad(F.cross_entropy(model(x), y, reduction="sum"), x)
    torch.testing.assert_close(
        fgsm(model, images, y, eps=0.1), (images + 0.1 * grad.sign()).clamp(0, 1)
    )


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("loss", ["ce", "margin", "kl"])
@pytest.mark.parametrize("start", ["uniform", "gaussian"])
@pytest.mark.parametrize("keep", ["worst", "last"])
def test_every_variant_stays_in_ball_and_box(curved, images, norm, loss, start, keep):
    model, x = curved().float(), images.float()
    eps = {"linf": 0.07, "l2": 0.6, "l1": 1.7}[norm]
    x_adv = pgd(
        model, x, torch.zeros(40, dtype=torch.int64), eps=eps, step=eps / 3, steps=4, norm=norm,
        loss=loss, start=start, restarts=2, keep=keep, generator=seeded(),
    )  # fmt: skip
    assert float(lp_distance(x_adv, x, norm).max()) <= eps
    assert 0 <= float(x_adv.min()) <= float(x_adv.max()) <= 1


@given(
    n=st.integers(0, 5),
    shape=st.sampled_from([(1, 2, 2), (3, 3, 2), (5,)]),
    eps=st.floats(0, 1.5),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    norm=st.sampled_from(NORMS),
)
@settings(max_examples=60, deadline=None)
def test_any_shape_radius_and_dtype_comes_back_alike(n, shape, eps, dtype, norm):
    x = torch.rand(n, *shape, generator=seeded(n), dtype=dtype)
    weights = torch.randn(x[:1].numel() or 1, 3, generator=seeded(1), dtype=dtype)
    x_adv = pgd(
        lambda x: x.flatten(1) @ weights, x, torch.zeros(n, dtype=torch.int64), eps=eps,
        step=eps / 2, steps=3, norm=norm, generator=seeded(),
    )  # fmt: skip
    assert (x_adv.shape, x_adv.dtype) == (x.shape, x.dtype)
    if n:
        assert float(lp_distance(x_adv, x, norm).max()) <= eps


@pytest.mark.parametrize("norm", NORMS)
def test_eps_zero_returns_x_to_the_bit(curved, images, norm):
    y = torch.zeros(40, dtype=torch.int64)
    assert torch.equal(
        pgd(curved(), images, y, eps=0, step=0.1, steps=3, norm=norm, generator=seeded()), images
    )
    eps = torch.full((40,), 0.2)
    eps[3] = 0
    x_adv = pgd(curved(), images, y, eps=eps, step=0.1, steps=3, norm=norm, generator=seeded())
    assert torch.equal(x_adv[3], images[3])
    assert not torch.equal(x_adv[4], images[4])


def value(model, x_adv, y):
    with torch.no_grad():
        logits = model.eval()(x_adv)
    return misclassified(logits, y), F.cross_entropy(logits, y, reduction="none")


def not_weaker(model, strong, weak, y):
    """Per example (fooled, loss) in lexicographic order."""
    (hit, loss), (hit_weak, loss_weak) = value(model, strong, y), value(model, weak, y)
    return bool(((hit & ~hit_weak) | ((hit == hit_weak) & (loss >= loss_weak))).all())


def test_more_steps_from_the_same_start_never_give_a_weaker_image(curved, images):
    model, y = curved(), torch.arange(40) % 4
    found = [
        pgd(model, images, y, eps=0.3, step=0.2, steps=steps, generator=seeded())
        for steps in (1, 2, 5, 12)
    ]
    assert all(not_weaker(model, b, a, y) for a, b in itertools.pairwise(found))


@pytest.mark.parametrize("keep", ["worst", "last"])
def test_more_restarts_never_give_a_weaker_image(curved, images, keep):
    model, y = curved(), torch.arange(40) % 4
    found = [
        pgd(model, images, y, eps=0.3, step=0.2, steps=2, restarts=r, keep=keep,
            generator=seeded())
        for r in (1, 2, 4)
    ]  # fmt: skip
    assert all(not_weaker(model, b, a, y) for a, b in itertools.pairwise(found))
    assert not torch.equal(found[0], found[2])


def test_the_worst_iterate_is_kept_where_the_last_overshoots():
    def parabola(x):
        return -(x[:, 0] - 0.6).square()

    x, begin = torch.tensor([[0.5]]), torch.tensor([[0.58]])
    kept = {
        keep: float(
            maximize(parabola, x, eps=0.4, step=0.3, steps=1, initial_point=begin, keep=keep)
        )
        for keep in ("worst", "last")
    }
    assert kept["worst"] == pytest.approx(0.58)
    assert kept["last"] == pytest.approx(0.88)


def test_the_last_iterate_is_scored_too(curved, images):
    model, y = curved(), torch.arange(40) % 4
    x_adv = pgd(model, images, y, eps=0.1, step=0.1, steps=1, start="zero")
    better = value(model, fgsm(model, images, y, eps=0.1), y)[1] > value(model, images, y)[1]
    assert bool(better.any())
    changed = (x_adv != images).flatten(1).any(1)
    assert bool(changed[better].all())


def test_a_misclassified_iterate_is_kept_over_one_of_higher_loss(curved, images):
    """The loss here rewards being right, so its highest value is not the model's mistake."""
    model = curved().eval()
    y = (model(images).argmax(1) + 1) % 4
    x_adv = pgd(
        model, images, y, eps=0.3, step=0.05, steps=10, start="zero",
        loss=lambda logits, y: -margin(logits, y),
    )  # fmt: skip
    assert bool(misclassified(model(x_adv), y).all())


def test_examples_do_not_influence_each_other(curved, images):
    model, y = curved(), torch.arange(40) % 4
    settings = dict(eps=0.2, step=0.05, steps=5, start="zero")
    whole = pgd(model, images, y, **settings)
    order = torch.randperm(40, generator=seeded())
    torch.testing.assert_close(pgd(model, images[order], y[order], **settings), whole[order])
    parts = [pgd(model, a, b, **settings) for a, b in zip(images.split(7), y.split(7), strict=True)]
    torch.testing.assert_close(torch.cat(parts), whole)


def test_one_seed_gives_one_result_and_leaves_the_global_generator_alone(curved, images):
    model, y = curved(), torch.zeros(40, dtype=torch.int64)
    before = torch.get_rng_state()
    a, b, c = (
        pgd(model, images, y, eps=0.2, step=0.1, steps=1, generator=seeded(s)) for s in (1, 1, 2)
    )
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    assert torch.equal(before, torch.get_rng_state())


def test_modes_are_restored_and_parameters_get_no_gradient(curved, images):
    model = curved().train()
    model[2].eval()
    before = [m.training for m in model.modules()]
    pgd(model, images, torch.zeros(40, dtype=torch.int64), eps=0.1, step=0.1, steps=2)
    assert [m.training for m in model.modules()] == before
    assert all(p.grad is None and p.requires_grad for p in model.parameters())


def test_modes_are_restored_after_an_error(curved, images):
    model = nn.Sequential(curved(), nn.Unflatten(1, (2, 2))).train()
    with pytest.raises(ValueError, match="flatten its output"):
        pgd(model, images, torch.zeros(40, dtype=torch.int64), eps=0.1, step=0.1, steps=2)
    assert model[0].training


def test_dropout_is_off_while_crafting(curved, images):
    y = torch.arange(40) % 4
    settings = dict(eps=0.1, step=0.1, steps=3, start="zero")
    assert torch.equal(
        pgd(curved().train(), images, y, **settings), pgd(curved().eval(), images, y, **settings)
    )


@torch.no_grad()
def test_an_attack_works_inside_no_grad_and_leaves_x_alone(curved, images):
    before = images.clone()
    x_adv = pgd(curved(), images, torch.arange(40) % 4, eps=0.1, step=0.1, steps=2, start="zero")
    assert not torch.equal(x_adv, images)
    assert torch.equal(images, before)
    assert not images.requires_grad
    assert not x_adv.requires_grad


@pytest.mark.parametrize(
    ("keep", "restarts", "loss", "passes"),
    [
        ("worst", 1, "ce", 6),
        ("worst", 3, "ce", 18),
        ("last", 1, "ce", 5),
        ("last", 3, "ce", 18),
        ("worst", 3, "kl", 19),
    ],
)
def test_no_forward_pass_is_wasted(curved, images, counting, keep, restarts, loss, passes):
    model = counting(curved())
    pgd(
        model, images, torch.arange(40) % 4, eps=0.1, step=0.1, steps=5, keep=keep, loss=loss,
        restarts=restarts,
    )  # fmt: skip
    assert model.seen == 40 * passes


@pytest.mark.parametrize("norm", NORMS)
def test_kl_never_moves_from_the_clean_image_itself(curved, images, norm):
    y = torch.arange(40) % 4
    settings = dict(eps=0.5, step=0.1, steps=5, norm=norm, loss="kl", keep="last")
    assert torch.equal(pgd(curved(), images, y, start="zero", **settings), images)
    moved = pgd(curved(), images, y, start="gaussian", generator=seeded(), **settings)
    assert float(lp_distance(moved, images, norm).min()) > 0.05


def test_kl_from_noise_is_the_loop_of_the_trades_code(curved, images):
    """Zhang 2019's published loop, line by line, on the same noise."""
    model, eps, step = curved().eval(), 0.3, 0.05
    noise = torch.randn(images.shape, generator=seeded(3), dtype=images.dtype)
    x_adv = images + 0.001 * noise
    for _ in range(6):
        x_adv.requires_grad_()
        loss = F.kl_div(
            F.log_softmax(model(x_adv), dim=1), F.softmax(model(images), dim=1), reduction="sum"
        )
        (grad,) = torch.autograd.grad(loss, x_adv)
        x_adv = x_adv.detach() + step * torch.sign(grad.detach())
        x_adv = torch.min(torch.max(x_adv, images - eps), images + eps)
        x_adv = torch.clamp(x_adv, 0.0, 1.0)
    ours = pgd(
        model, images, torch.zeros(40, dtype=torch.int64), eps=eps, step=step, steps=6, loss="kl",
        start="gaussian", keep="last", generator=seeded(3),
    )  # fmt: skip
    torch.testing.assert_close(ours, x_adv)


def test_targets_are_approached(curved, images):
    model = curved().eval()
    y = model(images).argmax(1)
    targets = (y + 1) % 4
    x_adv = pgd(model, images, y, targets=targets, eps=0.4, step=0.05, steps=20, start="zero")
    hit = model(x_adv).argmax(1) == targets
    assert int(hit.sum()) > 20
    clean, adv = (F.cross_entropy(model(z), targets, reduction="none") for z in (images, x_adv))
    assert bool((adv < clean).all())


def test_an_empty_batch_comes_back_without_asking_the_model():
    def never(x):
        raise AssertionError("called")

    x = torch.zeros(0, 1, 4, 4)
    x_adv = pgd(never, x, torch.zeros(0, dtype=torch.int64), eps=0.1, step=0.1, steps=3)
    assert x_adv.shape == x.shape


def test_a_list_of_steps_is_taken_in_order():
    x = torch.full((1, 1), 0.5, dtype=torch.float64)
    x_adv = maximize(
        lambda x: x[:, 0], x, eps=0.5, step=[0.2, 0.05, 0.01], steps=3, initial_point=x
    )
    assert float(x_adv) == pytest.approx(0.76)


def test_a_step_per_example_moves_each_by_its_own():
    x = torch.full((2, 1), 0.5, dtype=torch.float64)
    x_adv = maximize(
        lambda x: x[:, 0], x, eps=0.5, step=torch.tensor([0.1, 0.2]), steps=1, initial_point=x
    )
    torch.testing.assert_close(x_adv[:, 0], torch.tensor([0.6, 0.7]).double(), rtol=1e-6, atol=0)


def test_a_start_outside_the_ball_is_never_kept():
    x = torch.full((1, 1), 0.5)
    x_adv = maximize(
        lambda x: -x[:, 0], x, eps=0.1, step=0.0, steps=1, initial_point=x - 0.4, keep="worst"
    )
    assert float((x_adv - x).abs()) <= 0.1


def test_l1_goes_on_where_one_pixel_is_full():
    """One coordinate offers a gain of at most its room; the rest of eps goes to the next ones."""
    x = torch.full((1, 6), 0.5, dtype=torch.float64)
    weights = torch.tensor([6.0, 5, 4, 3, 2, 1], dtype=torch.float64)
    x_adv = maximize(
        lambda x: x @ weights, x, eps=1.2, step=0.2, steps=30, norm="l1", initial_point=x
    )
    want = torch.tensor([[1.0, 1.0, 0.7, 0.5, 0.5, 0.5]], dtype=torch.float64)
    torch.testing.assert_close(x_adv, want, rtol=0, atol=1e-5)


def test_a_loss_without_gradient_is_refused(images):
    with pytest.raises(ValueError, match="no gradient with respect to the images"):
        pgd(lambda x: x.detach().flatten(1), images, torch.zeros(40, dtype=torch.int64),
            eps=0.1, step=0.1, steps=1)  # fmt: skip
