from __future__ import annotations

import dataclasses

import pytest

from robustnb.reproduce import words
from robustnb.reproduce.check_verdict import judge_checks as judge
from robustnb.reproduce.evidence import RunData


def check(**changes):
    base = {
        "id": "step",
        "kind": "check",
        "method": "holds",
        "ok": True,
        "holds": True,
        "n": 1200,
        "space": "random laws",
        "detail": "slack -1 at 3",
        "wrong_refuted": True,
    }
    return RunData(0, checks=({**base, **changes},))


@pytest.fixture
def exact(part):
    """Make a check, with changes."""
    plain = {"estimand": None, "unit": "draws", "sign": None, "profile": "smoke", "seeds": (0,)}
    return lambda **changes: part(**{"kind": "check", **plain, **changes})


@pytest.mark.parametrize(
    ("kind", "changes", "word"),
    [
        ("check", {}, words.CHECKED),
        ("check", {"ok": False, "holds": False}, words.COUNTEREXAMPLE),
        ("check", {"ok": False, "wrong_refuted": False}, words.UNDECIDED),
        ("proof", {"kind": "proof"}, words.PROVED_BY_MACHINE),
        ("proof", {}, words.CHECKED),
        (
            "proof",
            {"kind": "proof", "method": "identity", "ok": False, "holds": False},
            words.UNDECIDED,
        ),
        ("coverage", {"kind": "coverage", "misses": 120, "n": 2000, "alpha": 0.05}, words.COVERED),
        ("coverage", {"kind": "coverage", "misses": 132, "n": 2000, "alpha": 0.05}, words.MISSES),
        (
            "coverage",
            {"kind": "coverage", "misses": 9, "n": 500, "alpha": 0.05},
            words.UNDECIDED,
        ),
    ],
)
@pytest.mark.parametrize("profile", ["smoke", "laptop"])
def test_checks_have_their_own_words_at_every_profile(exact, kind, changes, word, profile):
    assert judge(exact(kind=kind), [check(**changes)], profile).word == word


def test_a_check_says_in_how_many_and_where_it_found_no_counterexample(exact):
    found = judge(exact(), [check()], "smoke")
    assert found.label == "checked only"
    assert "no counterexample in 1,200 points; random laws" in found.text


def test_the_steps_of_a_proof_in_prose_are_proved_here_and_say_how_many_were_checked(exact):
    two = RunData(0, checks=check().checks * 2)
    found = judge(exact(theorem="proved"), [two], "smoke")
    assert found.word == words.PROVED_HERE
    assert found.text.startswith("2 of 2 checks passed, each wrong form caught")
    bad = check(ok=False, holds=False)
    assert judge(exact(theorem="proved"), [bad], "smoke").word == words.COUNTEREXAMPLE


def test_a_counterexample_in_any_seed_decides(exact):
    later = dataclasses.replace(check(ok=False, holds=False), seed=3)
    assert judge(exact(), [check(), later], "smoke").word == words.COUNTEREXAMPLE


def test_a_check_on_trained_networks_waits_for_its_profile(exact):
    trained = exact(profile="laptop")
    failing = check(ok=False, holds=False)
    assert judge(trained, [failing], "smoke").word == words.RAN
    assert judge(trained, [failing], "laptop").word == words.COUNTEREXAMPLE
