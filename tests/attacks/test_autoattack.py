from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from robustnb.attacks import (
    AttackEnsemble,
    evaluate,
    lp_distance,
    margin,
    misclassified,
    multi_loss_pgd,
    project,
    run_ensemble,
    standard_ensemble,
)
from robustnb.attacks.autoattack import MEMBERS
from robustnb.attacks.projections import NORMS
from small_inputs import seeded

EPS = {"linf": 0.02, "l2": 0.1, "l1": 0.3}
SHORT = AttackEnsemble(0.02, steps=12, targets=2, queries=40)


def same(a, b):
    assert torch.equal(a.robust, b.robust)
    assert torch.equal(a.broken_by, b.broken_by)
    assert torch.equal(a.x_adv, b.x_adv)
    assert (a.n_robust, a.passes, a.findings) == (b.n_robust, b.passes, b.findings)


@pytest.mark.parametrize("norm", NORMS)
def test_early_exit_gives_the_verdicts_of_every_attack_run_alone_in_full(
    curved, images, labels, norm
):
    model, ensemble = curved(), replace(SHORT, norm=norm, eps=EPS[norm], restarts=2)
    found = run_ensemble(model, images, labels, ensemble=ensemble, generator=seeded())
    exact, seeds = ~misclassified(model.eval()(images), labels), iter(_seeds(len(found.runs)))
    for run in found.runs:
        exact &= plain(model, images, labels, ensemble, run, next(seeds))
    assert torch.equal(found.robust, exact)
    assert 0 < int(exact.sum()) < int(found.natural_correct.sum())


def _seeds(count):
    generator = seeded()
    return [int(torch.randint(2**62, (1,), generator=generator)) for _ in range(count)]


def plain(model, x, y, ensemble, run, seed):
    """One run on every example in one batch, to its end; who stands."""
    from robustnb.attacks.apgd_attack import apgd_single_run
    from robustnb.attacks.fab_attack import fab_targeted
    from robustnb.attacks.losses import cross_entropy, dlr, other_classes
    from robustnb.attacks.queries import ModelQueries
    from robustnb.attacks.square_attack import random_search

    queries, logits = ModelQueries(model), model(x).detach()
    begin = run.starts(x, seed)
    settings = dict(norm=ensemble.norm, clip=ensemble.clip)
    target = None if run.rank is None else other_classes(logits, y, 9)[:, run.rank]
    if run.label == "square":
        settings |= dict(eps=ensemble.eps, queries=ensemble.queries, seed=seed)
        return ~random_search(queries, x, y, **settings).misclassified
    settings |= dict(begin=begin, steps=ensemble.steps)
    if run.label == "fab-t":
        return fab_targeted(queries, x, y, target, **settings).size > ensemble.eps
    loss = cross_entropy if run.label == "apgd-ce" else dlr
    settings |= dict(eps=ensemble.eps, target=target, local=run.restart > 0)
    return ~apgd_single_run(queries, x, y, loss=loss, **settings).misclassified


@pytest.mark.parametrize("norm", NORMS)
def test_what_fell_is_an_image_in_ball_and_box_that_is_misclassified(curved, images, labels, norm):
    model, x = curved().float(), images.float()
    ensemble = replace(SHORT, norm=norm, eps=EPS[norm])
    found = run_ensemble(model, x, labels, ensemble=ensemble, generator=seeded())
    assert float(lp_distance(found.x_adv, x, norm).double().max()) <= ensemble.eps
    assert 0 <= float(found.x_adv.min()) <= float(found.x_adv.max()) <= 1
    fell = found.broken_by >= 0
    assert torch.equal(fell, found.natural_correct & ~found.robust)
    assert bool(misclassified(model.eval()(found.x_adv), labels)[fell].all())
    assert torch.equal(found.x_adv[~fell], x[~fell])
    assert sum(int(found.broken_under(a).sum()) for a in MEMBERS) == int(fell.sum()) > 0
    assert found.n_robust[-1] == int(found.robust.sum())


@pytest.mark.parametrize("attack", MEMBERS)
@pytest.mark.parametrize("norm", NORMS)
def test_neither_alone_depends_on_the_batch(curved, images, labels, norm, attack):
    ensemble = replace(SHORT, norm=norm, eps=2 * EPS[norm], attacks=(attack,))
    one, other = (
        run_ensemble(
            curved(), images, labels, ensemble=ensemble, batch_size=size, generator=seeded()
        )
        for size in (9, 40)
    )
    assert torch.equal(one.broken_by, other.broken_by)
    torch.testing.assert_close(one.x_adv, other.x_adv)
    assert int(one.broken_under(attack).sum()) > 0


@pytest.mark.parametrize("norm", NORMS)
def test_a_linear_model_falls_a_thousandth_beyond_its_distance_and_not_before(norm):
    """The exact distance of each image to the other class, by bisection of the optimum."""
    weights = torch.randn(12, 2, generator=seeded(1), dtype=torch.float64)
    x = torch.rand(8, 12, generator=seeded(2), dtype=torch.float64)
    y = (x @ weights).argmax(1)
    gap = (weights[:, 1 - y] - weights[:, y]).T
    low, high = torch.zeros(8).double(), torch.full((8,), 12.0).double()
    for _ in range(60):
        eps = (low + high) / 2
        far = x + 1e9 * (gap.sign() if norm == "linf" else gap)
        hit = (project(far, x, eps=eps, norm=norm) * gap).sum(1) > 0
        low, high = torch.where(hit, low, eps), torch.where(hit, eps, high)
    for i in range(8):
        for times, stands in ((1.001, False), (1 / 1.001, True)):
            ensemble = replace(SHORT, norm=norm, eps=float(high[i]) * times, queries=5, steps=5)
            found = run_ensemble(
                lambda x: x @ weights, x[i : i + 1], y[i : i + 1], ensemble=ensemble,
                generator=seeded(),
            )  # fmt: skip
            assert bool(found.robust) is stands


def test_more_restarts_never_raise_robust_accuracy(curved, images, labels):
    one, two = (
        run_ensemble(
            curved(), images, labels, ensemble=replace(SHORT, restarts=r, steps=3, queries=5),
            generator=seeded(),
        )
        for r in (1, 2)
    )  # fmt: skip
    assert two.n_robust[: len(one.n_robust)] == one.n_robust
    assert not (two.robust & ~one.robust).any()


def test_the_ensemble_is_not_weaker_than_a_hundred_step_pgd(curved, images, labels):
    ensemble = AttackEnsemble(0.03, steps=40, queries=200)
    ours = run_ensemble(curved(), images, labels, ensemble=ensemble, generator=seeded())
    pgd = evaluate(
        curved(), images, labels, attacks=[multi_loss_pgd(0.03, steps=50, restarts=2)],
        generator=seeded(),
    )  # fmt: skip
    assert not (ours.robust & ~pgd.robust).any()


def test_with_eps_zero_nothing_is_attacked(curved, images, labels):
    found = run_ensemble(curved(), images, labels, ensemble=replace(SHORT, eps=0.0))
    assert torch.equal(found.robust, found.natural_correct)
    assert torch.equal(found.x_adv, images)
    assert all(spent == (0, 0) for name, spent in found.passes.items() if name != "natural")


def test_margins_are_those_of_the_images_it_returns(curved, images, labels):
    model = curved().eval()
    found = run_ensemble(model, images, labels, ensemble=SHORT, generator=seeded())
    with torch.no_grad():
        exact = margin(model(found.x_adv), labels)
    assert torch.allclose(found.margin, exact, atol=1e-12)
    assert torch.equal(found.margin < 0, found.robust)


def test_passes_are_those_the_model_has_seen(curved, images, labels, counting):
    model = counting(curved())
    found = run_ensemble(model, images, labels, ensemble=SHORT, generator=seeded())
    checks = 2 * 40 + int((found.broken_by >= 0).sum())  # asked twice; the fallen asked again
    assert model.seen == sum(spent.forward for spent in found.passes.values()) + checks


def test_one_seed_gives_one_result_and_leaves_the_global_generator_alone(curved, images, labels):
    model = curved().train()
    before = torch.get_rng_state()
    a, b = (
        run_ensemble(model, images, labels, ensemble=SHORT, generator=seeded(1)) for _ in range(2)
    )
    same(a, b)
    assert torch.equal(before, torch.get_rng_state())
    assert all(m.training for m in model.modules())


class Interrupted(nn.Module):
    """Ends after some calls, as a machine that is taken away."""

    def __init__(self, net, calls):
        super().__init__()
        self.net, self.left = net, calls

    def forward(self, x):
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return self.net(x)


@pytest.mark.parametrize("calls", [3, 30, 170])
def test_an_interrupted_evaluation_goes_on_to_the_same_result(
    curved, images, labels, tmp_path, calls
):
    path, settings = tmp_path / "state", dict(ensemble=SHORT, batch_size=16)
    never = 10**9
    whole = run_ensemble(
        Interrupted(curved(), never), images, labels, generator=seeded(), **settings
    )
    model = Interrupted(curved(), calls)
    with pytest.raises(KeyboardInterrupt):
        run_ensemble(
            model, images, labels, generator=seeded(), checkpoint=path, **settings
        )  # fmt: skip
    model.left = never
    rest = run_ensemble(
        model, images, labels, generator=seeded(), checkpoint=path, **settings
    )  # fmt: skip
    same(whole, rest)
    model.left = 20  # a finished file asks for no attack, with or without the generator
    same(whole, run_ensemble(model, images, labels, checkpoint=str(path), **settings))


def test_a_file_of_another_evaluation_or_a_damaged_one_is_refused(curved, images, tmp_path):
    path, y, model = tmp_path / "state", torch.arange(40) % 4, curved()
    call = dict(ensemble=replace(SHORT, attacks=("apgd-ce",)), checkpoint=path)
    run_ensemble(model, images, y, generator=seeded(), **call)
    for change, what in [
        (dict(x=images.flip(0)), "the data"),
        (dict(model=curved(1)), r"the model \(weights\)"),
        (dict(ensemble=replace(call["ensemble"], eps=0.03)), "the attack"),
        (dict(generator=seeded(1)), "the seeds"),
    ]:
        other = {"model": model, "x": images, "generator": seeded(), **call, **change}
        with pytest.raises(ValueError, match=f"{what} differs.*; delete it"):
            run_ensemble(other.pop("model"), other.pop("x"), y, **other)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(ValueError, match="delete it to begin the evaluation anew"):
        run_ensemble(model, images, y, generator=seeded(), **call)


def test_scores_of_two_classes_are_attacked_as_well(images):
    w = torch.randn(16, generator=seeded(4), dtype=torch.float64)
    y = torch.where(torch.arange(40) % 2 == 0, 1, -1)

    def model(x):
        return x.flatten(1) @ w - 0.1

    found = run_ensemble(model, images, y, ensemble=SHORT, generator=seeded())
    corner = (images - 0.02 * y.reshape(-1, 1, 1, 1) * w.sign().reshape(1, 1, 4, 4)).clamp(0, 1)
    assert torch.equal(found.robust, y * model(corner) > 0)
    assert torch.equal(found.natural_correct, y * model(images) > 0)


def test_the_result_is_told_in_json(curved, images, labels):
    found = run_ensemble(curved(), images, labels, ensemble=SHORT, generator=seeded())
    told = json.loads(json.dumps(found.to_json()))
    assert told["ensemble"]["attacks"] == list(MEMBERS)
    assert told["error_rates"]["boundary"]["count"] == sum(told["broken_under"].values())
    assert found.error_rates().robust.count == 40 - int(found.robust.sum())
    with pytest.raises(ValueError, match="attack must be one of"):
        found.broken_under("pgd")


def test_the_standard_ensemble_is_the_papers():
    ensemble = standard_ensemble(8 / 255, norm="l2")
    assert (ensemble.steps, ensemble.targets, ensemble.queries) == (100, 9, 5000)
    assert [run.label for run in ensemble.runs(10)] == (
        ["apgd-ce", "apgd-dlr"] + ["apgd-t"] * 9 + ["fab-t"] * 9 + ["square"]
    )


def test_an_empty_set_has_empty_outcomes(curved):
    found = run_ensemble(
        curved(), torch.zeros(0, 1, 4, 4).double(), torch.zeros(0, dtype=torch.int64),
        ensemble=SHORT,
    )  # fmt: skip
    assert found.robust.shape == (0,)
    assert all(finding["ok"] for finding in found.findings.values())


X, Y = torch.rand(6, 1, 3, 3, generator=seeded()), torch.arange(6) % 3
REFUSED = [
    ("NaN logits", dict(model=lambda x: x.flatten(1) * math.nan), ValueError, "NaN or infinite"),
    ("infinite logits", dict(model=lambda x: x.flatten(1) / 0), ValueError, "NaN or infinite"),
    ("NaN away from x", dict(model=lambda x: x.flatten(1) * (1 if torch.equal(x, X) else math.nan)),
     ValueError, "NaN or infinite"),
    ("maps", dict(model=lambda x: x), ValueError, "flatten its output"),
    ("detached", dict(model=lambda x: x.detach().flatten(1)), ValueError, "Attack it with square"),
    ("bytes", dict(x=(X * 255).byte()), TypeError, "to_unit"),
    ("normalised", dict(x=X * 4 - 2), ValueError, "put Normalize inside the model"),
    ("NaN images", dict(x=X * math.nan), ValueError, "clean the data"),
    ("one-hot labels", dict(y=torch.eye(6, 3)), ValueError, r"y\.argmax\(1\)"),
    ("too few labels", dict(y=Y[:3]), ValueError, r"shape \(6,\)"),
    ("a label too large", dict(y=Y + 9), ValueError, "0..8 for a model of 9 classes"),
    ("no batch", dict(batch_size=0), ValueError, "batch_size must be an integer >= 1"),
    ("double images", dict(model=nn.Linear(9, 3).double()), TypeError, r"model\.to"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "error", "message"), [r[1:] for r in REFUSED], ids=[r[0] for r in REFUSED]
)
def test_bad_input_is_refused_with_the_fix(change, error, message):
    call = {"model": nn.Flatten(), "x": X, "y": Y, "ensemble": SHORT, **change}
    with pytest.raises(error, match=message):
        run_ensemble(call.pop("model"), call.pop("x"), call.pop("y"), **call)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(eps=-1.0), "eps must be finite and >= 0"),
        (dict(norm="l3"), "linf, l2, l1"),
        (dict(steps=0), "steps must be an integer >= 1"),
        (dict(targets=True), "targets must be an integer >= 1"),
        (dict(queries=1.5), "queries must be an integer >= 1"),
        (dict(attacks=()), "each once"),
        (dict(attacks=("square", "square")), "each once"),
        (dict(attacks=("pgd",)), "apgd-ce, apgd-dlr"),
    ],
)
def test_settings_that_no_ensemble_can_have_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(SHORT, **change)
