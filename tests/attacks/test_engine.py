"""The engine drives any attack that keeps to `robustnb.attacks.attack`, and knows old names."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import pytest
import torch

import robustnb.attacks
from robustnb import _deprecated
from robustnb.attacks import craft, evaluate, lp_distance, margin, pgd_attack, project, transfer
from robustnb.attacks.attack import Attack, AttackRun, Batch, Part, found
from small_inputs import seeded


@dataclass(frozen=True)
class MomentumAttack:
    """MI-FGSM in a few lines, as a newcomer would add it."""

    name: str
    eps: float
    steps: int = 5
    norm: str = "linf"
    clip: tuple[float, float] | None = (0.0, 1.0)
    needs_gradients: bool = True
    too_far: float = 1.0

    def runs(self, classes):
        return [MomentumRun(self)]

    def to_json(self):
        return asdict(self)


class MomentumRun(AttackRun):
    def __init__(self, settings):
        self.settings, self.label = settings, settings.name

    def attack(self, queries, batch: Batch, part: int) -> Part:
        x_adv = self.craft(queries, batch)
        answer = queries.loss_and_misclassified(x_adv, batch.y, margin)
        return found(batch, answer.misclassified, x_adv)

    def craft(self, queries, batch: Batch):
        own, momentum, at = self.settings, torch.zeros_like(batch.x), batch.at
        for _ in range(own.steps):
            grad = queries.loss_and_grad(at, batch.y, margin).grad
            momentum = momentum + grad / grad.abs().flatten(1).sum(1).clamp_min(1e-12).reshape(
                -1, *[1] * (grad.ndim - 1)
            )
            at = at + own.too_far * own.eps / own.steps * momentum.sign()
            reach = own.too_far * own.eps
            at = project(at, batch.x, eps=reach, norm="linf", clip=own.clip)
        return at


def test_a_new_attack_gets_evaluation_crafting_transfer_and_checkpoints(
    curved, images, labels, tmp_path
):
    attack = MomentumAttack("MI-FGSM", 0.08)
    assert isinstance(attack, Attack)
    model, path = curved().eval(), tmp_path / "state"
    call = dict(attacks=[attack, pgd_attack(eps=0.08, step=0.02, steps=10)], generator=seeded())
    result = evaluate(model, images, labels, batch_size=7, **call)
    x_adv = craft(model, images, labels, attack=attack)
    broken = result.natural_correct & ~result.robust_under("MI-FGSM")
    wrong = margin(model(x_adv), labels) > 0
    assert torch.equal(broken, result.natural_correct & wrong) and 0 < int(broken.sum()) < 40
    assert float(lp_distance(x_adv, images, "linf").max()) <= 0.08 + 1e-12
    assert result.gradients["gradients under MI-FGSM"]["ok"]
    moved = transfer(model, curved(1), images, labels, attack=attack)
    assert moved.success_rate().n == int(moved.clean_correct.sum())
    one = dict(attacks=[attack], checkpoint=path)
    first = evaluate(model, images, labels, **one)
    assert torch.equal(first.robust, evaluate(model, images, labels, **one).robust)
    with pytest.raises(ValueError, match="the attack differs"):
        evaluate(model, images, labels, attacks=[MomentumAttack("MI-FGSM", 0.07)], checkpoint=path)


def test_an_image_outside_the_ball_is_no_mistake(curved, images, labels):
    cheat = MomentumAttack("too far", 0.02, too_far=20.0)
    result = evaluate(curved(), images, labels, attacks=[cheat])
    inside = lp_distance(result.results["too far"].x_adv, images, "linf") <= 0.02
    assert bool(inside.all())
    lost = ~result.robust & result.natural_correct
    assert int(lost.sum()) < int(result.natural_correct.sum()) / 2


def test_what_is_no_attack_is_named(curved, images, labels):
    for wrong in ("pgd", pgd_attack(eps=0.1, step=0.1, steps=1), [0.1]):
        with pytest.raises(TypeError, match="list of attacks such as pgd_attack"):
            evaluate(curved(), images, labels, attacks=wrong)


OLD = """Attack Closest Ensemble Judge Outcome ascend distance ensemble_evaluate fooled long_attack
paper_attack self_audit strongest_available"""


@pytest.mark.parametrize("name", OLD.split())
def test_a_name_of_the_release_before_works_and_warns(name):
    with pytest.warns(DeprecationWarning, match=f"robustnb.attacks.{name} is called"):
        assert callable(getattr(robustnb.attacks, name))


def test_attributes_of_the_release_before_work_and_warn(curved, images, labels):
    result = evaluate(
        curved(), images, labels, attacks=[pgd_attack(eps=0.05, step=0.02, steps=3)],
        generator=seeded(),
    )  # fmt: skip
    with pytest.warns(DeprecationWarning, match="Evaluation.strongest is called robust now"):
        assert torch.equal(result.strongest, result.robust)
    with pytest.warns(DeprecationWarning, match="robust_under"):
        assert torch.equal(result.column("PGD-3"), result.robust_under("PGD-3"))


def test_a_renamed_attribute_is_itself_on_the_class():
    class Thing:
        new = 1
        old = _deprecated.renamed("new")

    assert Thing.old is Thing.__dict__["old"]
    with pytest.warns(DeprecationWarning, match=r"Thing\.old is called new now"):
        assert Thing().old == 1
