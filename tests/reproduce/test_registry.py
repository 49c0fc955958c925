from __future__ import annotations

import dataclasses
import json

import pytest
import yaml

from robustnb.errors import UsageError
from robustnb.reproduce.estimand_forms import arms_of
from robustnb.reproduce.registry import (
    CLAIMS,
    digest,
    load,
    load_all,
    registered_block,
    settings_table,
    unregistered_changes,
)
from robustnb.reproduce.registry_types import Plan
from toy_paper import HEAD

REAL = load_all()
DIRECTION = {
    "title": "up",
    "kind": "direction",
    "estimand": {"difference": ["a", "b"]},
    "sign": 1,
    "unit": "seeds",
    "seeds": [0, 1, 2, 3, 4],
    "profile": "laptop",
}


def registry(part, **extra):
    return {
        **HEAD,
        "settings": {
            "s": {
                "title": "S",
                "matched": ["paper"],
                "rows": [{"what": "eps", "paper": "0.1", "provenance": "paper", "ours": "{eps}"}],
            }
        },
        "claims": {
            "C1": {
                "statement": "It grows.",
                "source": "Table 1",
                "provenance": "paper",
                "parts": {"up": part},
            }
        },
        **extra,
    }


def load_plain(tmp_path, plain):
    path = tmp_path / "toy2020.yaml"
    path.write_text(yaml.safe_dump(plain))
    return load(path)


@pytest.mark.parametrize("paper", REAL.values(), ids=lambda p: p.id)
def test_no_registered_part_was_changed_without_an_amendment(paper):
    assert unregistered_changes(paper) == []


@pytest.mark.parametrize("paper", REAL.values(), ids=lambda p: p.id)
def test_numbers_from_memory_are_never_judged(paper):
    recalled = [
        part
        for part in paper.parts().values()
        if part.kind == "value" and part.paper and part.paper.provenance == "recalled"
    ]
    assert all(part.margin is None for part in recalled)


def test_the_trades_paper_has_its_ten_claims():
    paper = load("zhang2019")
    assert [c.id for c in paper.claims] == [f"zhang2019.C{i}" for i in range(1, 11)]
    robust = [p for p in paper.parts().values() if p.estimand and "strong" in str(p.estimand)]
    assert all(part.audited for part in robust)
    assert "trades-0.3.nat" in arms_of(paper.parts()["zhang2019.C7.frontier"].estimand)


def test_an_unknown_paper_is_named_with_the_nearest(tmp_path):
    with pytest.raises(UsageError, match="did you mean 'zhang2019'"):
        load("zang2019")


def test_a_well_formed_part_is_read(tmp_path):
    part = load_plain(tmp_path, registry(DIRECTION)).parts()["toy2020.C1.up"]
    assert (part.null, part.sign, part.seeds, part.scale) == (0.0, 1, (0, 1, 2, 3, 4), "percent")


VALUE = {
    **{k: v for k, v in DIRECTION.items() if k != "sign"},
    "kind": "value",
    "profile": "paper",
    "estimand": {"mean": "a"},
    "setting": "s",
    "paper": {"value": 0.5, "printed": "50 %", "provenance": "paper"},
    "margin": 0.01,
    "margin_reason": "run-to-run spread",
    "not_at": {"laptop": "compute: too large", "gpu": "compute: too large"},
}


def without(part, *keys):
    return {k: v for k, v in part.items() if k not in keys}


def test_a_value_of_the_papers_own_setting_is_read(tmp_path):
    assert load_plain(tmp_path, registry(VALUE)).parts()["toy2020.C1.up"].matched == ("paper",)


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({**DIRECTION, "kind": "guess"}, "guess"),
        ({**DIRECTION, "profil": "gpu"}, "profil"),
        ({**DIRECTION, "seeds": [0, 1]}, "seeds_reason"),
        ({**DIRECTION, "seeds": [0, 0, 1, 2, 3]}, "repeat"),
        ({**DIRECTION, "margin": 0.1}, "margin_reason"),
        ({**DIRECTION, "margin": -0.1, "margin_reason": "x"}, "positive"),
        ({**DIRECTION, "sign": 2}, "sign"),
        (without(DIRECTION, "sign"), "sign"),
        (without(DIRECTION, "estimand"), "estimand"),
        (without(DIRECTION, "title"), "title is missing"),
        ({**DIRECTION, "profile": "gpu"}, "not_at"),
        ({**DIRECTION, "setting": "t"}, "setting"),
        ({**DIRECTION, "audited": "yes"}, "audited"),
        ({**DIRECTION, "kind": "proof"}, "takes no estimand"),
        ({**DIRECTION, "outcomes": [1, -1]}, "the least and the largest value of one"),
        ({**DIRECTION, "not_at": {"laptop": ""}}, "reason"),
        (without(VALUE, "paper"), "the paper's number"),
        (without(VALUE, "margin", "margin_reason"), "margin"),
        (without(VALUE, "setting"), "matched"),
        ({**VALUE, "sign": 1}, "remove"),
        ({**VALUE, "paper": {**VALUE["paper"], "provenance": "third party"}}, "not one of others"),
        ({**VALUE, "paper": {**VALUE["paper"], "provenance": "rumour"}}, "rumour"),
        ({**without(DIRECTION, "sign"), "kind": "equivalence"}, "margin"),
    ],
)
def test_a_part_that_could_not_be_judged_is_refused(tmp_path, part, message):
    with pytest.raises(UsageError, match=message) as caught:
        load_plain(tmp_path, registry(part))
    assert "toy2020.yaml" in str(caught.value) and "C1" in str(caught.value)


FRONTIER = {"frontier": {"curve": [["a", "b"], ["c", "d"]], "point": ["e", "f"]}}
WRONG = {"title": "t", "estimand": {"middle": "a"}}


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({**DIRECTION, "theorem": "proved"}, "says nothing for a direction"),
        ({"title": "t", "kind": "coverage", "theorem": "proved"}, "says nothing for a coverage"),
        ({"title": "t", "kind": "check", "theorem": "checked"}, "says nothing for a check"),
        ({**DIRECTION, "nearest": {"title": "t", "estimand": {"mean": "a"}}}, "no frontier"),
        ({**DIRECTION, "estimand": FRONTIER, "nearest": WRONG}, "middle"),
    ],
)
def test_what_a_part_cannot_offer_is_refused(tmp_path, part, message):
    with pytest.raises(UsageError, match=message):
        load_plain(tmp_path, registry(part))


@pytest.mark.parametrize(
    ("theorem", "part", "message"),
    [
        ("proved", {"title": "t", "kind": "check"}, "give that part theorem: proved"),
        ("by machine", {"title": "t", "kind": "check"}, "a part of kind proof"),
        ("repaired", {"title": "t", "kind": "check", "theorem": "proved"}, "counterexample to the"),
        ("printed", {"title": "t", "kind": "check"}, "unknown theorem 'printed'"),
    ],
)
def test_a_theorem_without_its_proof_is_refused(tmp_path, theorem, part, message):
    plain = registry(part)
    plain["claims"]["C1"]["theorem"] = theorem
    with pytest.raises(UsageError, match=message):
        load_plain(tmp_path, plain)


@pytest.mark.parametrize("paper", REAL.values(), ids=lambda p: p.id)
def test_no_theorem_of_the_book_rests_on_a_direction_alone(paper):
    for claim in paper.claims:
        if claim.theorem:
            assert any(part.kind in ("proof", "check") for part in claim.parts), claim.id


TEXT = {"value": "1", "printed": "1", "provenance": "paper"}
CHECK = {"title": "a", "kind": "check"}


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({**DIRECTION, "kind": "drection"}, "unknown kind 'drection'; did you mean 'direction'"),
        ({**DIRECTION, "seeds": [0, True]}, "seeds[1] should be a valid integer, got True"),
        ({**DIRECTION, "seeds": "0-4"}, "seeds should be a valid list, got '0-4'"),
        ({**DIRECTION, "null": True}, "null should be a valid number, got True"),
        ({**DIRECTION, "margin": float("nan")}, "margin should be a finite number, got nan"),
        ({**DIRECTION, "estimand": ["a"]}, "estimand should be a valid mapping, got ['a']"),
        ({**DIRECTION, "paper": TEXT}, "paper: value should be a valid number, got '1'"),
        ({**DIRECTION, "paper": "5"}, "paper: expected a mapping, got str"),
        ({**DIRECTION, "matched": ["gpu"]}, "unknown key 'matched'"),
        ({**DIRECTION, "id": "up"}, "up is the id; take the line `id` out"),
        ({**CHECK, "planned": {"effect": 1, "reason": "x"}}, "takes no estimand"),
        (["up"], "expected a mapping, got list"),
        (None, "expected a mapping, got NoneType"),
    ],
)
def test_what_is_wrong_is_one_line_with_file_place_and_value(tmp_path, part, message):
    with pytest.raises(UsageError) as caught:
        load_plain(tmp_path, registry(part))
    said = str(caught.value)
    assert said.startswith("toy2020.yaml: claims.C1.parts") and message in said
    assert "\n" not in said


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"autors": ["A"]}, "toy2020.yaml: unknown key 'autors'; did you mean 'authors'"),
        ({"year": "2020"}, "toy2020.yaml: year should be a valid integer, got '2020'"),
        ({"claims": [1]}, "toy2020.yaml: claims: expected a mapping, got list"),
        ({"claims": {"C1": "x"}}, "toy2020.yaml: claims.C1: expected a mapping, got str"),
        ({"registered": {"digest": {}}}, "toy2020.yaml: registered: unknown key 'digest'"),
        (
            {"amendments": [{"date": "2026-01-02"}]},
            "toy2020.yaml: amendments[0]: part is missing; add it",
        ),
        ({"registered": {"date": "soon"}}, "toy2020.yaml: registered.date: 'soon' is no day"),
        ({"registered": {"date": "2026-2-30"}}, "toy2020.yaml: registered.date: '2026-2-30' is"),
        ({"settings": {"s": {"rows": [{}]}}}, "toy2020.yaml: settings.s: title is missing"),
    ],
)
def test_what_is_wrong_beside_the_parts_is_told_with_its_place(tmp_path, entry, message):
    with pytest.raises(UsageError) as caught:
        load_plain(tmp_path, registry(DIRECTION, **entry))
    assert str(caught.value).startswith(message)


def test_what_is_exact_is_so_at_every_size_unless_it_says_otherwise(tmp_path):
    part = load_plain(tmp_path, registry(CHECK)).parts()["toy2020.C1.up"]
    assert (part.profile, part.unit, part.scale) == ("smoke", "draws", "plain")
    later = {**CHECK, "profile": "gpu", "not_at": {"laptop": "compute: too large"}}
    assert load_plain(tmp_path, registry(later)).parts()["toy2020.C1.up"].profile == "gpu"


def test_dates_are_kept_as_they_are_written(tmp_path):
    path = tmp_path / "toy2020.yaml"
    path.write_text(yaml.safe_dump(registry(DIRECTION)) + "registered: {date: 2026-01-02}\n")
    assert load(path).registered.date == "2026-01-02"


PLANNED = {"effect": 0.07, "reason": "the paper's difference", "power": 0.9}
SMALL = {"profile": "gpu", "not_at": {"laptop": "power: 5 seeds see it with probability 0.3"}}


@pytest.mark.parametrize(
    ("plan", "more"),
    [(PLANNED, {}), (without(PLANNED, "power"), {}), ({**PLANNED, "power": 0.3}, SMALL)],
)
def test_a_plan_is_read(tmp_path, plan, more):
    part = load_plain(tmp_path, registry({**DIRECTION, **more, "planned": plan})).parts()
    assert part["toy2020.C1.up"].planned == Plan(0.07, "the paper's difference", plan.get("power"))


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"planned": {**PLANNED, "power": 0.3}}, "belongs at gpu"),
        ({"planned": PLANNED, **SMALL}, "otherwise at laptop"),
        ({"planned": {**PLANNED, "effect": 0.0}}, "an effect above 0"),
        ({"planned": {**PLANNED, "reason": " "}}, "effect's reason"),
        ({"planned": without(PLANNED, "reason")}, "reason is missing"),
        ({"planned": {**PLANNED, "powr": 0.9}}, "powr"),
        ({"planned": {**PLANNED, "papers": True, "error": -0.1}}, "error is at least 0"),
    ],
)
def test_a_plan_that_does_not_fit_its_part_is_refused(tmp_path, part, message):
    with pytest.raises(UsageError, match=message):
        load_plain(tmp_path, registry({**DIRECTION, **part}))


def test_an_equivalence_is_planned_for_its_margin(tmp_path):
    part = {**without(DIRECTION, "sign"), "kind": "equivalence", "margin": 0.05}
    part |= {"margin_reason": "small", "planned": PLANNED}
    with pytest.raises(UsageError, match="planned for its margin"):
        load_plain(tmp_path, registry(part))


def test_every_planned_power_is_the_one_the_pilots_gave():
    kept = json.loads((CLAIMS.parents[1] / "benchmarks/results/power.json").read_text())["parts"]
    parts = [part for paper in load_all().values() for part in paper.parts().values()]
    told = {part.id: part.planned for part in parts if part.planned}
    assert set(told) == set(kept) and len(told) >= 10
    for name, plan in told.items():
        assert (plan.effect, plan.power) == (kept[name]["effect"], kept[name]["power"])


def test_fewer_seeds_need_a_reason(tmp_path):
    part = {**DIRECTION, "seeds": [0], "seeds_reason": "one network takes a day"}
    assert load_plain(tmp_path, registry(part)).parts()["toy2020.C1.up"].seeds == (0,)


def test_a_key_that_stands_twice_is_refused(tmp_path):
    path = tmp_path / "toy2020.yaml"
    path.write_text("id: toy2020\nid: toy2021\n")
    with pytest.raises(UsageError, match="stands twice"):
        load(path)


def test_the_file_is_named_after_the_paper(tmp_path):
    path = tmp_path / "other.yaml"
    path.write_text(yaml.safe_dump(registry(DIRECTION)))
    with pytest.raises(UsageError, match="name the file"):
        load(path)


@pytest.mark.parametrize(
    "change",
    [
        {"null": 0.1},
        {"sign": -1},
        {"margin": 0.5},
        {"seeds": (0, 1, 2, 3, 5)},
        {"profile": "gpu"},
        {"kind": "equivalence"},
        {"estimand": {"difference": ["b", "a"]}},
        {"unit": "examples"},
    ],
    ids=lambda c: next(iter(c)),
)
def test_every_decision_is_in_the_digest(tmp_path, change):
    part = load_plain(tmp_path, registry(DIRECTION)).parts()["toy2020.C1.up"]
    assert digest(dataclasses.replace(part, **change)) != digest(part)


def test_wording_is_not_in_the_digest(tmp_path):
    part = load_plain(tmp_path, registry(DIRECTION)).parts()["toy2020.C1.up"]
    assert digest(dataclasses.replace(part, title="better words")) == digest(part)
    assert digest(dataclasses.replace(part, theorem="checked")) == digest(part)


def test_a_change_after_registration_needs_an_amendment(tmp_path):
    old = load_plain(tmp_path, registry(DIRECTION)).parts()["toy2020.C1.up"]
    new_part = {**DIRECTION, "sign": -1}
    sealed = {"registered": {"date": "2026-01-01", "digests": {"C1.up": digest(old)}}}
    changed = load_plain(tmp_path, registry(new_part, **sealed))
    assert unregistered_changes(changed) == ["toy2020.C1.up"]
    entry = {
        "date": "2026-02-01",
        "part": "C1.up",
        "reason": "the sign was copied wrongly",
        "was": digest(old),
        "now": digest(changed.parts()["toy2020.C1.up"]),
    }
    assert (
        unregistered_changes(load_plain(tmp_path, registry(new_part, **sealed, amendments=[entry])))
        == []
    )
    rewritten = {**entry, "was": "0" * 16}
    assert unregistered_changes(
        load_plain(tmp_path, registry(new_part, **sealed, amendments=[rewritten]))
    ) == ["toy2020.C1.up"]


def test_parts_added_or_withdrawn_after_registration_are_seen(tmp_path):
    sealed = {"registered": {"date": "2026-01-01", "digests": {"C1.gone": "0" * 16}}}
    paper = load_plain(tmp_path, registry(DIRECTION, **sealed))
    assert unregistered_changes(paper) == ["toy2020.C1.gone", "toy2020.C1.up"]


def test_an_amendment_without_a_reason_is_refused(tmp_path):
    entry = {"date": "2026-02-01", "part": "C1.up", "reason": " ", "was": None, "now": None}
    with pytest.raises(UsageError, match="its reason"):
        load_plain(tmp_path, registry(DIRECTION, amendments=[entry]))


def test_our_side_of_the_settings_comes_from_the_parameters(tmp_path):
    paper = load_plain(tmp_path, registry(DIRECTION))
    assert settings_table(paper, "s", {"eps": 0.3})[0]["ours"] == "0.3"
    assert settings_table(paper, "s", {"eps": [0.2, 4 / 255, 3]})[0]["ours"] == "0.2, 0.0157, 3"
    with pytest.raises(UsageError, match="eps"):
        settings_table(paper, "s", {"epsilon": 0.3})


def test_the_block_to_paste_is_the_one_in_the_file_but_for_amended_parts():
    printed = yaml.safe_load(registered_block(load("zhang2019")))["registered"]["digests"]
    stored = yaml.safe_load((CLAIMS / "zhang2019.yaml").read_text())
    amended = {entry["part"] for entry in stored["amendments"]}
    kept = {k: v for k, v in stored["registered"]["digests"].items() if k not in amended}
    assert {k: v for k, v in printed.items() if k not in amended} == kept
