from __future__ import annotations

import json
import shutil

import nbformat
import pytest

from robustnb.reproduce import book, choice, keys, pages, pipeline, profiles
from robustnb.reproduce.atomic import write_atomically
from robustnb.reproduce.ledger import ledger
from robustnb.reproduce.registry import load_all

PAPER = "toy2020"


def plan(toy, profile, seed=0):
    return keys.resolve_run(toy, PAPER, profiles.get(toy.notebooks, profile), seed)


@pytest.fixture
def local(toy, leave_run):
    return lambda profile, **facts: leave_run(plan(toy, profile), **facts)


@pytest.fixture
def commit(toy, local):
    """Keep a run beside the records, and take it away from this machine."""

    def kept(profile, **facts):
        folder = local(profile, **facts)
        assert pipeline._keep(toy, plan(toy, profile), lambda _line: None) == ""
        shutil.rmtree(folder)
        return toy.records / profile / PAPER

    return kept


@pytest.fixture
def chosen(toy):
    told: list[str] = []

    def choose(profile=None):
        size = profiles.get(toy.notebooks, profile) if profile else None
        return choice.choose(toy, PAPER, size, report=told.append)

    choose.told = told
    return choose


@pytest.fixture
def line(toy, chosen, made):
    """The line of the chosen page, with five committed laptop records behind the ledger."""

    def drawn(*extra, profile=None):
        records = [made(seed) for seed in range(5)]
        judged = ledger(load_all(toy.claims), [*records, *extra], {}, draws=200)
        return choice.line(chosen(profile), judged)

    return drawn


def shown(found):
    """Profile, origin, and the profile that the outputs themselves name."""
    return found.run.profile, found.origin, found.executed.cells[0].outputs[0]["text"].split()[-1]


def test_the_best_run_at_hand_is_shown_in_the_order_of_the_docs(toy, local, commit, chosen):
    local("smoke")
    assert shown(chosen()) == ("smoke", "run", "smoke")
    assert chosen().instead == "no larger run is at hand"
    commit("laptop")
    assert shown(chosen()) == ("laptop", "record", "laptop")
    commit("gpu")
    assert shown(chosen()) == ("gpu", "record", "gpu")
    local("laptop")
    assert shown(chosen()) == ("laptop", "run", "laptop")
    local("gpu")
    assert shown(chosen()) == ("gpu", "run", "gpu")
    assert chosen().instead == "" and chosen.told == []


@pytest.mark.parametrize("profile", ["smoke", "laptop"])
def test_a_profile_that_is_asked_for_is_shown_whatever_else_is_there(
    local, commit, chosen, profile
):
    local("smoke")
    local("laptop")
    commit("gpu")
    assert shown(chosen(profile)) == (profile, "run", profile)
    assert chosen(profile).instead == ""


def test_a_local_run_of_other_code_is_not_shown(local, chosen, edit):
    local("laptop")
    edit("generator.random(size) < 0.1", "generator.random(size) < 0.2")
    local("smoke")
    assert shown(chosen()) == ("smoke", "run", "smoke")


def test_a_kept_run_whose_code_cells_were_edited_gives_way_and_the_page_says_so(
    commit, local, chosen, line, edit
):
    commit("laptop")
    edit("generator.random(size) < 0.1", "generator.random(size) < 0.2")
    local("smoke")
    assert shown(chosen()) == ("smoke", "run", "smoke")
    assert "because the code on this page was edited after the kept laptop run." in line()


def test_edited_prose_and_comments_leave_the_kept_run_shown(commit, local, chosen, edit):
    commit("laptop")
    edit("Prose before.", "Prose of today.")
    edit("time.sleep(sleep)", "time.sleep(sleep)  # a comment")
    local("smoke")
    assert shown(chosen()) == ("laptop", "record", "laptop")


@pytest.mark.parametrize("name", ["outputs.json", "figure-1.png"])
def test_a_kept_page_that_was_edited_is_named_in_one_line_and_the_next_one_is_shown(
    commit, local, chosen, name
):
    local("smoke")
    commit("laptop")
    path = commit("gpu") / pages.FOLDER / name
    path.write_bytes(path.read_bytes() + b" ")
    assert shown(chosen()) == ("laptop", "record", "laptop")
    (told,) = chosen.told
    assert told.startswith(f"{path} is not as the run left it") and "\n" not in told


def test_the_page_says_why_it_shows_no_kept_run_when_all_were_edited(commit, local, line):
    local("smoke")
    (commit("laptop") / pages.FOLDER / "outputs.json").write_text("{}")
    assert "because the page of the kept laptop run was changed after it." in line()


def test_a_record_without_a_page_leaves_the_smoke_run(commit, local, chosen):
    local("smoke")
    home = commit("laptop")
    shutil.rmtree(home / pages.FOLDER)
    record = json.loads((home / "seed0.json").read_text())
    del record["page"]
    write_atomically(home / "seed0.json", json.dumps(record))
    assert shown(chosen()) == ("smoke", "run", "smoke") and chosen.told == []


def test_a_kept_run_of_todays_code_says_so_with_its_day_machine_and_command(local, commit, line):
    local("smoke")
    commit("laptop")
    assert line() == (
        "This page shows the laptop run kept with the book (seed 0, 2026-01-02 on Some CPU). "
        "Its code, parameters and data are today's. "
        "To run it here: `robustnb run toy2020 --profile laptop`, then `make book`."
    )


def test_a_kept_run_of_earlier_code_names_what_changed_since(toy, local, commit, line):
    local("smoke")
    closure = {
        **plan(toy, "laptop").closure,
        "robustnb.lesson.outcomes": "another",
        "robustnb.a": "b",
    }
    commit("laptop", source="earlier", closure=closure, data={"mnist": {}})
    assert "Changed since that run: `robustnb.a`, `robustnb.lesson.outcomes`, `mnist`." in line()


def test_many_changes_are_counted_and_parameters_are_among_them(toy, local, commit, line):
    local("smoke")
    closure = dict.fromkeys(plan(toy, "laptop").closure, "another")
    commit("laptop", source="earlier", closure=closure, parameters={"size": 7})
    record = {"closure": closure, "parameters": {"size": 7}, "data": {}}
    changed = choice.changes(plan(toy, "laptop"), record)
    assert {*closure, "size"} <= set(changed)
    assert f" and {len(changed) - 3} more." in line()


@pytest.mark.parametrize(
    ("treated", "verdict"),
    [(0.9, "1 of its 1 numbers lie inside"), (0.2, "0 of its 1 numbers lie inside")],
)
def test_a_local_laptop_run_is_held_against_the_records(local, line, made, treated, verdict):
    local("laptop")
    text = line(made(0, treated, origin="run"), profile="laptop")
    assert verdict in text
    assert ("outside: C1.more" in text) == (treated == 0.2)
    assert "To run it again: `robustnb run toy2020 --profile laptop --fresh`" in text


def test_a_smoke_run_is_held_against_nothing(local, line):
    local("smoke")
    assert line(profile="smoke") == (
        "This page shows the smoke run of this machine (seed 0, 2026-01-02 on Some CPU). "
        "For a larger one: `robustnb run toy2020 --profile laptop`, then `make book`."
    )


@pytest.fixture
def made_book(toy, monkeypatch):
    """Make the toy's book up to its pages; returns what was told."""
    monkeypatch.setattr(book, "build", lambda project, source, report: source)
    monkeypatch.setattr(book, "source_root", lambda project: project.root)
    for name in ("_config.yml", "_toc.yml"):
        (toy.root / name).write_text("{}\n")

    def make(profile=None):
        told: list[str] = []
        size = profiles.get(toy.notebooks, profile) if profile else None
        pipeline.make_book(toy, size, jobs=1, report=told.append)
        page = toy.root / "book" / "papers" / f"{PAPER}.ipynb"
        return told, nbformat.read(page, as_version=4)

    return make


def test_the_default_book_counts_its_steps_and_pages_and_shows_the_kept_run(
    commit, local, made_book
):
    local("smoke")
    commit("laptop")
    told, page = made_book()
    assert told[0] == "step 1 of 3: run the notebooks at smoke, 1 at a time"
    assert "page 1 of 1: toy2020 shows the laptop run kept with the book" in told
    assert "ran 1 at laptop" in json.dumps(page.cells)
    assert page.metadata["robustnb"]["run"]["profile"] == "laptop"
    assert "page" not in page.metadata["robustnb"]["run"]


def test_the_books_pages_are_the_same_bytes_when_they_are_made_again(toy, commit, local, made_book):
    local("smoke")
    commit("laptop")
    path = toy.root / "book" / "papers" / f"{PAPER}.ipynb"
    made_book()
    first = path.read_bytes()
    path.unlink()
    made_book()
    assert path.read_bytes() == first


def test_a_book_of_smoke_shows_smoke_beside_a_kept_run(commit, local, made_book):
    local("smoke")
    commit("laptop")
    told, page = made_book("smoke")
    assert "page 1 of 1: toy2020 shows the smoke run of this machine" in told
    assert "ran 1 at smoke" in json.dumps(page.cells)
