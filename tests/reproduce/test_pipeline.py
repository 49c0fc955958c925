from __future__ import annotations

import json

import pytest

from robustnb.errors import RobustnbError, UsageError
from robustnb.reproduce import keys, pages, pipeline, profiles
from robustnb.reproduce.atomic import write_atomically

README = "# Toy\n\n<!-- verdicts: drawn -->\n<!-- end of verdicts -->\n"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Fewer bootstrap draws than the book's: nothing here asks for the third digit."""
    judge = pipeline.judge
    monkeypatch.setattr(pipeline, "judge", lambda *given: judge(*given, draws=200))


def plan(project, seed, profile="laptop", **given):
    size = profiles.get(project.notebooks, profile)
    return keys.resolve_run(project, "toy2020", size, seed, given=given or None)


@pytest.fixture
def keep(toy, made):
    """Put a record where a finished run, or a committed record, would have it."""

    def put(seed, *values, committed=False, folder=None, profile="laptop", **given):
        run = plan(toy, seed, profile, **given)
        facts = {"key": run.key, "source": run.source, "custom": run.custom, "profile": profile}
        record = made(seed, *values, **facts)
        del record["origin"]
        own = toy.records / profile / "toy2020" / f"seed{seed}.json"
        path = own if committed else (folder or run.folder(toy.runs)) / "record.json"
        write_atomically(path, json.dumps(record))
        return path

    return put


def drawn(project, **settings):
    return pipeline.build_ledger(project, **settings)


def claim(ledger):
    return ledger["papers"]["toy2020"]["claims"]["toy2020.C1"]


def test_five_runs_of_todays_code_judge_the_claim(toy, keep):
    for seed in range(5):
        keep(seed)
    found = claim(drawn(toy))
    assert (found["group"], found["profile"], found["stale"]) == ("holds", "laptop", False)


def test_a_run_of_other_code_is_not_there(toy, keep, edit):
    for seed in range(5):
        keep(seed)
    edit("generator.random(size) < 0.1", "generator.random(size) < 0.2")
    ledger = drawn(toy)
    assert claim(ledger)["label"] == "not run" and ledger["runs"] == {}
    edit("generator.random(size) < 0.2", "generator.random(size) < 0.1  # again")
    assert claim(drawn(toy))["group"] == "holds"


def test_a_run_under_another_key_is_not_there(toy, keep):
    folder = plan(toy, 0).folder(toy.runs)
    keep(0, folder=folder.with_name("seed0-0123456789abcdef"))
    assert drawn(toy)["runs"] == {}


def test_a_run_on_other_versions_is_not_there(toy, keep, monkeypatch):
    keep(0)
    assert list(drawn(toy)["runs"]) == ["toy2020/laptop/seed0/run"]
    monkeypatch.setattr(keys, "versions", lambda: {"torch": "0.4.1"})
    assert drawn(toy)["runs"] == {}


def test_a_custom_run_never_counts(toy, keep):
    path = keep(0, shift=0.05)
    assert "custom" in path.parts
    assert drawn(toy)["runs"] == {}
    run = plan(toy, 0, shift=0.05)
    keep(0, folder=plan(toy, 0).folder(toy.runs), shift=0.05)  # even where a plain run belongs
    assert run.custom and drawn(toy)["runs"] == {}


def test_a_seed_that_was_not_registered_changes_no_verdict(toy, keep):
    for seed in range(5):
        keep(seed)
    before = claim(drawn(toy))
    keep(7, 0.1, 0.9)
    keep(8, 0.1, 0.9, folder=toy.runs / "laptop" / "toy2020" / "seed8-0123456789abcdef")
    after = claim(drawn(toy))
    assert (after["word"], after["parts"]) == (before["word"], before["parts"])


def test_committed_records_decide_and_the_local_run_is_set_beside_them(toy, keep):
    for seed in range(5):
        keep(seed, committed=True)
    keep(0, 0.1, 0.9)
    ledger = drawn(toy)
    assert claim(ledger)["group"] == "holds"
    local = claim(ledger)["parts"]["toy2020.C1.more"]["profiles"]["laptop"]["local"]
    assert local["n_records"] == 5 and not local["runs"]["0"]["within"]
    assert local["runs"]["0"]["value"] < local["low"] < local["high"]


def test_committed_only_leaves_the_local_runs_out(toy, keep):
    keep(0)
    assert drawn(toy, committed_only=True)["runs"] == {}


def test_a_committed_record_of_earlier_code_counts_and_is_flagged(toy, keep, edit):
    for seed in range(5):
        keep(seed, committed=True)
    edit("generator.random(size) < 0.1", "generator.random(size) < 0.2")
    found = claim(drawn(toy))
    assert (found["group"], found["stale"]) == ("holds", True)


def test_keeping_a_run_copies_its_record(toy, keep):
    path = keep(3)
    lines: list[str] = []
    assert pipeline._keep(toy, plan(toy, 3), lines.append) == ""
    kept = toy.records / "laptop" / "toy2020" / "seed3.json"
    assert json.loads(kept.read_text()) == json.loads(path.read_text())
    assert lines == ["kept book/records/laptop/toy2020/seed3.json"]
    assert not (kept.parent / "page").exists()


def test_what_was_kept_comes_back_as_a_record_that_is_not_stale(toy, leave_run):
    for seed in range(5):
        leave_run(plan(toy, seed))
        pipeline._keep(toy, plan(toy, seed), lambda _line: None)
    ledger = drawn(toy, committed_only=True)
    assert len(ledger["runs"]) == 5 and not any(r["stale"] for r in ledger["runs"].values())
    assert claim(ledger)["group"] == "holds"


def test_seed_0_is_kept_with_its_page_and_a_larger_page_takes_the_old_one_away(
    toy, leave_run, monkeypatch
):
    leave_run(plan(toy, 0))
    lines: list[str] = []
    assert pipeline._keep(toy, plan(toy, 0), lines.append) == ""
    home = toy.records / "laptop" / "toy2020"
    record = json.loads((home / "seed0.json").read_text())
    assert set(record["page"]) == {p.name for p in (home / "page").iterdir()}
    assert lines == ["kept book/records/laptop/toy2020/seed0.json with its page"]
    monkeypatch.setattr(pages, "LARGEST_BYTES", 1000)
    assert "not kept, the limit is" in pipeline._keep(toy, plan(toy, 0), lines.append)
    assert "page" not in json.loads((home / "seed0.json").read_text())
    assert not (home / "page").exists()


def test_a_smoke_run_is_kept_without_a_page(toy, leave_run):
    leave_run(plan(toy, 0, "smoke"))
    pipeline._keep(toy, plan(toy, 0, "smoke"), lambda _line: None)
    assert [p.name for p in (toy.records / "smoke" / "toy2020").iterdir()] == ["seed0.json"]


def test_the_readme_is_written_from_committed_records_and_checked_without_writing(toy, keep):
    path = toy.root / "README.md"
    path.write_text(README)
    for seed in range(5):
        keep(seed, committed=True)
    keep(0, 0.1, 0.9)
    assert not pipeline.write_readme(toy, check=True)
    assert path.read_text() == README
    assert pipeline.write_readme(toy)
    assert "1 of 1 claims holds here" in path.read_text()
    assert pipeline.write_readme(toy, check=True)
    path.write_text(path.read_text().replace("1 of 1 claims holds", "9 of 9 claims hold"))
    assert not pipeline.write_readme(toy, check=True)


def reproduce(toy, seeds, told):
    size = profiles.get(toy.notebooks, "laptop")
    return pipeline.reproduce(toy, ["toy2020"], size, seeds, jobs=1, report=told.append)


def test_a_batch_leaves_out_seeds_that_no_part_lists_and_names_them(toy, monkeypatch):
    ran: list[int] = []
    monkeypatch.setattr(
        pipeline, "_run", lambda _project, runs, **_: ran.extend(run.seed for run in runs)
    )
    told: list[str] = []
    reproduce(toy, [3, 4, 5, 9], told)
    assert ran == [3, 4]
    assert any("lists: 5, 9" in line and "robustnb run toy2020" in line for line in told)


def test_a_batch_of_seeds_that_no_part_lists_is_refused(toy):
    with pytest.raises(UsageError, match="no seed is left"):
        reproduce(toy, [7], [])


def test_a_batch_keeps_every_record_before_it_names_the_pages_that_are_too_large(
    toy, leave_run, monkeypatch
):
    for seed in range(2):
        leave_run(plan(toy, seed))
    monkeypatch.setattr(pipeline, "_run", lambda *_, **__: None)
    monkeypatch.setattr(pages, "LARGEST_BYTES", 1000)
    size = profiles.get(toy.notebooks, "laptop")
    with pytest.raises(RobustnbError, match=r"toy2020: its page of .* MB is not kept"):
        pipeline.reproduce(
            toy, ["toy2020"], size, [0, 1], jobs=1, record=True, report=lambda _line: None
        )
    kept = toy.records / "laptop" / "toy2020"
    assert {p.name for p in kept.iterdir()} == {"seed0.json", "seed1.json"}
