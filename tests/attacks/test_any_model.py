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
    apgd,
    craft,
    evaluate,
    fab,
    fgsm,
    maximize,
    pgd,
    pgd_attack,
    robustness_audit,
    run_ensemble,
    square,
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
from small_inputs import linear_case, seeded

NET, X, Y = linear_case()
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


NO_MODELS = {
    "nothing": (None, "must be a module or a function of images, got NoneType"),
    "a file's name": ("net.pt", "must be a module or a function of images, got str"),
    "a class": (nn.Flatten, r"is the class Flatten, not a network; make one: Flatten\("),
    "weights": (NET.state_dict(), r"weights; load them .* net\.load_state_dict\(weights\)"),
    "the meta device": (
        nn.Sequential(nn.Flatten(), nn.Linear(9, 3, device="meta")), r"model\.to_empty\(device=",
    ),
}  # fmt: skip


@ways({**EVERY, "fit": lambda m, x, y: fit(
    m, x, y, objective=standard(), epochs=1, batch_size=4, lr=0.1, generator=seeded()
)})  # fmt: skip
@pytest.mark.parametrize(("model", "message"), NO_MODELS.values(), ids=NO_MODELS)
def test_what_is_no_model_is_refused_in_plain_words(way, model, message):
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


# --- Labels, dtypes and objectives as they come -------------------------------------------------


@ways(ATTACKS)
def test_labels_and_images_made_in_inference_mode_are_as_good_as_others(way):
    with torch.inference_mode():
        x, y = X.clone(), Y.clone()
    assert torch.equal(way(NET, x, y), way(NET, X, Y))


@ways({**ATTACKS, **EVALUATIONS})
def test_a_model_that_answers_in_double_precision_is_a_model(way):
    way(lambda x: NET(x).double(), X, Y)


def test_an_objective_that_works_in_place_leaves_the_iterate_alone():
    x = torch.full((1, 4), 0.5)
    found = maximize(
        lambda at: at.mul_(3).sum(1), x, eps=0.1, step=0.05, steps=4, initial_point=x, keep="worst"
    )
    torch.testing.assert_close(found, x + 0.1)


def test_a_radius_for_each_image_may_be_an_array_and_needs_no_gradient():
    eps = np.linspace(0.0, 0.2, len(X))
    found = fgsm(NET, X, Y, eps=eps)
    assert torch.equal(found, fgsm(NET, X, Y, eps=torch.tensor(eps, requires_grad=True)))
    assert not found.requires_grad


@pytest.mark.parametrize(
    ("step", "error"), [("0.1", TypeError), (None, TypeError), (torch.ones(3), ValueError),
                        (torch.ones(12, 2), ValueError)],
)  # fmt: skip
def test_a_step_that_is_none_is_refused(step, error):
    with pytest.raises(error, match="step"):
        pgd(NET, X, Y, eps=0.1, step=step, steps=2)


def test_a_box_whose_width_is_rounded_gives_no_alarm():
    x = X * 0.5 + 0.25
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pgd(NET, x, Y, eps=0.9, step=0.1, steps=1, clip=(0.05, 0.95))
