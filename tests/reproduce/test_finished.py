"""A run with a damaged file, or that of another run, is not finished; a record is named."""

from __future__ import annotations

import json
import shutil

import pytest

from robustnb.errors import RobustnbError, RunError
from robustnb.reproduce import batch, keys, pipeline, profiles, records
from robustnb.reproduce.choice import choose
from robustnb.reproduce.execute import execute
from robustnb.reproduce.finished import forget_damaged, is_finished, record_of


def plan(toy, seed=0, profile="laptop"):
    return keys.resolve_run(toy, "toy2020", profiles.get(toy.notebooks, profile), seed)


def cut(path):
    path.write_bytes(path.read_bytes()[:-40])


def of_another_run(path):
    path.write_text(path.read_text().replace(path.parent.name.partition("-")[2], "0" * 16))


def emptied(path):
    path.write_text("")


def a_folder(path):
    path.unlink()
    path.mkdir()


DAMAGES = [cut, of_another_run, emptied, a_folder]


@pytest.mark.parametrize("file", ["x.ipynb", "record.json"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_run_with_a_damaged_file_is_not_there_and_can_be_made_again(toy, leave_run, file, damage):
    run = plan(toy)
    folder = leave_run(run)
    assert is_finished(run, toy.runs) and not forget_damaged(run, toy.runs)
    damage(folder / file)
    assert not is_finished(run, toy.runs)
    assert (record_of(run, toy.runs) is None) == (file == "record.json")
    forget_damaged(run, toy.runs)
    assert not (folder / "record.json").exists()


def test_a_damaged_run_is_run_again_by_every_command(toy, robustnb):
    run, size = plan(toy, profile="smoke"), profiles.get(toy.notebooks, "smoke")
    record = execute(toy, run, size) / "record.json"
    whole = record.read_bytes()
    cut(record)
    code, _, err = robustnb("run", "toy2020", "--profile", "smoke")
    assert code == 0 and "running toy2020-smoke-seed0" in err
    assert record.read_bytes()[:200] == whole[:200] and is_finished(run, toy.runs)
    emptied(record.with_name("x.ipynb"))
    lines: list[str] = []
    with batch.lock(toy):
        batch.run_all(toy, [run], jobs=1, report=lines.append)
    assert "toy2020-smoke-seed0 is damaged, and is run again" in lines
    assert is_finished(run, toy.runs)


def test_a_page_never_shows_a_damaged_run(toy, leave_run):
    leave_run(plan(toy, profile="smoke"))
    cut(leave_run(plan(toy)) / "x.ipynb")
    assert choose(toy, "toy2020", None, report=print).run.profile == "smoke"


def changed(**fields):
    return lambda record: record.update(fields)


def without(name):
    return lambda record: record.pop(name)


def arm_without_its_size(record):
    del record["measurements"][0]["arms"]["treated"]["n"]


def measured_twice(record):
    record["measurements"] *= 2


@pytest.mark.parametrize(
    "change",
    [
        without("paper"), without("measurements"), without("cost"), without("versions"),
        changed(seed="1"), changed(schema=2), changed(seed=True), changed(cost={}),
        changed(cost=[]), changed(measurements=[{}]), changed(measurements=None),
        arm_without_its_size, measured_twice,
    ],
)  # fmt: skip
def test_a_damaged_record_of_the_book_is_named_with_the_fix(toy, made, change):
    record = made(1)
    change(record)
    path = toy.records / "laptop" / "toy2020" / "seed1.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(record))
    with pytest.raises(RunError, match=r"seed1\.json is no record \(.+\); restore it"):
        records.committed(toy)


@pytest.mark.parametrize(
    ("place", "told"),
    [
        ("laptop/toy2020/seed2.json", "is the record of another run, laptop/toy2020/seed1.json"),
        ("laptop/toy2020/seed1-copy.json", "is the record of another run"),
        ("gpu/toy2020/seed1.json", "is the record of another run"),
        ("laptop/gone2001/seed1.json", "is of gone2001, which has no notebook; remove it"),
    ],
)
def test_a_record_counts_only_where_it_belongs(toy, made, place, told):
    path = toy.records / place
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(made(1)))
    with pytest.raises(RobustnbError, match=told):
        pipeline.build_ledger(toy)


def test_a_record_of_the_book_is_read_where_it_belongs(toy, made):
    path = toy.records / "laptop" / "toy2020" / "seed1.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(made(1)))
    assert [record["seed"] for record in records.committed(toy)] == [1]
    shutil.rmtree(toy.records)
    assert records.committed(toy) == []
