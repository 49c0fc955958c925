from __future__ import annotations

import copy
import json

import numpy as np
import pytest
import yaml

from robustnb.errors import RunError
from robustnb.lesson.outcomes import Count, encode_arm
from robustnb.reproduce.ledger import ledger
from robustnb.reproduce.registry import load, load_all
from toy_paper import HEAD

DRAWS = 500
SEEDS = {"unit": "seeds", "seeds": [0, 1, 2, 3, 4], "profile": "laptop"}
CLAIMS = {
    "C1": {"identity": {"title": "t", "kind": "proof"}, "search": {"title": "t", "kind": "check"}},
    "C2": {
        "up": {
            "title": "t",
            "kind": "direction",
            "estimand": {"difference": ["a", "b"]},
            "sign": 1,
            **SEEDS,
        },
        "large": {
            "title": "t",
            "kind": "direction",
            "estimand": {"difference": ["c", "d"]},
            "sign": 1,
            **SEEDS,
            "profile": "gpu",
            "not_at": {"laptop": "compute: too slow"},
        },
    },
    "C3": {
        "gap": {
            "title": "t",
            "kind": "value",
            "estimand": {"mean": "a"},
            "estimate_only": "an attack bounds it from below",
            **SEEDS,
        }
    },
}


@pytest.fixture
def registry(tmp_path):
    plain = {
        **HEAD,
        "claims": {
            name: {"statement": "s", "source": "here", "provenance": "paper", "parts": parts}
            for name, parts in CLAIMS.items()
        },
    }
    path = tmp_path / "toy2020.yaml"
    path.write_text(yaml.safe_dump(plain))
    return {"toy2020": load(path)}


def check(kind, ok=True):
    return {
        "id": "step",
        "kind": kind,
        "method": "holds",
        "ok": ok,
        "holds": ok,
        "n": 50,
        "space": "points",
        "detail": "",
        "wrong_refuted": True,
    }


def measurement(claim, part, *, arms=None, checks=(), audit=None):
    return {
        "schema": 1,
        "claim": f"toy2020.{claim}",
        "part": part,
        "arms": {k: encode_arm(k, v) for k, v in (arms or {}).items()},
        "checks": list(checks),
        "threat": {},
        "audit": audit,
    }


def record(seed, a=0.8, b=0.5, *, profile="laptop", origin="record", arms=("a", "b"), **extra):
    rng = np.random.default_rng(100 + seed)
    rates = dict(zip(arms, (a, b), strict=True))
    outcomes = {name: rng.random(300) < rate for name, rate in rates.items()}
    part = "up" if "a" in arms else "large"
    return {
        "schema": 1,
        "paper": "toy2020",
        "profile": profile,
        "seed": seed,
        "origin": origin,
        "key": f"key{seed}",
        "source": "now",
        "parameters": {"eps": 0.1},
        "measurements": [
            measurement("C1", "identity", checks=[check("proof")]),
            measurement("C1", "search", checks=[check("check")]),
            measurement("C2", part, arms=outcomes),
        ],
        **extra,
    }


def draw(registry, records, sources=None):
    return ledger(registry, records, sources or {}, draws=DRAWS)


def claims(drawn):
    return drawn["papers"]["toy2020"]["claims"]


FIVE = [record(seed) for seed in range(5)]


def test_a_claim_has_the_word_of_its_parts_at_its_headline_profile(registry):
    drawn = claims(draw(registry, FIVE))
    assert drawn["toy2020.C1"]["label"] == "checked only"
    assert drawn["toy2020.C2"]["word"] == "same direction, smaller setting"
    assert drawn["toy2020.C2"]["profile"] == "laptop"


def test_the_ledger_is_a_pure_function_with_plain_json_out(registry):
    records = copy.deepcopy(FIVE)
    first, second = draw(registry, records), draw(registry, records[::-1])
    assert records == FIVE and first == second
    assert json.loads(json.dumps(first, allow_nan=False)) == first


def test_a_claim_that_holds_in_part_is_counted_as_that(registry):
    card = [record(s, 0.5, 0.5, profile="gpu", arms=("c", "d")) for s in range(5)]
    drawn = draw(registry, FIVE + card)
    assert claims(drawn)["toy2020.C2"]["label"] == "1 of 2 parts hold"
    totals = drawn["totals"]["overall"]
    assert (totals["holds"], totals["partly"], totals["inconclusive"]) == (1, 1, 0)


def test_nothing_run_leaves_every_claim_in_the_denominator(registry):
    totals = draw(registry, [])["totals"]["overall"]
    assert (totals["n"], totals["not_run"], totals["unjudged"]) == (3, 2, 1)


def test_a_one_sided_gap_is_shown_and_never_counted_as_held(registry):
    found = claims(draw(registry, FIVE))["toy2020.C3"]
    assert (found["word"], found["group"]) == ("estimate, not judged", "unjudged")
    shown = found["parts"]["toy2020.C3.gap"]["profiles"]["laptop"]
    assert shown["estimate"] == pytest.approx(0.8, abs=0.05) and shown["p"] is None


def test_smoke_judges_proofs_and_checks_only(registry):
    drawn = draw(registry, [record(0, profile="smoke", origin="run")])
    found = claims(drawn)
    assert found["toy2020.C1"]["group"] == "holds"
    assert found["toy2020.C2"]["word"] == "machinery ran"
    assert drawn["totals"]["profiles"]["smoke"]["holds"] == 1


def test_a_larger_profile_counts_only_what_ran_there(registry):
    totals = draw(registry, FIVE)["totals"]["profiles"]
    assert totals["laptop"]["holds"] == 2
    assert totals["gpu"]["holds"] == totals["paper"]["holds"] == 0


def test_a_part_for_a_larger_profile_is_named_and_then_judged_with_the_rest(registry):
    laptop = claims(draw(registry, FIVE))["toy2020.C2"]
    assert laptop["beyond"] == ["toy2020.C2.large"]
    large = laptop["parts"]["toy2020.C2.large"]["profiles"]["laptop"]
    assert (large["word"], large["text"]) == ("not at this scale", "compute: too slow")
    gpu = [record(s, 0.4, 0.8, profile="gpu", arms=("c", "d")) for s in range(5)]
    both = claims(draw(registry, FIVE + gpu))["toy2020.C2"]
    assert (both["profile"], both["word"]) == ("gpu", "against")
    assert both["label"] == "against, 1 of 2 parts hold"
    assert both["text"] == "opposite at this scale: t"
    assert both["profiles"]["laptop"]["group"] == "holds"


def test_one_gpu_run_does_not_replace_five_laptop_seeds(registry):
    gpu = [record(0, 0.4, 0.8, profile="gpu", arms=("c", "d"))]
    found = claims(draw(registry, FIVE + gpu))["toy2020.C2"]
    assert found["profile"] == "laptop"
    assert found["profiles"]["gpu"]["word"] == "seen in one run"


def test_a_missing_seed_is_named_and_not_judged(registry):
    found = claims(draw(registry, FIVE[:3]))["toy2020.C2"]
    assert (found["label"], found["word"]) == ("incomplete: 3 of 5 seeds", "not run")


def test_committed_records_decide_and_local_runs_are_compared(registry):
    near = record(0, 0.8, 0.5, origin="run")
    far = record(1, 0.2, 0.8, origin="run")
    found = claims(draw(registry, [*FIVE, near, far]))["toy2020.C2"]
    assert found["group"] == "holds"
    local = found["parts"]["toy2020.C2.up"]["profiles"]["laptop"]["local"]
    assert [run["within"] for run in local["runs"].values()] == [True, False]


def test_without_committed_records_the_local_runs_decide(registry):
    local = [{**r, "origin": "run"} for r in FIVE]
    found = claims(draw(registry, local))["toy2020.C2"]
    assert found["group"] == "holds"
    assert found["parts"]["toy2020.C2.up"]["profiles"]["laptop"]["local"] is None


def test_a_local_counterexample_overrules_committed_checks(registry):
    bad = record(0, origin="run")
    bad["measurements"][1]["checks"] = [check("check", ok=False)]
    found = claims(draw(registry, [*FIVE, bad]))["toy2020.C1"]
    assert (found["group"], found["part"]) == ("against", "toy2020.C1.search")
    assert found["text"] == "counterexample found: t"


def test_a_record_of_other_code_counts_and_is_flagged(registry):
    sources = {("toy2020", "laptop", seed): "now" for seed in range(4)}
    fresh = claims(draw(registry, FIVE, sources))["toy2020.C2"]
    stale = draw(registry, FIVE, {**sources, ("toy2020", "laptop", 4): "later"})
    assert not fresh["stale"] and claims(stale)["toy2020.C2"]["stale"]
    assert claims(stale)["toy2020.C2"]["word"] == fresh["word"]
    assert stale["runs"]["toy2020/laptop/seed4/record"]["stale"]


def test_every_verdict_leads_down_to_runs_arms_and_parameters(registry):
    drawn = draw(registry, FIVE)
    shown = claims(drawn)["toy2020.C2"]["parts"]["toy2020.C2.up"]["profiles"]["laptop"]
    assert list(shown["per_seed"]) == ["0", "1", "2", "3", "4"]
    why = shown["why"][2]
    assert why["arms"]["a"]["n"] == 300
    assert shown["per_seed"]["2"] == pytest.approx(
        why["arms"]["a"]["mean"] - why["arms"]["b"]["mean"], abs=1e-5
    )
    run = drawn["runs"][why["run"]]
    assert (run["key"], run["parameters"], run["source"]) == ("key2", {"eps": 0.1}, "now")


def test_custom_runs_never_enter(registry):
    assert draw(registry, [{**r, "custom": True} for r in FIVE]) == draw(registry, [])


def test_two_records_for_one_run_are_refused(registry):
    with pytest.raises(RunError, match="two records"):
        draw(registry, [FIVE[0], FIVE[0]])


def test_parts_that_share_arms_need_not_store_them_twice(registry):
    moved = copy.deepcopy(FIVE)
    for plain in moved:
        plain["measurements"][2]["part"] = "shared"
    drawn = draw(registry, moved)
    assert claims(drawn)["toy2020.C2"]["group"] == "holds"
    assert drawn["unknown_parts"] == ["toy2020.C2.shared"]


def test_an_arm_that_two_measurements_tell_differently_is_refused(registry):
    plain = copy.deepcopy(FIVE[0])
    plain["measurements"][2]["part"] = "one"
    other = measurement("C2", "two", arms={"a": np.ones(300, bool), "b": np.ones(300, bool)})
    plain["measurements"].append(other)
    with pytest.raises(RunError, match="differs"):
        draw(registry, [plain])


def test_counts_are_judged_too(registry):
    for_counts = [
        {
            **r,
            "measurements": [
                measurement("C2", "up", arms={"a": Count(80 + i, 100), "b": Count(20, 100)})
            ],
        }
        for i, r in enumerate(FIVE)
    ]
    found = claims(draw(registry, for_counts))["toy2020.C2"]
    assert found["word"] == "same direction, smaller setting"


def test_the_real_registry_gives_a_ledger_without_any_run():
    drawn = ledger(load_all(), [], {})
    for paper in drawn["papers"].values():
        assert paper["totals"]["overall"]["n"] == len(paper["claims"])
        assert paper["totals"]["overall"]["holds"] == 0
    words = {k: v["word"] for k, v in drawn["papers"]["zhang2019"]["claims"].items()}
    assert words["zhang2019.C1"] == "not run"
    recalled = drawn["papers"]["schmidt2018"]["claims"]["schmidt2018.C9"]["parts"]
    value = recalled["schmidt2018.C9.cifar_value"]["profiles"]["gpu"]
    assert value["word"] == "recalled, not judged"
