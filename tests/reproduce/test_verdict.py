from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy import stats as st

from robustnb.reproduce import words
from robustnb.reproduce.attack_audits import failed_audit
from robustnb.reproduce.estimands import Arm
from robustnb.reproduce.evidence import RunData, compute_evidence
from robustnb.reproduce.registry_types import Nearest, Number, Plan
from robustnb.reproduce.verdict import judge_all
from robustnb.stats import clopper_pearson, percentile_interval, t_interval

OK = {"ok": True}


def judge(part, runs, profile):
    return judge_all([(part, runs)], profile, draws=1000)[0]


@pytest.fixture
def value(part):
    """Make a value of the paper's own setting, with changes."""

    def make(number=0.5, provenance="paper", error=None, **changes):
        paper = Number(number, f"{number:.0%}", provenance, error)
        settings = {"matched": ("gpu", "paper"), "profile": "gpu", "margin": 0.02, "sign": None}
        estimand = {"mean": "a"}
        return part(
            **{"kind": "value", "estimand": estimand, "paper": paper, **settings, **changes}
        )

    return make


def arm(rate, n=1000, rng=None) -> Arm:
    rng = rng or np.random.default_rng(0)
    x = (rng.random(n) < rate).astype(float)
    return Arm(n, float(x.mean()), x)


def arm_of(values) -> Arm:
    x = np.asarray(values, dtype=float)
    return Arm(x.size, float(x.mean()), x)


def runs(a=0.7, b=0.5, seeds=5, n=1000, audits=()):
    rng = np.random.default_rng(3)
    return [
        RunData(seed, {"a": arm(a, n, rng), "b": arm(b, n, rng)}, (), tuple(audits))
        for seed in range(seeds)
    ]


@pytest.mark.parametrize(
    ("a", "b", "word"),
    [(0.7, 0.5, words.SMALLER), (0.5, 0.7, words.OPPOSITE), (0.5, 0.5, words.TOO_SMALL)],
)
def test_a_direction_at_the_laptop_gets_its_word(part, a, b, word):
    assert judge(part(), runs(a, b), "laptop").word == word


def test_a_claim_of_decrease_is_judged_by_its_own_sign(part):
    assert judge(part(sign=-1), runs(0.5, 0.7), "laptop").word == words.SMALLER


def test_the_papers_own_setting_is_not_called_smaller(part):
    assert judge(part(matched=("paper",)), runs(), "paper").word == words.SAME


def test_an_inconclusive_direction_says_what_power_could_have_seen(part):
    found = judge(part(), runs(0.5, 0.5), "laptop")
    assert found.mde > 0 and "80 % power would have seen" in found.text


def test_the_interval_is_never_narrower_than_t_over_seeds_or_the_bootstrap(part):
    evidence = compute_evidence(part(), runs(0.55, 0.5, n=400))
    found = evidence.interval()
    for other in (t_interval(evidence.values), percentile_interval(evidence.draws)):
        assert found.low <= other.low and other.high <= found.high


def test_an_interval_stays_within_what_the_estimand_can_be(part):
    trend = {"spearman": {"arms": ["a", "b", "c"], "against": [1, 2, 3]}}
    rng = np.random.default_rng(1)
    noisy = [RunData(s, {k: arm(0.5, 200, rng) for k in "abc"}) for s in range(5)]
    found = judge(part(estimand=trend, scale="plain"), noisy, "laptop")
    assert found.interval.low >= -1 and found.interval.high <= 1


@pytest.mark.parametrize(
    ("estimand", "least", "most"),
    [({"mean": "a"}, -1, 1), ({"difference": ["a", "b"]}, -2, 2)],
)
def test_an_interval_stays_within_what_registered_outcomes_allow(part, estimand, least, most):
    values = ((1.0, -1.0), (0.5, -0.9), (1.0, -1.0))
    few = [
        RunData(s, {name: arm_of([v] * 4) for name, v in zip("ab", pair, strict=True)})
        for s, pair in enumerate(values)
    ]
    facts = {"estimand": estimand, "seeds": (0, 1, 2), "scale": "plain"}
    free = judge(part(**facts), few, "laptop").interval
    bound = judge(part(**facts, outcomes=(-1, 1)), few, "laptop").interval
    assert free.high > most and bound.high == most
    assert bound.low == max(free.low, least)


@pytest.mark.parametrize("kind", ["direction", "equivalence"])
def test_smoke_only_says_that_the_machinery_ran(part, kind):
    found = judge(part(kind=kind, margin=0.1), runs(), "smoke")
    assert (found.word, found.estimate) == (words.RAN, None)


def test_no_run_is_not_run(part):
    assert judge(part(), [], "laptop").word == words.NOT_RUN


def test_one_seed_is_seen_in_one_run_whatever_it_shows(part):
    found = judge(part(), runs(0.9, 0.1, seeds=1), "laptop")
    assert (found.word, found.group, found.p) == (words.SEEN, "open", None)


def test_a_missing_seed_leaves_the_part_without_verdict(part):
    found = judge(part(), runs(0.9, 0.1, seeds=3), "laptop")
    assert (found.word, found.label) == (words.NOT_RUN, "incomplete: 3 of 5 seeds")


def test_seeds_outside_the_registered_list_never_count(part):
    extra = [dataclasses.replace(r, seed=r.seed + 7) for r in runs(0.1, 0.9)]
    assert judge(part(), runs() + extra, "laptop") == judge(part(), runs(), "laptop")


def test_an_arm_that_is_missing_makes_the_run_missing(part):
    bare = [RunData(r.seed, {"a": r.arms["a"]}) for r in runs()]
    assert judge(part(), bare, "laptop").word == words.NOT_RUN


def test_a_registered_reason_is_not_at_this_scale(part):
    found = judge(part(not_at={"laptop": "data: too large"}), [], "laptop")
    assert (found.word, found.text) == (words.NOT_AT, "data: too large")


def test_a_part_of_too_little_power_shows_its_numbers_and_no_verdict(part):
    reason, plan = "power: seen with probability 0.3", Plan(0.01, "the paper's difference", 0.3)
    small = part(not_at={"laptop": reason}, planned=plan, profile="gpu")
    found = judge(small, runs(), "laptop")
    assert found.word == words.NOT_AT and found.text.endswith(reason)
    assert found.interval is not None and found.interval.low <= found.estimate
    assert found.p_adjusted is None
    assert judge(small, runs()[:3], "laptop").interval is None


@pytest.mark.parametrize(
    ("audits", "word"),
    [([], words.AUDIT), ([OK], words.SMALLER), ([OK, {"ok": False}], words.AUDIT)],
)
def test_robust_accuracy_needs_an_attack_audit_that_passed(part, audits, word):
    found = judge(part(audited=True), runs(audits=audits), "laptop")
    assert found.word == word and "upper bounds" in found.text


def planned(effect=0.1, **extra):
    return Plan(effect, "the paper's difference", 0.9, papers=True, **extra)


def test_an_undecided_effect_far_below_the_papers_excludes_the_papers_size(part):
    found = judge(part(planned=planned(0.1)), runs(0.5, 0.5, n=4000), "laptop")
    assert found.word == words.EXCLUDED and found.mde > 0
    assert "ours minus the paper's 10.0 points: 95 % interval −1" in found.text


@pytest.mark.parametrize(
    "plan",
    [planned(0.01), planned(0.1, error=0.1), Plan(0.1, "a margin of ours", 0.9), None],
    ids=["small", "vague", "ours", "none"],
)
def test_no_size_is_excluded_that_is_small_vague_or_not_the_papers(part, plan):
    found = judge(part(planned=plan), runs(0.5, 0.5, n=4000), "laptop")
    assert found.word == words.TOO_SMALL


def test_the_papers_decrease_is_excluded_by_its_own_sign(part):
    falling = part(planned=planned(0.1), sign=-1)
    assert judge(falling, runs(0.5, 0.5, n=4000), "laptop").word == words.EXCLUDED


def failed(check="restarts", value=None):
    value = {"1": 0.5, "2": 0.48, "3": 0.45} if value is None else value
    finding = {"ok": False, "value": value, "why": "still falling"}
    fine = {"ok": True, "value": 0.0, "why": ""}
    return {"ok": False, "why": "still falling", "value": {"net": {check: finding, "loss": fine}}}


@pytest.mark.parametrize(
    ("a", "word"), [(0.7, words.SMALLER), (0.53, words.AUDIT), (0.3, words.AUDIT)]
)
def test_what_survives_the_worst_of_a_failed_audit_is_judged_with_that_said(part, a, word):
    found = judge(part(audited=True), runs(a, 0.5, n=4000, audits=[failed()]), "laptop")
    assert found.word == word and "still falling" in found.text
    assert "5.0 points off the effect" in found.text
    assert found.estimate == pytest.approx(a - 0.5, abs=0.02)


@pytest.mark.parametrize("kind", ["direction", "equivalence"])
def test_masked_gradients_explain_any_difference(part, kind):
    sign = 1 if kind == "direction" else None
    asked = part(audited=True, kind=kind, margin=0.05, sign=sign)
    audits = [failed("black_box", 0.02)]
    assert judge(asked, runs(0.7, 0.5, audits=audits), "laptop").word == words.AUDIT


def test_the_worst_of_an_audit_adds_up_over_networks_and_is_the_largest_over_runs():
    two = failed()
    two["value"]["other"] = two["value"]["net"]
    found = failed_audit([RunData(0, audits=(failed(), OK)), RunData(1, audits=(two,))])
    assert found.worst == pytest.approx(0.1) and found.why == "still falling"
    assert failed_audit([RunData(0, audits=(OK,))]) is None
    unknown = RunData(2, audits=({"ok": False, "why": "masked"},))
    gravest = failed_audit([RunData(0, audits=(two,)), unknown])
    assert (gravest.why, gravest.worst) == ("masked", None)


def test_a_failed_audit_says_why(part):
    audit = {"ok": False, "why": "more steps still lower the accuracy"}
    assert "more steps" in judge(part(), runs(audits=[audit]), "laptop").text


def test_a_gap_bounded_from_one_side_is_an_estimate(part):
    found = judge(part(estimate_only="PGD finds a lower bound"), runs(), "laptop")
    assert (found.word, found.group, found.p) == (words.ESTIMATE, "unjudged", None)
    assert found.estimate == pytest.approx(0.2, abs=0.05)


def test_a_point_beyond_the_curve_is_not_compared(part):
    estimand = {"frontier": {"curve": [["a", "b"], ["a", "b"]], "point": ["c", "d"]}}
    rng = np.random.default_rng(0)
    far = [
        RunData(
            s, {k: arm(r, 1000, rng) for k, r in {"a": 0.7, "b": 0.6, "c": 0.8, "d": 0.3}.items()}
        )
        for s in range(5)
    ]
    found = judge(part(estimand=estimand), far, "laptop")
    assert found.word == words.NOT_COMPARABLE and "off the curve" in found.text


def test_where_nothing_can_be_compared_the_nearest_comparison_is_exploratory(part):
    estimand = {"frontier": {"curve": [["a", "b"], ["a", "b"]], "point": ["b", "a"]}}
    nearest = Nearest("a beside b", {"difference": ["a", "b"]})
    found = judge(part(estimand=estimand, nearest=nearest), runs(), "laptop")
    assert found.word == words.NOT_COMPARABLE
    assert "exploratory, a beside b: +" in found.text
    assert "positive for 5 of 5 seeds" in found.text


@pytest.mark.parametrize(
    ("rate", "word"),
    [(0.5, words.REPRODUCED), (0.6, words.CONTRADICTED), (0.52, words.TOO_SMALL)],
)
def test_a_value_is_reproduced_contradicted_or_neither(value, rate, word):
    assert judge(value(), runs(a=rate, n=4000), "gpu").word == word


def test_the_papers_own_error_widens_the_comparison(value):
    sharp = judge(value(), runs(a=0.5, n=4000), "gpu")
    vague = judge(value(error=0.02), runs(a=0.5, n=4000), "gpu")
    assert sharp.word == words.REPRODUCED and vague.word == words.TOO_SMALL
    assert vague.interval.width > sharp.interval.width


def test_a_number_from_memory_is_not_judged(value):
    found = judge(value(provenance="recalled"), runs(a=0.9), "gpu")
    assert (found.word, found.group) == (words.RECALLED, "unjudged")


def test_a_value_outside_the_papers_setting_is_not_judged(value):
    assert judge(value(matched=("paper",)), runs(a=0.5), "gpu").word == words.NOT_AT


@pytest.mark.parametrize(
    ("b", "word"),
    [(0.5, words.EQUAL_SMALLER), (0.3, words.UNEQUAL), (0.445, words.TOO_SMALL)],
)
def test_equivalence_is_shown_refuted_or_open(part, b, word):
    same = part(kind="equivalence", margin=0.05, sign=None)
    assert judge(same, runs(0.5, b, n=4000), "laptop").word == word


def test_examples_of_the_first_seed_replicate_where_the_unit_says_so(part):
    one = part(unit="examples", estimand={"mean": "a"}, null=0.5, seeds=(0, 1))
    found = judge(one, runs(a=0.7, seeds=2), "laptop")
    assert (found.word, found.n_seeds) == (words.SMALLER, 1)


@pytest.mark.parametrize(("n", "word"), [(20, words.TOO_SMALL), (60, words.SMALLER)])
def test_seeds_that_agree_to_the_last_example_prove_what_one_run_does(part, n, word):
    none = [RunData(seed, {"a": arm_of(np.zeros(n))}) for seed in range(5)]
    low = part(estimand={"mean": "a"}, null=0.1, sign=-1)
    found = judge(low, none, "laptop")
    assert found.interval.high == pytest.approx(clopper_pearson(0, n).high)
    assert found.word == word and found.p == pytest.approx(st.binomtest(0, n, 0.1).pvalue)


@pytest.mark.parametrize(("n", "word"), [(18, words.TOO_SMALL), (90, words.EQUAL_SMALLER)])
def test_no_change_at_all_is_equal_once_the_examples_are_enough(part, n, word):
    pair = {"a": arm_of(np.ones(n)), "b": arm_of(np.ones(n))}
    same = part(kind="equivalence", margin=0.05, sign=None)
    found = judge(same, [RunData(seed, pair) for seed in range(5)], "laptop")
    bound = clopper_pearson(0, n, level=0.9).high
    assert found.word == word and (bound < 0.05) == (found.p < 0.05)
    assert found.interval_90.high == pytest.approx(bound)


def test_within_one_run_few_changed_examples_prove_nothing(part):
    before = np.zeros(1000)
    after = before.copy()
    after[:4] = 1
    pair = RunData(0, {"a": Arm(1000, 0.004, after), "b": Arm(1000, 0.0, before)})
    found = judge(part(unit="examples", seeds=(0,)), [pair], "laptop")
    assert found.p == pytest.approx(0.125) and found.interval.low < 0


def test_counts_of_five_are_compared_by_fisher(part):
    pair = RunData(0, {"a": Arm(5, 1.0), "b": Arm(5, 0.0)})
    found = judge(part(unit="draws", seeds=(0,)), [pair], "laptop")
    assert found.p == pytest.approx(2 / 252)


def test_correction_can_take_a_significance_away(part):
    gains = (0.01, 0.02, 0.03, 0.04, 0.05)
    x = np.arange(1000) < 500
    near = [
        RunData(
            s, {"a": Arm(1000, 0.5 + g, (np.arange(1000) < 500 + 1000 * g) * 1.0), "b": arm_of(x)}
        )
        for s, g in enumerate(gains)
    ]
    alone = judge(part(), near, "laptop")
    others = [(part(id=f"x{i}"), runs(0.5, 0.5, n=100)) for i in range(12)]
    crowd = judge_all([(part(), near), *others], "laptop", draws=1000)[0]
    assert alone.p <= 0.05 and alone.word == words.SMALLER
    assert (crowd.p, crowd.word) == (alone.p, words.TOO_SMALL) and crowd.p_adjusted > 0.05


def test_equivalences_and_estimates_are_outside_the_correction(part):
    others = [
        (part(kind="equivalence", margin=0.05), runs(0.5, 0.5)),
        (part(estimate_only="one side"), runs(0.5, 0.5)),
    ]
    found = judge_all([(part(), runs()), *others], "laptop")[0]
    assert found.p_adjusted == found.p


@pytest.mark.parametrize("order", [("a", "b", "c"), ("c", "b", "a")])
def test_a_largest_step_between_equal_arms_is_not_significant(part, order):
    rng = np.random.default_rng(8)
    equal = [RunData(s, {k: arm(0.5, 400, rng) for k in "abc"}) for s in range(5)]
    found = judge(part(estimand={"max_step": list(order)}, sign=-1), equal, "laptop")
    assert found.word == words.TOO_SMALL


@pytest.mark.parametrize(
    ("rates", "word"), [((0.8, 0.6, 0.4), words.SMALLER), ((0.8, 0.4, 0.6), words.OPPOSITE)]
)
def test_a_monotone_decrease_needs_every_step_down(part, rates, word):
    rng = np.random.default_rng(8)
    steps = [
        RunData(s, {k: arm(r, 1000, rng) for k, r in zip("abc", rates, strict=True)})
        for s in range(5)
    ]
    found = judge(part(estimand={"max_step": ["a", "b", "c"]}, sign=-1), steps, "laptop")
    assert found.word == word


def test_a_measured_illustration_of_a_theorem_has_no_direction_word(part):
    drawn = part(theorem="checked")
    assert judge(drawn, runs(), "laptop").word == words.CHECKED
    assert judge(drawn, runs(0.5, 0.7), "laptop").word == words.OPPOSITE
    assert judge(drawn, runs(0.5, 0.5), "laptop").word == words.TOO_SMALL


def test_a_verdict_is_plain_json(value):
    import json

    plain = judge(value(), runs(a=0.5), "gpu").to_json()
    assert json.loads(json.dumps(plain)) == plain
