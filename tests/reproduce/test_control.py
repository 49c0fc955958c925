"""A part whose positive control shows nothing cannot speak, whatever it measured."""

from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np
import pytest

from robustnb.errors import UsageError
from robustnb.reproduce import words
from robustnb.reproduce.console import why
from robustnb.reproduce.estimands import Arm
from robustnb.reproduce.evidence import RunData
from robustnb.reproduce.ledger import ledger
from robustnb.reproduce.registry import load_all
from robustnb.reproduce.registry_types import Control, Plan, digest
from robustnb.reproduce.verdict import judge

TRUE_LABELS = Control("true labels minus none", {"difference": ["oracle", "none"]})


@pytest.fixture
def gain(part):
    """The gain of pseudo-labels, with true labels as its control."""

    def make(**changes):
        estimand = {"difference": ["pseudo", "none"]}
        return part(**{"estimand": estimand, "control": TRUE_LABELS, **changes})

    return make


def study(rng, *, none=0.5, pseudo, oracle, luck=0.02, n=300, seeds=5):
    """Five trainings on one test set: each arm has its rate, with normal luck of the seed."""

    def arm(rate):
        hits = (rng.random(n) < rate + luck * rng.normal()).astype(float)
        return Arm(n, float(hits.mean()), hits)

    rates = {"none": none, "pseudo": pseudo, "oracle": oracle}
    return [RunData(s, {name: arm(rate) for name, rate in rates.items()}) for s in range(seeds)]


def tally(part, n, **rates):
    rng = np.random.default_rng(0)
    studies = [study(rng, **rates) for _ in range(n)]
    return Counter(judge(part, runs, "laptop", draws=400).word for runs in studies)


def test_with_headroom_a_true_effect_is_found_and_a_missing_one_is_not(gain):
    found = tally(gain(), 30, pseudo=0.65, oracle=0.7)
    assert found[words.SMALLER] >= 27 and not found[words.NO_HEADROOM]
    missed = tally(gain(), 30, pseudo=0.5, oracle=0.7)
    assert missed[words.TOO_SMALL] >= 24 and not missed[words.NO_HEADROOM]


def test_a_planted_false_claim_still_comes_out_opposite_where_there_is_headroom(gain):
    assert tally(gain(), 30, pseudo=0.35, oracle=0.7)[words.OPPOSITE] >= 27


def test_without_headroom_nineteen_of_twenty_studies_say_so_whatever_they_measured(gain):
    for pseudo in (0.35, 0.5, 0.65):
        assert tally(gain(), 40, pseudo=pseudo, oracle=0.5)[words.NO_HEADROOM] >= 34


def test_a_control_on_the_wrong_side_shows_no_effect(gain):
    assert tally(gain(), 10, pseudo=0.65, oracle=0.3) == {words.NO_HEADROOM: 10}
    turned = dataclasses.replace(TRUE_LABELS, sign=-1)
    assert words.NO_HEADROOM not in tally(gain(control=turned), 10, pseudo=0.65, oracle=0.3)


def test_the_missing_headroom_comes_before_the_paper_s_size_and_before_the_audit(gain):
    plan = Plan(effect=0.3, reason="the paper's", papers=True)
    runs = study(np.random.default_rng(1), pseudo=0.5, oracle=0.5)
    audit = ({"ok": False, "why": "more steps help"},)
    runs = [dataclasses.replace(run, audits=audit) for run in runs]
    found = judge(gain(planned=plan, audited=True), runs, "laptop", draws=400)
    assert found.word == words.NO_HEADROOM and found.group == "inconclusive"


def test_the_verdict_tells_what_the_control_gave(gain):
    rng = np.random.default_rng(2)
    without = judge(gain(), study(rng, pseudo=0.5, oracle=0.5), "laptop", draws=400)
    assert without.control.startswith("control, true labels minus none: ")
    assert without.control.endswith("points, no effect")
    shown = judge(gain(), study(rng, pseudo=0.65, oracle=0.7), "laptop", draws=400)
    assert "95 % interval +" in shown.control and not shown.control.endswith("no effect")


def test_a_failed_audit_still_tells_what_the_control_gave(gain):
    runs = study(np.random.default_rng(3), pseudo=0.5, oracle=0.7)
    weak = [dataclasses.replace(run, audits=({"ok": False, "why": "weak"},)) for run in runs]
    found = judge(gain(audited=True), weak, "laptop", draws=400)
    assert found.word == words.AUDIT
    assert found.control.startswith("control, true labels minus none: +")


def test_a_control_is_part_of_what_is_registered(gain):
    alone = gain(control=None)
    assert digest(alone) != digest(gain())
    other = Control("another title", TRUE_LABELS.estimand)
    assert digest(gain(control=other)) == digest(gain())
    assert digest(gain(control=dataclasses.replace(other, null=0.01))) != digest(gain())


def test_the_arms_of_the_control_come_from_the_run_s_records(toy, made, edit):
    control = "control: {title: none, estimand: {difference: [control, treated]}}"
    edit("sign: 1\n", f"sign: 1\n        {control}\n", name="claims/toy2020.yaml")
    drawn = ledger(load_all(toy.claims), [made(s) for s in range(5)], {}, draws=200)
    claim = drawn["papers"]["toy2020"]["claims"]["toy2020.C1"]
    assert claim["word"] == words.NO_HEADROOM
    verdict = claim["parts"]["toy2020.C1.more"]["profiles"]["laptop"]
    assert verdict["control"].startswith("control, none: −")
    assert f"    {verdict['control']}\n" in why(drawn, "toy2020.C1", as_json=False)


@pytest.mark.parametrize(
    ("control", "told"),
    [
        ("{title: none, estimand: {median: control}}", "estimand must be one of"),
        (
            "{title: none, estimand: {mean: control}, sign: 2}",
            "a control needs sign: 1 or sign: -1",
        ),
    ],
)
def test_a_control_that_cannot_be_tested_is_refused(toy, edit, control, told):
    edit("sign: 1\n", f"sign: 1\n        control: {control}\n", name="claims/toy2020.yaml")
    with pytest.raises(UsageError, match=told):
        load_all(toy.claims)
