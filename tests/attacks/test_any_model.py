"""Models as people bring them, at every entry point: answered rightly, or refused with the fix."""

from __future__ import annotations

import math
import warnings
from collections import OrderedDict
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from robustnb.attacks import (
    AttackEnsemble,
    PGDConfig,
    apgd,
    craft,
    evaluate,
    fab,
    fgsm,
    half_cosine,
    multi_loss_pgd,
    pgd,
    pgd_attack,
    robustness_audit,
    run_ensemble,
    square,
    standard_ensemble,
    transfer,
)
from robustnb.attacks.audit import zero_gradients
from robustnb.smoothing import certify, certify_sequential, predict
from robustnb.training import (
    natural_accuracy,
    pgd_training,
    pseudo_labels,
    robust_accuracy,
    self_training,
    standard,
    trades,
)
from robustnb.training.stability import stability_training
from robustnb.training.training_loop import fit


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


X = torch.rand(12, 1, 3, 3, generator=seeded())
NET = nn.Sequential(nn.Flatten(), nn.Linear(9, 3)).requires_grad_(False)
Y = NET(X).argmax(1)
SHORT = AttackEnsemble(0.1, steps=3, targets=1, queries=4)
PGD = pgd_attack(eps=0.1, step=0.05, steps=2)

ATTACKS = {
    "pgd": lambda m, x, y: pgd(m, x, y, eps=0.1, step=0.05, steps=2, generator=seeded()),
    "pgd kl": lambda m, x, y: pgd(
        m, x, y, eps=0.1, step=0.05, steps=2, loss="kl", norm="l2", generator=seeded()
    ),
    "fgsm": lambda m, x, y: fgsm(m, x, y, eps=0.1),
    "apgd": lambda m, x, y: apgd(m, x, y, eps=0.1, steps=3),
    "fab": lambda m, x, y: fab(m, x, y, steps=3, targets=1).x_adv,
    "square": lambda m, x, y: square(m, x, y, eps=0.1, queries=5, generator=seeded()),
    "craft": lambda m, x, y: craft(m, x, y, attack=PGD, generator=seeded()),
}
EVALUATIONS = {
    "evaluate": lambda m, x, y: evaluate(m, x, y, attacks=[PGD], generator=seeded()).robust,
    "ensemble": lambda m, x, y: run_ensemble(m, x, y, ensemble=SHORT, generator=seeded()).robust,
    "transfer": lambda m, x, y: transfer(NET, m, x, y, attack=PGD, generator=seeded()).adv_correct,
    "audit": lambda m, x, y: robustness_audit(m, x, y, attack=PGD, queries=3, generator=seeded()),
    "zero gradients": zero_gradients,
}
COUNTS = {
    "certify": lambda m, x, y: certify(m, x, sigma=0.2, n0=5, n=20, generator=seeded()).hits,
    "certify_sequential": lambda m, x, y: (
        certify_sequential(m, x, sigma=0.2, target=0.1, n0=5, n=100, generator=seeded()).hits
    ),
    "predict": lambda m, x, y: predict(m, x, sigma=0.2, n=20, generator=seeded()),
    "natural accuracy": lambda m, x, y: natural_accuracy(x, y)(m),
    "robust accuracy": lambda m, x, y: robust_accuracy(x, y, eps=0.1, step=0.1, steps=1)(m),
    "pseudo labels": lambda m, x, y: pseudo_labels(m, x),
}
EVERY = {**ATTACKS, **EVALUATIONS, **COUNTS}


def ways(table):
    return pytest.mark.parametrize("way", table.values(), ids=table)


def same(one, other):
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other


class InPlace(nn.Module):
    """Normalises its input in its input's own memory, and is right only the first time."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(9, 3)).requires_grad_(False)
        with torch.no_grad():
            self.net[1].weight.copy_(NET[1].weight)
            self.net[1].bias.copy_(NET[1].bias + NET[1].weight.sum(1) / 2)

    def forward(self, x):
        return self.net(x.sub_(0.5))


@ways(EVERY)
def test_a_model_that_works_in_place_answers_as_one_that_does_not(way):
    net = InPlace().net

    def plain(x):
        return net(x - 0.5)

    x, before = X.clone(), X.clone()
    y = plain(X).argmax(1)
    found = way(InPlace(), x, y)
    assert torch.equal(x, before)
    assert same(found, way(plain, X.clone(), y))


@pytest.mark.parametrize("objective", [
    standard(),
    pgd_training(eps=0.1, step=0.1, steps=1),
    trades(beta=1, eps=0.1, step=0.1, steps=1),
    stability_training(beta=1, sigma=0.1),
    self_training(standard(), X[:4], Y[:4]),
], ids=["standard", "pgd", "trades", "stability", "self-training"])  # fmt: skip
def test_training_gives_a_model_its_own_copy_as_well(objective):
    class Net(nn.Module):
        def __init__(self, in_place):
            super().__init__()
            self.weight = nn.Parameter(torch.linspace(-1, 1, 27).reshape(3, 9))
            self.in_place = in_place

        def forward(self, x):
            x = x.mul_(2) if self.in_place else x * 2
            return x.flatten(1) @ self.weight.T

    nets, x = [Net(True), Net(False)], X.clone()
    for net in nets:
        fit(net, x, Y, objective=objective, epochs=2, batch_size=4, lr=0.1, generator=seeded())
    assert torch.equal(nets[0].weight, nets[1].weight) and torch.equal(x, X)


@ways(EVERY)
@pytest.mark.parametrize("y", [torch.zeros(12, dtype=torch.int64), Y], ids=["zeros", "classes"])
def test_one_column_of_logits_is_refused_with_the_way_to_stack_scores(way, y):
    with pytest.raises(ValueError, match=r"one column.*torch\.cat\(\[-s, s\], 1\)"):
        way(lambda x: NET(x)[:, :1], X, y)


def test_one_column_is_refused_in_training_as_well():
    net = nn.Sequential(nn.Flatten(), nn.Linear(9, 1))
    for objective in (standard(), trades(beta=1, eps=0.1, step=0.1, steps=1)):
        with pytest.raises(ValueError, match=r"one column.*torch\.cat"):
            fit(net, X, 0 * Y, objective=objective, epochs=1, batch_size=4, lr=0.1,
                generator=seeded())  # fmt: skip


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


# --- Messages -----------------------------------------------------------------------------------

ODD = {
    "a tuple": (lambda x: (NET(x), None), r"a tuple.*lambda x: model\(x\)\[0\]"),
    "a dict": (lambda x: {"out": NET(x)}, r"keys \['out'\].*model\(x\)\['out'\]"),
    "an output object": (lambda x: OrderedDict(logits=NET(x)), r"model\(x\)\['logits'\]"),
    "a structure": (lambda x: SimpleNamespace(logits=NET(x)), r"model\(x\)\.logits"),
    "numpy": (lambda x: NET(x).detach().numpy(), "a torch tensor"),
    "nothing": (lambda x: None, "a NoneType"),
    "class numbers": (lambda x: NET(x).argmax(1), "not their argmax"),
}


@ways(EVERY)
@pytest.mark.parametrize(("model", "message"), ODD.values(), ids=ODD)
def test_an_answer_that_is_no_tensor_of_logits_is_named_with_the_way_out(way, model, message):
    with pytest.raises((TypeError, ValueError), match=message):
        way(model, X, Y)


GRADIENTS = {k: v for k, v in {**ATTACKS, **EVALUATIONS}.items() if k not in ("square", "transfer")}


@ways(GRADIENTS)
def test_a_model_that_detaches_its_input_is_blamed_for_that(way):
    net = nn.Sequential(nn.Flatten(), nn.Linear(9, 3))  # its parameters want gradients
    with pytest.raises(ValueError, match=r"no gradient with respect to the images.*square"):
        way(lambda x: net(x.detach()), X, net(X).argmax(1))


class Fixed(nn.Module):
    """No parameters, no buffers."""

    def forward(self, x):
        return x.flatten(1)[:, :3] * 2


@ways(EVERY)
def test_a_model_without_parameters_is_a_model(way):
    way(Fixed(), X, Fixed()(X).argmax(1))


@ways(EVERY)
def test_a_frozen_model_is_a_model(way):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        frozen = torch.jit.freeze(
            torch.jit.script(nn.Sequential(nn.Flatten(), nn.Linear(9, 3)).eval())
        )
    way(frozen, X, frozen(X).argmax(1))


def test_nothing_to_train_is_said_at_once():
    for net in (Fixed(), NET):
        with pytest.raises(ValueError, match="nothing to train"):
            fit(net, X, Y, objective=standard(), epochs=1, batch_size=4, lr=0.1, generator=seeded())


@ways(GRADIENTS)
def test_inference_mode_is_blamed_for_what_it_does(way):
    with torch.inference_mode(), pytest.raises(RuntimeError, match=r"inference_mode.*no_grad"):
        way(NET, X, Y)


def test_images_made_in_inference_mode_are_images():
    with torch.inference_mode():
        x = X.clone()
    for way in ATTACKS.values():
        assert torch.equal(way(NET, x, Y), way(NET, X, Y))
    with torch.inference_mode():
        square(NET, x, Y, eps=0.1, queries=3)
        certify(NET, x, sigma=0.2, n0=5, n=20)


def test_rounding_over_the_box_is_shown_with_the_clamp():
    x = X.clone()
    x[0, 0, 0, 0] = 1.0000001
    with pytest.raises(ValueError, match=r"leaves it by 1\.2e-07.*x\.clamp\(0, 1\)"):
        pgd(NET, x, Y, eps=0.1, step=0.1, steps=1)
    with pytest.raises(ValueError, match=r"x\.clamp\(0, 1\)"):
        certify(NET, x, sigma=0.1)


@pytest.mark.parametrize(("norm", "eps"), [("linf", 8), ("l2", 3.5), ("l1", 12)])
def test_a_radius_of_bytes_is_warned_of(norm, eps):
    with pytest.warns(UserWarning, match="larger than the whole box.*8/255"):
        pgd(NET, X, Y, eps=eps, step=0.1, steps=1, norm=norm)
    with pytest.warns(UserWarning, match="larger than the whole box"):
        evaluate(NET, X, Y, attacks=[pgd_attack(eps=eps, step=0.1, steps=1, norm=norm)])
    with pytest.warns(UserWarning, match="larger than the whole box"):
        run_ensemble(NET, X, Y, ensemble=AttackEnsemble(eps, norm, steps=1, queries=1, targets=1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pgd(NET, X, Y, eps=1.0, step=0.1, steps=1, norm=norm)


def test_a_radius_of_bytes_is_warned_of_in_training():
    with pytest.warns(UserWarning, match="8/255"):
        pgd_training(eps=8, step=2, steps=1)
    with pytest.warns(UserWarning, match="8/255"):
        trades(beta=6, eps=8, step=2, steps=1)


def test_infinite_is_not_a_radius():
    with pytest.raises(ValueError, match="eps must be finite"):
        pgd_attack(eps=math.inf, step=0.1, steps=1)
