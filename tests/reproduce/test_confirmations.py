from __future__ import annotations

import json

import pytest

from robustnb.reproduce import confirmations, console, keys, pipeline, profiles, records
from robustnb.reproduce.atomic import write_atomically
from robustnb.reproduce.render import Page, substitute

WORDS = "recorded with earlier code, confirmed equal on 2026-11-26 at smoke"
SEEDS = range(5)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    judge = pipeline.judge
    monkeypatch.setattr(pipeline, "judge", lambda *given: judge(*given, draws=200))


def source(toy, profile, seed):
    return keys.resolve_run(toy, "toy2020", profiles.get(toy.notebooks, profile), seed).source


@pytest.fixture
def earlier(toy, made):
    """Five committed records made with earlier code."""
    for seed in SEEDS:
        path = toy.records / "laptop" / "toy2020" / f"seed{seed}.json"
        parameters = {"size": 80} | ({"seed": seed} if seed else {})
        record = made(seed, source=f"earlier{seed}", parameters=parameters)
        write_atomically(path, json.dumps(record))


@pytest.fixture
def confirmation(toy):
    """What `confirm` would write for the five records and today's code."""
    return {
        "commit": "c0ffee",
        "date": "2026-11-26",
        "profile": "smoke",
        "seed": 0,
        "parameters": {"size": 40},
        "changed": ["robustnb.lesson"],
        "earlier": {"source": "old", "key": "k", "result": "same"},
        "today": {"source": source(toy, "smoke", 0), "key": "l", "result": "same"},
        "measurements": 1,
        "outputs": 2,
        "records": [
            {
                "profile": "laptop",
                "seed": seed,
                "earlier": f"earlier{seed}",
                "today": source(toy, "laptop", seed),
            }
            for seed in SEEDS
        ],
        "machine": {"processor": "P", "cores": 2},
        "versions": {"torch": "2.14.1"},
        "device": "cpu",
    }


def keep(toy, confirmation):
    confirmations.keep(toy, "toy2020", [confirmations.sealed("toy2020", confirmation)])


def drawn(toy):
    return pipeline.build_ledger(toy, committed_only=True)


def claim(toy):
    return drawn(toy)["papers"]["toy2020"]["claims"]["toy2020.C1"]


def whys(toy):
    return {(s.state, s.why) for s in records.standings(toy, ["toy2020"])}


def stale_because(toy, words):
    (found,) = whys(toy)
    assert found[0] == "stale" and words in found[1]
    assert claim(toy)["stale"] and claim(toy)["confirmed"] is None


def test_confirmed_records_are_not_stale_and_say_so_everywhere(toy, earlier, confirmation):
    assert claim(toy)["stale"]
    keep(toy, confirmation)
    ledger = drawn(toy)
    found = ledger["papers"]["toy2020"]["claims"]["toy2020.C1"]
    assert (found["group"], found["stale"], found["confirmed"]["date"]) == (
        "holds",
        False,
        "2026-11-26",
    )
    facts = found["confirmed"]
    assert facts["machine"] == {"processor": "P", "cores": 2} and facts["profile"] == "smoke"
    assert all(r["confirmed"] == facts for r in ledger["runs"].values())
    page = Page(toy.root)
    for text in (
        console.why(ledger, "toy2020.C1", as_json=False),
        substitute("{{ verdict toy2020.C1 }}", ledger, page=page),
        substitute("{{ costs toy2020 }}", ledger, page=page),
    ):
        assert WORDS in text
    assert whys(toy) == {("confirmed", "equal on 2026-11-26 at smoke")}


def test_current_records_need_no_confirmation_and_say_nothing(toy, made, confirmation):
    for seed in SEEDS:
        path = toy.records / "laptop" / "toy2020" / f"seed{seed}.json"
        write_atomically(path, json.dumps(made(seed, source=source(toy, "laptop", seed))))
    keep(toy, confirmation)
    assert not claim(toy)["stale"] and claim(toy)["confirmed"] is None
    assert "earlier code" not in substitute("{{ costs toy2020 }}", drawn(toy), page=Page(toy.root))
    assert whys(toy) == {("current", "")}


def test_a_local_run_of_the_same_seed_is_not_called_confirmed(toy, earlier, confirmation, made):
    keep(toy, confirmation)
    size = profiles.get(toy.notebooks, "laptop")
    run = keys.resolve_run(toy, "toy2020", size, 0)
    local = made(0, source=run.source, key=run.key)
    write_atomically(run.folder(toy.runs) / "record.json", json.dumps(local))
    runs = pipeline.build_ledger(toy)["runs"]
    assert runs["toy2020/laptop/seed0/run"]["confirmed"] is None
    assert runs["toy2020/laptop/seed0/record"]["confirmed"] is not None


@pytest.mark.parametrize(
    "forge",
    [
        lambda c: c.update(date="2027-01-01"),
        lambda c: c.update(profile="laptop"),
        lambda c: c["records"][0].update(today="0"),
        lambda c: c["machine"].update(cores=64),
        lambda c: c.update(outputs=200),
    ],
)
def test_an_edited_confirmation_is_refused(toy, earlier, confirmation, forge):
    keep(toy, confirmation)
    path = confirmations.path_of(toy, "toy2020")
    kept = json.loads(path.read_text())
    forge(kept["confirmations"][0])
    path.write_text(json.dumps(kept))
    stale_because(toy, "edited after it was written")


def test_the_confirmation_of_another_paper_is_refused(toy, earlier, confirmation):
    confirmations.keep(toy, "toy2020", [confirmations.sealed("toy2021", confirmation)])
    stale_because(toy, "edited after it was written")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda c: c["today"].update(result="other"), "no two equal results"),
        (lambda c: c.update(outputs=0), "no two equal results"),
        (lambda c: c.pop("machine"), "damaged"),
        (lambda c: c.update(profile="lap"), "damaged"),
        (lambda c: c["records"].clear(), "not confirmed"),
        (lambda c: [r.update(earlier="older") for r in c["records"]], "not confirmed"),
        (lambda c: [r.update(today="other") for r in c["records"]], "changed again"),
        (lambda c: c["today"].update(source="other"), "changed again"),
    ],
)
def test_a_sealed_confirmation_that_does_not_fit_is_refused(
    toy, earlier, confirmation, damage, words
):
    damage(confirmation)
    keep(toy, confirmation)
    stale_because(toy, words)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"confirmations": 3}', '{"confirmations": [3]}'])
def test_a_damaged_file_is_refused(toy, earlier, confirmation, text):
    write_atomically(confirmations.path_of(toy, "toy2020"), text)
    stale_because(toy, "damaged")


def test_a_confirmation_is_outdated_when_the_code_changes_again(toy, earlier, confirmation, edit):
    keep(toy, confirmation)
    edit("generator.random(size) < 0.1", "generator.random(size) < 0.2")
    stale_because(toy, "confirmed on 2026-11-26, but the code changed again since")
    edit("generator.random(size) < 0.2", "generator.random(size) < 0.1  # again")
    assert not claim(toy)["stale"]


def test_a_record_made_again_with_other_code_is_not_confirmed(toy, earlier, confirmation, made):
    keep(toy, confirmation)
    path = toy.records / "laptop" / "toy2020" / "seed2.json"
    write_atomically(path, json.dumps(made(2, source="elsewhere")))
    stale = [s.run.seed for s in records.standings(toy, ["toy2020"]) if s.state == "stale"]
    assert stale == [2] and claim(toy)["stale"]


def test_of_several_confirmations_the_one_that_fits_counts(toy, earlier, confirmation):
    others = [{**confirmation, "records": []}, {**confirmation, "date": "2026-11-27"}]
    sealed = [confirmations.sealed("toy2020", c) for c in others]
    confirmations.keep(toy, "toy2020", sealed)
    assert claim(toy)["confirmed"]["date"] == "2026-11-27"
    confirmations.keep(toy, "toy2020", [])
    assert not confirmations.path_of(toy, "toy2020").exists() and claim(toy)["stale"]


def test_the_list_says_what_changed_and_joins_the_seeds(toy, made):
    size = profiles.get(toy.notebooks, "laptop")
    run = keys.resolve_run(toy, "toy2020", size, 0)
    other = {**run.closure, "robustnb.lesson": "x", "robustnb.gone": "y"}
    found = {
        0: {"closure": run.closure, "parameters": {"size": 80}, "data": {}},
        1: {"closure": other, "parameters": {"size": 80, "seed": 1}},
        2: {"closure": other, "parameters": {"size": 80, "seed": 2}},
        3: {"closure": run.closure, "parameters": {"size": 70, "seed": 3}, "data": {"mnist": {}}},
        4: {"closure": {}, "parameters": {"size": 80, "seed": 4}},
    }
    for seed, facts in found.items():
        path = toy.records / "laptop" / "toy2020" / f"seed{seed}.json"
        write_atomically(path, json.dumps(made(seed, source="earlier", **facts)))
    rows = {row["seeds"]: row for row in records.rows(records.standings(toy, ["toy2020"]))}
    assert list(rows) == ["0", "1, 2", "3", "4"]
    assert rows["0"]["why"].startswith("code cells, or defaults of the parameters cell changed")
    assert rows["1, 2"]["why"].startswith("robustnb.gone, robustnb.lesson changed; not confirmed")
    assert rows["3"]["why"].startswith("parameters; data changed")
    assert "robustnb, robustnb._deprecated, robustnb._lazy and" in rows["4"]["why"]
    assert rows["0"]["state"] == "stale" and rows["0"]["CPU-seconds"] == "4"
    assert rows["0"]["made on"] == "cpu, torch 2.14.1"
