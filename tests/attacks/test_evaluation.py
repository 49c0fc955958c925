from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from robustnb.attacks import (
    AttackEnsemble,
    PGDConfig,
    engine,
    evaluate,
    half_cosine,
    margin,
    misclassified,
    multi_loss_pgd,
    pgd_attack,
    run_ensemble,
    sanity_checks,
)
from robustnb.attacks.engine import blocks, run_seeds
from robustnb.attacks.objective import ModelObjective
from robustnb.attacks.projected_gradient import pgd_loop
from robustnb.attacks.queries import ModelQueries
from robustnb.stats import clopper_pearson
from small_inputs import seeded

STRONG = PGDConfig(
    "strong", eps=0.06, step=0.02, steps=12, losses=("ce", "margin", "kl"), restarts=3
)


def seeded_runs(attack, generator):
    runs = attack.runs(4)
    return zip(runs, run_seeds(len(runs), generator), strict=True)


def starts(x, run, seed):
    """The starts of a run for the whole set, block by block."""
    parts = [run.starts(x[block], seed + k) for k, block in enumerate(blocks(len(x)))]
    return torch.cat(parts)


def plain_loop(model, x, y, attack, generator):
    """Every run in full on every example, nothing dropped, one batch."""
    model.eval()
    standing = ~misclassified(model(x), y)
    for run, seed in seeded_runs(attack, generator):
        objective = ModelObjective(ModelQueries(model), y, loss=run.loss).prepare(x)
        pgd_loop(
            objective, x, eps=attack.eps, step=attack.sizes(), steps=attack.steps, norm=attack.norm,
            begin=starts(x, run, seed), keep="last", clip=attack.clip, score_last=True,
        )  # fmt: skip
        standing &= ~objective.ever_misclassified
    return standing


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize("batch_size", [1, 7, 256])
def test_dropping_the_fallen_changes_no_verdict(curved, images, labels, norm, batch_size):
    scale = {"linf": 1, "l2": 3, "l1": 9}[norm]
    attack = replace(STRONG, norm=norm, eps=0.06 * scale, step=0.02 * scale)
    found = evaluate(
        curved(), images, labels, attacks=[attack], batch_size=batch_size, generator=seeded()
    )
    exact = plain_loop(curved(), images, labels, attack, seeded())
    assert torch.equal(found.robust_under("strong"), exact)
    assert 0 < int(exact.sum()) < int(found.natural_correct.sum())


def every_iterate(model, x, y, attack, generator):
    """(run, step, image, margin, wrong) of all iterates of all runs, in order."""
    model.eval()
    for number, (run, seed) in enumerate(seeded_runs(attack, generator)):
        objective, met = ModelObjective(ModelQueries(model), y, loss=run.loss).prepare(x), []

        def look(x_adv, *, grad, objective=objective, met=met):
            met.append(x_adv.detach().clone())
            return objective(x_adv, grad=grad)

        pgd_loop(
            look, x, eps=attack.eps, step=attack.sizes(), steps=attack.steps, norm=attack.norm,
            begin=starts(x, run, seed), keep="last", clip=attack.clip, score_last=True,
        )  # fmt: skip
        for step, x_adv in enumerate(met):
            with torch.no_grad():
                logits = model(x_adv)
            yield number, step, x_adv, margin(logits, y), misclassified(logits, y)


@pytest.mark.parametrize("block", [1024, 16])
def test_outcomes_are_the_first_mistake_or_the_nearest_to_one(
    curved, images, labels, block, monkeypatch
):
    monkeypatch.setattr(engine, "_BLOCK", block)
    model = curved().eval()
    found = evaluate(
        model, images, labels, attacks=[STRONG], batch_size=16, generator=seeded()
    ).results["strong"]  # fmt: skip
    met = list(every_iterate(model, images, labels, STRONG, seeded()))
    clean = margin(model(images), labels).detach()
    for i in range(len(images)):
        own = [(run, step, x[i], float(m[i])) for run, step, x, m, hit in met if hit[i]]
        if clean[i] > 0:
            expected = (-1, -1, images[i], float(clean[i]))
        elif own:
            expected = own[0]
        else:
            best = max(met, key=lambda iterate: float(iterate[3][i]))
            expected = (-1, -1, best[2][i], float(best[3][i]))
        run, step, x_adv, value = expected
        assert (int(found.run[i]), int(found.step[i])) == (run, step)
        assert float(found.margin[i]) == pytest.approx(value, abs=1e-9)
        assert torch.allclose(found.x_adv[i], x_adv, atol=1e-9)
    assert len(set(found.run.tolist())) > 2 and int((found.step > 5).sum()) > 0
    assert float(found.perturbation(images).abs().max()) <= STRONG.eps


def test_blocks_draw_their_starts_apart(images, monkeypatch):
    monkeypatch.setattr(engine, "_BLOCK", 20)
    same = torch.cat([images[:20], images[:20]])
    run = STRONG.runs(4)[0]
    begin = starts(same, run, 0)
    assert not torch.equal(begin[:20], begin[20:])
    assert torch.equal(begin[:20], starts(same[:20], run, 0))


def test_a_model_that_depends_on_its_batch_is_refused(curved, images, labels):
    def crowded(x):
        return net(x) * (1 + x.mean())

    net = curved().eval()
    for attack in (STRONG, AttackEnsemble(0.06, steps=2, targets=1, queries=5)):
        with pytest.raises(ValueError, match="depends on the other images"):
            evaluate(crowded, images, labels, attacks=[attack], generator=seeded())


def test_a_randomised_model_is_not_taken_for_one_that_depends_on_its_batch(curved, images, labels):
    net, noise = curved().eval(), seeded(3)

    def noisy(x):
        return net(x) + 0.1 * torch.randn(len(x), 4, dtype=x.dtype)

    with sanity_checks.seeded(0, images.device):
        found = evaluate(noisy, images, labels, attacks=[STRONG], generator=noise)
    assert int(found.natural_correct.sum()) > 0


def test_an_interrupted_evaluation_with_an_ensemble_goes_on_from_its_file(
    curved, images, labels, tmp_path, counting
):
    ensemble = AttackEnsemble(0.06, steps=8, targets=2, queries=20)
    call = {"attacks": [STRONG, ensemble], "checkpoint": tmp_path / "state"}
    first = evaluate(counting(curved()), images, labels, generator=seeded(), **call)
    model = counting(curved())
    again = evaluate(model, images, labels, generator=seeded(), **call)
    assert torch.equal(first.robust, again.robust)
    own = sum(first.passes[name].forward for name in ("natural", "strong"))
    assert model.seen < own + 5 * len(images)  # nothing of the ensemble's attacks
    several = [STRONG, replace(STRONG, name="again")]
    with pytest.raises(ValueError, match="attacks holds 2"):
        evaluate(curved(), images, labels, attacks=several, checkpoint=tmp_path / "state")


def test_pgd_alone_keeps_a_checkpoint_as_well(curved, images, labels, tmp_path, counting):
    path = tmp_path / "state"
    first = evaluate(
        counting(curved()), images, labels, attacks=[STRONG], generator=seeded(), checkpoint=path
    )
    model = counting(curved())
    again = evaluate(model, images, labels, attacks=[STRONG], generator=seeded(), checkpoint=path)
    assert torch.equal(first.robust, again.robust)
    for one, other in zip(vars(first.results["strong"]).values(),
                          vars(again.results["strong"]).values(), strict=True):  # fmt: skip
        assert torch.equal(one, other)
    assert model.seen < 3 * len(images)


def test_dropping_the_fallen_saves_passes(curved, images, labels, counting):
    model = counting(curved())
    found = evaluate(model, images, labels, attacks=[STRONG], generator=seeded())
    spent = found.passes["strong"]
    assert model.seen == spent.forward + found.passes["natural"].forward
    assert spent.forward < 0.8 * 40 * 9 * 13


def test_an_example_that_never_falls_costs_one_pass_more_than_its_steps(images, counting):
    weights = torch.zeros(16, 2, dtype=torch.float64)
    weights[0, 0] = 1.0
    model = counting(nn.Sequential(nn.Flatten(), nn.Linear(16, 2, bias=False).double()))
    with torch.no_grad():
        model.net[1].weight.copy_(weights.T)
    y = torch.zeros(40, dtype=torch.int64)
    attack = pgd_attack(eps=1e-9, step=1e-9, steps=12)
    found = evaluate(model, images, y, attacks=[attack], generator=seeded())
    assert bool(found.robust.all())
    assert found.passes["PGD-12"] == (13 * 40, 12 * 40)
    assert found.passes["natural"] == (40 + 8, 0)  # a few are asked about in another batch


def test_examples_misclassified_without_an_attack_are_not_attacked(curved, images, labels):
    wrong = (curved().eval()(images).argmax(1) + 1) % 4
    found = evaluate(curved(), images, wrong, attacks=[STRONG], generator=seeded())
    assert found.passes["strong"] == (0, 0)
    assert not found.robust.any()


def test_each_attack_has_its_own_column_and_strongest_is_their_conjunction(curved, images, labels):
    attacks = [pgd_attack(eps=0.06, step=0.02, steps=3), replace(STRONG, losses=("margin",))]
    found = evaluate(curved(), images, labels, attacks=attacks, generator=seeded())
    alone = evaluate(curved(), images, labels, attacks=attacks[:1], generator=seeded())
    assert torch.equal(found.robust_under("PGD-3"), alone.robust_under("PGD-3"))
    assert torch.equal(found.robust, found.robust_under("PGD-3") & found.robust_under("strong"))


def test_robust_error_is_natural_plus_boundary_error(curved, images, labels):
    counts = evaluate(curved(), images, labels, attacks=[STRONG], generator=seeded()).error_rates()
    assert counts.natural.count == 5
    assert counts.robust.count == counts.natural.count + counts.boundary.count
    assert counts.boundary.interval == clopper_pearson(counts.boundary.count, 40)
    assert counts.to_json()["robust"]["count"] == counts.robust.count


def test_more_restarts_never_raise_robust_accuracy(curved, images, labels):
    columns = [
        evaluate(
            curved(), images, labels, attacks=[replace(STRONG, restarts=r)], generator=seeded()
        ).robust
        for r in (1, 2, 4)
    ]
    assert not (columns[1] & ~columns[0]).any()
    assert not (columns[2] & ~columns[1]).any()


def test_with_eps_zero_robust_and_natural_accuracy_agree(curved, images, labels):
    found = evaluate(curved(), images, labels, attacks=[replace(STRONG, eps=0.0)])
    assert torch.equal(found.robust, found.natural_correct)


def test_an_ensemble_is_one_column_beside_the_others(curved, images, labels):
    ensemble = AttackEnsemble(0.06, steps=8, targets=2, queries=20)
    both = evaluate(
        curved(), images, labels, attacks=[STRONG, ensemble], generator=seeded(),
    )  # fmt: skip
    generator = seeded()
    run_seeds(len(STRONG.runs(4)), generator)
    alone = run_ensemble(curved(), images, labels, ensemble=ensemble, generator=generator)
    assert torch.equal(both.robust_under(ensemble.name), alone.robust)
    assert torch.equal(both.robust, both.robust_under("strong") & alone.robust)
    assert both.n_robust[ensemble.name] == alone.n_robust
    assert both.findings == alone.findings
    assert both.gradients["gradients under strong"]["ok"]
    spent = [passes for name, passes in alone.passes.items() if name != "natural"]
    assert both.passes[ensemble.name].backward == sum(passes.backward for passes in spent)
    assert 0 < int(both.robust.sum()) < int(both.natural_correct.sum())


def test_the_share_that_stands_on_a_linear_model_is_the_closed_form(images):
    """Correct within eps exactly where the margin exceeds eps times the l1 norm of w."""
    w = torch.randn(16, generator=seeded(4), dtype=torch.float64)
    inner = 0.3 + 0.4 * images
    y = torch.where(torch.arange(40) % 2 == 0, 1, -1)
    bias = -(inner.flatten(1) @ w).median()
    x = inner + 0.01 * y.reshape(-1, 1, 1, 1) * w.sign().reshape(1, 1, 4, 4)

    def model(x):
        return x.flatten(1) @ w + bias

    found = evaluate(model, x, y, attacks=[multi_loss_pgd(0.02)], generator=seeded())
    stands = y * model(x) > 0.02 * w.abs().sum()
    assert torch.equal(found.robust, stands)
    assert 0 < int(stands.sum()) < int(found.natural_correct.sum())


def test_modes_are_restored_and_global_randomness_untouched(curved, images, labels):
    model = curved().train()
    model[1].eval()
    modes, state = [m.training for m in model.modules()], torch.get_rng_state()
    evaluate(model, images, labels, attacks=[STRONG], generator=seeded())
    assert [m.training for m in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), state)


def test_an_empty_set_has_empty_outcomes(curved):
    found = evaluate(
        curved(), torch.zeros(0, 1, 4, 4).double(), torch.zeros(0, dtype=torch.int64),
        attacks=[STRONG],
    )  # fmt: skip
    assert found.robust.shape == (0,)
    assert found.error_rates().robust.n == 0


def test_the_long_attack_is_named_after_what_it_does():
    attack = multi_loss_pgd(0.1)
    assert attack.name == "PGD-100 CE+margin x5"
    assert (attack.steps, attack.restarts, attack.losses) == (100, 5, ("ce", "margin"))
    assert attack.step == half_cosine(0.1, 100)
    assert attack.to_json()["eps"] == 0.1
