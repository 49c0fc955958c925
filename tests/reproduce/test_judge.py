"""The judge is judged: error rates under the null, power, and planted false claims."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from scipy import stats as st

from robustnb.reproduce import words
from robustnb.reproduce.estimands import Arm
from robustnb.reproduce.evidence import RunData
from robustnb.reproduce.registry_types import Number
from robustnb.reproduce.verdict import judge, judge_all
from robustnb.stats import minimal_detectable

DRAWS = 500


def at_most_five_percent(errors: int, n: int) -> bool:
    return errors <= st.binom.ppf(0.999, n, 0.05)


def arm(values) -> Arm:
    x = np.asarray(values, dtype=float)
    return Arm(x.size, float(x.mean()), x)


def experiment(rng, logits, *, n=120, seeds=5, hardness=1.5, taste=0.0, luck=0.0):
    """Runs of five seeds on one test set: accuracy is sigmoid(logit + example + arm effects).

    hardness: spread of examples, shared by all; taste: of example x arm, shared by seeds;
    luck: of seed x arm.
    """
    easy = hardness * rng.normal(size=n)
    liked = {name: taste * rng.normal(size=n) for name in logits}
    found = []
    for seed in range(seeds):
        arms = {}
        for name, logit in logits.items():
            score = logit + easy + liked[name] + luck * rng.normal()
            arms[name] = arm(rng.random(n) < 1 / (1 + np.exp(-score)))
        found.append(RunData(seed, arms))
    return found


def tally(part, logits, *, n, profile="laptop", seed=0, **spread) -> Counter:
    rng = np.random.default_rng(seed)
    runs = (experiment(rng, logits, **spread) for _ in range(n))
    return Counter(judge(part, run, profile, draws=DRAWS).group for run in runs)


@pytest.mark.parametrize(
    "spread",
    [{}, {"taste": 1.5}, {"luck": 0.3}, {"taste": 1.5, "luck": 0.2}, {"taste": 1.5, "luck": 0.12}],
    ids=["draws", "examples", "seeds", "both", "even"],
)
def test_equal_arms_are_called_different_at_most_once_in_twenty(part, spread):
    found = tally(part(), {"a": 0.5, "b": 0.5}, n=150, **spread)
    assert at_most_five_percent(found["holds"] + found["against"], 150)


@pytest.mark.parametrize(
    ("estimand", "logits"),
    [
        (
            {"spearman": {"arms": ["a", "b", "c", "d"], "against": [0.3, 1, 3, 6]}},
            dict.fromkeys("abcd", 0.5),
        ),
        ({"max_step": ["a", "b", "c", "d"]}, dict.fromkeys("abcd", 0.5)),
    ],
    ids=["spearman", "max_step"],
)
def test_no_trend_is_called_a_trend_at_most_once_in_twenty(part, estimand, logits):
    found = tally(part(estimand=estimand), logits, n=100, taste=1.0, luck=0.1)
    assert at_most_five_percent(found["holds"] + found["against"], 100)


def test_a_point_on_the_curve_is_not_called_below_or_above_it(part):
    logit = dict(n1=0.9, r1=0.4, n2=0.8, r2=0.5, n=0.85, r=0.45)
    logits = {name: float(np.log(p / (1 - p))) for name, p in logit.items()}
    estimand = {"frontier": {"curve": [["n1", "r1"], ["n2", "r2"]], "point": ["n", "r"]}}
    found = tally(part(estimand=estimand), logits, n=100, hardness=0, luck=0.05)
    assert at_most_five_percent(found["holds"] + found["against"], 100)


def test_within_one_run_equal_arms_are_seldom_called_different(part):
    one = part(unit="examples", seeds=(0,))
    found = tally(one, {"a": 3.5, "b": 3.5}, n=200, seeds=1)
    assert at_most_five_percent(found["holds"] + found["against"], 200)


def shifted(rng, delta, spread, seeds=5):
    """Runs whose difference is delta plus normal luck of the seed, on constant examples."""
    zero = np.zeros(20)
    return [
        RunData(s, {"a": arm(zero + delta + spread * rng.normal()), "b": arm(zero)})
        for s in range(seeds)
    ]


def verdicts(part, delta, *, n, spread=0.01, profile="laptop", seed=1) -> Counter:
    rng = np.random.default_rng(seed)
    runs = (shifted(rng, delta, spread) for _ in range(n))
    return Counter(judge(part, run, profile, draws=DRAWS).word for run in runs)


def test_the_detectable_difference_is_detected_four_times_in_five(part):
    delta = minimal_detectable(0.01 / np.sqrt(5), df=4)
    seen = verdicts(part(), delta, n=250)[words.SMALLER]
    assert seen >= st.binom.ppf(0.001, 250, 0.8)


def test_a_false_claim_of_the_same_size_comes_out_opposite_and_never_holds(part):
    delta = minimal_detectable(0.01 / np.sqrt(5), df=4)
    found = verdicts(part(), -delta, n=250)
    assert found[words.OPPOSITE] >= st.binom.ppf(0.001, 250, 0.8)
    assert found[words.SMALLER] <= st.binom.ppf(0.999, 250, 0.001)


EQUAL = {"kind": "equivalence", "margin": 0.02, "sign": None}
VALUE = {
    "kind": "value",
    "margin": 0.02,
    "sign": None,
    "profile": "gpu",
    "matched": ("gpu",),
    "estimand": {"mean": "a"},
    "paper": Number(0.5, "50 %", "paper"),
}


@pytest.mark.parametrize("sign", [1, -1])
def test_a_difference_of_the_margin_is_called_equal_at_most_once_in_twenty(part, sign):
    assert at_most_five_percent(
        verdicts(part(**EQUAL), sign * 0.02, n=200)[words.EQUAL_SMALLER], 200
    )


def test_equal_arms_are_called_equal_when_the_margin_is_wide_enough(part):
    assert verdicts(part(**EQUAL), 0.0, n=100, spread=0.008)[words.EQUAL_SMALLER] >= 94


def test_a_value_off_by_the_margin_is_seldom_reproduced_and_seldom_contradicted(part):
    found = verdicts(part(**VALUE), 0.52, n=200, profile="gpu")
    assert at_most_five_percent(found[words.REPRODUCED], 200)
    assert at_most_five_percent(found[words.CONTRADICTED], 200)


def test_a_true_value_is_reproduced_and_a_false_one_contradicted(part):
    assert verdicts(part(**VALUE), 0.5, n=100, spread=0.008, profile="gpu")[words.REPRODUCED] >= 94
    false = verdicts(part(**VALUE), 0.56, n=100, spread=0.008, profile="gpu")
    assert false[words.CONTRADICTED] >= 94 and false[words.REPRODUCED] == 0


def test_among_many_parts_few_discoveries_are_false(part):
    rng = np.random.default_rng(5)
    deltas = [0.04] * 4 + [0.0] * 12
    shares = []
    for _ in range(25):
        items = [(part(id=f"toy2020.C{i}.x"), shifted(rng, d, 0.01)) for i, d in enumerate(deltas)]
        found = [v.group != "inconclusive" for v in judge_all(items, "laptop", draws=DRAWS)]
        shares.append(sum(found[4:]) / max(1, sum(found)))
        assert sum(found[:4]) >= 3
    # the mean of 25 shares, each at most 1, with a true mean of at most 0.05
    assert np.mean(shares) <= 0.05 + 3 * np.std(shares) / np.sqrt(25)


PLANTED = {
    "opposite trend": (
        {"estimand": {"spearman": {"arms": ["a", "b", "c"], "against": [1, 2, 3]}}},
        {"a": 2.0, "b": 1.0, "c": 0.0},
        "laptop",
        words.OPPOSITE,
    ),
    "decrease that rises": (
        {"estimand": {"max_step": ["a", "b", "c"]}, "sign": -1},
        {"a": 1.5, "b": 0.0, "c": 1.0},
        "laptop",
        words.OPPOSITE,
    ),
    "no effect": ({}, {"a": 0.5, "b": 0.5}, "laptop", words.TOO_SMALL),
    "masked gradients": (
        EQUAL,
        {"a": 1.0, "b": -0.5},
        "laptop",
        words.UNEQUAL,
    ),
    "wrong value": (VALUE, {"a": 1.5}, "gpu", words.CONTRADICTED),
    "dominated curve": (
        {"estimand": {"frontier": {"curve": [["n", "r"], ["a", "b"]], "point": ["p", "q"]}}},
        {"n": 2.2, "r": -1.0, "a": 1.4, "b": -0.5, "p": 1.8, "q": 0.5},
        "laptop",
        words.OPPOSITE,
    ),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_false_claim_is_found_out(part, name):
    changes, logits, profile, word = PLANTED[name]
    runs = experiment(np.random.default_rng(11), logits, n=500, luck=0.05)
    assert judge(part(**changes), runs, profile, draws=DRAWS).word == word
