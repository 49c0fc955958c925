"""Gradients that are not finite, and numbers of any library."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import nn

from robustnb.attacks import (
    AttackEnsemble,
    PGDConfig,
    apgd,
    evaluate,
    fab,
    fgsm,
    half_cosine,
    maximize,
    multi_loss_pgd,
    pgd,
    pgd_attack,
    run_ensemble,
    square,
    standard_ensemble,
)
from robustnb.attacks.audit import zero_gradients
from robustnb.smoothing import certify, certify_sequential, predict
from robustnb.training import fit, pgd_training, robust_accuracy, trades
from robustnb.training.stability import stability_training
from small_inputs import linear_case, seeded

NET, X, Y = linear_case()


# --- Gradients that are not finite -----------------------------------------------------------


def distance_from(point):
    """(|x - point|, 2 x_0): its logits are finite at the point, where the gradient is NaN."""

    def model(x):
        flat = x.flatten(1)
        return torch.stack([(flat - point).square().sum(1).sqrt(), 2 * flat[:, 0]], 1)

    return model


AT_ZERO = torch.zeros(1, 1, 2, 2), torch.zeros(1, dtype=torch.int64)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_a_gradient_that_is_nan_moves_nothing_and_breaks_nothing(norm):
    x, y = AT_ZERO
    assert torch.equal(fgsm(distance_from(0.0), x, y, eps=0.5, norm=norm), x)
    found = pgd(distance_from(0.0), x, y, eps=0.5, step=0.2, steps=10, norm=norm,
                generator=seeded())  # fmt: skip
    assert bool(found.isfinite().all())
    assert distance_from(0.0)(found).argmax(1) != y  # from a random start there is a way


def test_an_evaluation_tells_of_gradients_that_are_not_finite():
    x, y = AT_ZERO
    attack = PGDConfig("from x", 0.5, 0.1, 5, start="zero")
    found = evaluate(distance_from(0.0), x, y, attacks=[attack])
    told = found.findings["gradients under from x"]
    assert not told["ok"] and told["value"] == 1.0 and "not finite" in told["why"]
    assert not run_ensemble(distance_from(0.0), x, y, ensemble=AttackEnsemble(0.5, queries=20),
                                 generator=seeded()).robust.any()  # fmt: skip


def test_the_audit_counts_a_gradient_that_is_not_finite_as_none():
    found = zero_gradients(distance_from(0.0), *AT_ZERO)
    assert found["value"] == 1.0 and not found["ok"]


def test_adversarial_training_survives_a_gradient_that_is_nan_towards_the_images():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(2))

        def forward(self, x):
            return distance_from(0.0)(x) * self.scale

    net, (x, y) = Net(), AT_ZERO
    for objective in (
        pgd_training(eps=0.5, step=0.1, steps=3, norm="l2", start="zero"),
        trades(beta=1, eps=0.5, step=0.1, steps=3, norm="l2", start_noise=0.0),
    ):
        fit(net, x, y, objective=objective, epochs=1, batch_size=1, lr=0.1, generator=seeded())
    assert bool(net.scale.isfinite().all())


# --- Numbers of any library --------------------------------------------------------------------

NUMBERS = [
    (np.float64, np.int64), (np.float32, np.int32), (torch.tensor, torch.tensor),
    (lambda v: np.array(v), lambda v: np.array(v)),
]  # fmt: skip


@pytest.mark.parametrize(("real", "whole"), NUMBERS, ids=["f64", "f32", "tensor", "array"])
def test_numbers_of_numpy_and_torch_are_numbers(real, whole, tmp_path):
    eps, step, steps, two = real(0.25), real(0.125), whole(2), whole(2)  # exact in all of them
    settings = dict(eps=0.25, step=0.125, steps=2, restarts=2)
    given = dict(eps=eps, step=step, steps=steps, restarts=two)
    assert torch.equal(
        pgd(NET, X, Y, generator=seeded(), **given), pgd(NET, X, Y, generator=seeded(), **settings)
    )
    assert torch.equal(fgsm(NET, X, Y, eps=eps), fgsm(NET, X, Y, eps=0.25))
    apgd(NET, X, Y, eps=eps, steps=steps, restarts=two)
    square(NET, X, Y, eps=eps, queries=two)
    fab(NET, X, Y, steps=steps, targets=two)
    assert PGDConfig("a", **given) == PGDConfig("a", **settings)
    assert pgd_attack(eps=eps, step=step, steps=steps).to_json()["eps"] == 0.25
    assert multi_loss_pgd(eps, steps=steps, restarts=two).sizes() == list(half_cosine(0.25, 2))
    ensemble = AttackEnsemble(eps, steps=steps, targets=two, queries=two, restarts=two)
    assert ensemble == AttackEnsemble(0.25, steps=2, targets=2, queries=2, restarts=2)
    assert standard_ensemble(eps, steps=steps).name == "ensemble (steps 2)"
    path = tmp_path / "state"
    run_ensemble(NET, X, Y, ensemble=ensemble, checkpoint=path, batch_size=whole(5))
    assert path.exists()
    path = tmp_path / "certificates"
    certify(NET, X, sigma=real(0.25), n0=whole(5), n=whole(20), alpha=real(0.001953125),
            batch_size=whole(30), generator=seeded(), checkpoint=path)  # fmt: skip
    predict(NET, X, sigma=real(0.25), n=whole(20), alpha=real(0.25), generator=seeded())
    certify_sequential(NET, X, sigma=real(0.25), target=real(0.125), n0=whole(5), n=whole(200))
    net = nn.Sequential(nn.Flatten(), nn.Linear(9, 3))
    fit(net, X, Y, objective=trades(beta=real(1.0), eps=eps, step=step, steps=steps),
        epochs=two, batch_size=whole(4), lr=real(0.125), momentum=real(0.5), max_batches=two,
        generator=seeded(), checkpoint=tmp_path / "training")  # fmt: skip
    robust_accuracy(X, Y, eps=eps, step=step, steps=steps, batch_size=whole(5))(net)
    stability_training(beta=real(1.0), sigma=real(0.25))
    pgd_training(eps=eps, step=step, steps=steps)


@pytest.mark.parametrize("value", ["0.1", None, 0.1j, True, [0.1, 0.2]])
def test_what_is_no_number_is_refused_before_any_work(value):
    for call in (
        lambda: pgd(NET, X, Y, eps=value, step=0.1, steps=1),
        lambda: AttackEnsemble(value),
        lambda: PGDConfig("a", value, 0.1, 1),
        lambda: certify(NET, X, sigma=value),
        lambda: pgd_training(eps=value, step=0.1, steps=1),
    ):
        with pytest.raises((TypeError, ValueError), match=r"eps|sigma"):
            call()


# --- Boxes of two numbers of any kind ----------------------------------------------------------

BOXES = [np.array([0.0, 1.0]), [0, 1], torch.tensor([0.0, 1.0]), (np.float32(0), Fraction(1))]
BOX_CALLS = {
    "fgsm": lambda clip: fgsm(NET, X, Y, eps=0.1, clip=clip),
    "apgd": lambda clip: apgd(NET, X, Y, eps=0.1, steps=3, clip=clip, generator=seeded()),
    "square": lambda clip: square(NET, X, Y, eps=0.1, queries=5, clip=clip, generator=seeded()),
    "fab": lambda clip: fab(NET, X, Y, steps=3, clip=clip, generator=seeded()).x_adv,
    "maximize": lambda clip: maximize(
        lambda z: NET(z)[:, 0], X, eps=0.1, step=0.1, steps=2, initial_point=X, clip=clip
    ),
    "evaluate": lambda clip: evaluate(
        NET, X, Y, generator=seeded(),
        attacks=[AttackEnsemble(0.1, steps=2, queries=5, clip=clip),
                 PGDConfig("pgd", 0.1, 0.1, 2, clip=clip)],
    ).robust,
    "certify": lambda clip: certify(NET, X, sigma=0.2, n=20, domain=clip, generator=seeded()).hits,
}  # fmt: skip


@pytest.mark.parametrize("call", BOX_CALLS.values(), ids=BOX_CALLS)
def test_a_box_is_two_numbers_of_any_kind(call):
    expected = call((0.0, 1.0))
    assert all(torch.equal(call(box), expected) for box in BOXES)


@pytest.mark.parametrize(
    ("box", "why"),
    [
        ((0.0,), "must be two numbers .low, high., or None"),
        (0.5, "must be two numbers"),
        ("01", "must be two numbers"),
        ((torch.zeros(3), torch.ones(3)), "must be two numbers"),
        ((None, 1), "must be two numbers"),
        ((1, 0), "low < high, got"),
        ((0, float("nan")), "must be finite, got nan; use None"),
    ],
)
@pytest.mark.parametrize("call", BOX_CALLS.values(), ids=BOX_CALLS)
def test_a_box_that_is_none_is_refused_in_one_line(call, box, why):
    with pytest.raises((TypeError, ValueError), match=f"(clip|domain) {why}|{why}") as refused:
        call(box)
    assert "\n" not in str(refused.value)
