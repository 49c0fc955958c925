"""`robustnb records confirm` on a clone of its own: a toy paper, a copy of the package, and git."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from robustnb.reproduce.confirm import processor

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
EFFECT = '''"""The arms of the toy paper."""

TREATED = 0.9


def control(generator, size):
    """Outcomes without the treatment."""
    return generator.random(size) < 0.1


def treated(generator, size, shift):
    """Outcomes with the treatment."""
    return generator.random(size) < TREATED + shift
'''
# The same outcomes from a module of another name, in which other things come first.
REFACTORED = '''"""Outcomes of the toy paper, without and with its treatment."""


def with_treatment(generator, size, shift):
    """Outcomes with the treatment."""
    draws = generator.random(size)
    return draws < _RATE + shift


def without(generator, size):
    """Outcomes without the treatment."""
    return generator.random(size) < 0.1


_RATE = 0.9
'''
PLAN = """
import json
from robustnb.reproduce import keys, profiles, project
home = project.find()
size = profiles.get(home.notebooks, "laptop")
runs = [keys.resolve_run(home, "toy2020", size, seed) for seed in range(2)]
names = ("source", "closure", "data", "versions", "device")
print(json.dumps([{**{n: getattr(r, n) for n in names}, "parameters": r.overrides} for r in runs]))
"""


def git(clone, *words):
    who = ("-c", "user.name=T", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")
    subprocess.run(["git", "-C", str(clone), *who, *words], check=True, capture_output=True)


def environment(clone):
    found = {k: v for k, v in os.environ.items() if not k.startswith("ROBUSTNB_")}
    return {**found, "ROBUSTNB_ROOT": str(clone), "PYTHONPATH": str(clone)}


def command(*words):
    return [sys.executable, "-m", "robustnb.reproduce.main", *words]


def robustnb(clone, *words):
    done = subprocess.run(
        command(*words), cwd=clone, env=environment(clone), capture_output=True, text=True
    )
    return done.returncode, done.stdout, done.stderr


def states(clone):
    code, out, err = robustnb(clone, "records", "list", "--json")
    assert code == 0, err
    return {row["seeds"]: row["state"] for row in json.loads(out)}


def replace(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def confirmation(clone):
    return clone / "book" / "records" / "confirmed" / "toy2020.json"


def write_records(clone, made):
    script = [sys.executable, "-c", PLAN]
    told = subprocess.run(
        script, cwd=clone, env=environment(clone), capture_output=True, text=True, check=True
    )
    for seed, facts in enumerate(json.loads(told.stdout)):
        path = clone / "book" / "records" / "laptop" / "toy2020" / f"seed{seed}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(made(seed, **facts)))


@pytest.fixture(scope="module")
def committed(tmp_path_factory):
    """A clone whose only commit holds the earlier code; its records come with `clone`."""
    clone = tmp_path_factory.mktemp("confirm") / "clone"
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "robustnb", clone / "robustnb", ignore=ignore)
    shutil.copytree(ROOT / "tests" / "reproduce" / "toy" / "notebooks", clone / "notebooks")
    (clone / "robustnb" / "effect.py").write_text(EFFECT)
    page = clone / "notebooks" / "toy2020.md"
    replace(
        page, "import measure\n", "import measure\nfrom robustnb.effect import control, treated\n"
    )
    replace(
        page,
        "treated = generator.random(size) < 0.9 + shift",
        "t = treated(generator, size, shift)",
    )
    replace(page, "control = generator.random(size) < 0.1", "c = control(generator, size)")
    replace(page, '{"treated": treated, "control": control}', '{"treated": t, "control": c}')
    replace(page, "{int(treated.sum())}", "{int(t.sum())}")
    git(clone, "init", "--quiet")
    (clone / ".gitignore").write_text("build/\n__pycache__/\n")
    git(clone, "add", "--all")
    git(clone, "commit", "--quiet", "--message", "earlier")
    return clone


@pytest.fixture
def clone(committed, made, tmp_path):
    """A clone with two records of the earlier code; runs of earlier tests are there."""
    mine = tmp_path / "clone"
    shutil.copytree(committed, mine, symlinks=True)
    write_records(mine, made)
    return mine


@pytest.fixture
def refactored(clone):
    """The clone after a refactoring that changes no number."""
    (clone / "robustnb" / "effect.py").unlink()
    (clone / "robustnb" / "outcomes.py").write_text(REFACTORED)
    page = clone / "notebooks" / "toy2020.md"
    old = "from robustnb.effect import control, treated"
    replace(page, old, "from robustnb.outcomes import with_treatment, without")
    replace(page, "t = treated(", "t = with_treatment(")
    replace(page, "c = control(", "c = without(")
    return clone


def share_runs(clone, committed):
    """Leave what this clone ran to the tests that follow, as a user's build folder would."""
    shutil.copytree(clone / "build", committed / "build", dirs_exist_ok=True)


def left_over(clone):
    folders = [clone / "build" / "confirm" / "tmp", clone / ".git" / "worktrees"]
    return [path for folder in folders for path in folder.glob("*")]


def test_a_renamed_module_is_confirmed_and_the_earlier_run_is_not_repeated(refactored, committed):
    assert states(refactored) == {"0, 1": "stale"}
    code, out, err = robustnb(refactored, "records", "confirm")
    assert (code, out) == (0, ""), err
    assert "all measurements (1) and text outputs (3) are equal" in err
    assert states(refactored) == {"0, 1": "confirmed"} and left_over(refactored) == []
    (kept,) = json.loads(confirmation(refactored).read_text())["confirmations"]
    assert kept["changed"] == ["robustnb.effect", "robustnb.outcomes"]
    assert kept["machine"]["cores"] == os.cpu_count() and len(kept["commit"]) == 40
    (run,) = (refactored / "build" / "confirm" / "earlier" / "runs").rglob("x.ipynb")
    stamp = run.stat().st_mtime_ns
    assert robustnb(refactored, "records", "confirm", "toy2020")[0] == 0
    assert run.stat().st_mtime_ns == stamp
    share_runs(refactored, committed)


def test_records_of_two_codes_are_confirmed_together(refactored, made, committed):
    earlier = refactored / "book" / "records" / "laptop" / "toy2020" / "seed1.json"
    kept = earlier.read_bytes()
    git(refactored, "add", "--all")
    git(refactored, "commit", "--quiet", "--message", "refactored")
    write_records(refactored, made)
    earlier.write_bytes(kept)
    module = refactored / "robustnb" / "outcomes.py"
    module.write_text(module.read_text().replace("_RATE", "_CHANCE"))
    assert set(states(refactored).values()) == {"stale"}
    code, _, err = robustnb(refactored, "records", "confirm")
    assert code == 0, err
    assert set(states(refactored).values()) == {"confirmed"}
    first, second = json.loads(confirmation(refactored).read_text())["confirmations"]
    assert [r["seed"] for r in first["records"] + second["records"]] == [0, 1]
    assert first["commit"] != second["commit"]
    share_runs(refactored, committed)


def test_a_changed_constant_is_named_and_takes_the_confirmation_back(refactored):
    confirmation(refactored).parent.mkdir()
    confirmation(refactored).write_text("{}")
    replace(refactored / "robustnb" / "outcomes.py", "_RATE = 0.9", "_RATE = 0.3")
    code, _, err = robustnb(refactored, "records", "confirm")
    assert code == 1
    assert "code cell 3 (t = with_treatment(generator, size, shift)): toy2020.C1.more, " in err
    assert "arm 'treated': " in err and "of 40 values differ, by at most 1;" in err
    assert "toy2020 laptop seeds 0, 1: " in err and "stay stale" in err
    assert states(refactored) == {"0, 1": "stale"} and not confirmation(refactored).exists()


@pytest.mark.parametrize(
    ("file", "old", "new", "told"),
    [
        ("profiles.yaml", "laptop: {size: 80}", "laptop: {size: 90}", "of the records: size"),
        ("toy2020.md", "size: int = 40", "size: int = 50", "at smoke: size"),
    ],
)
def test_other_sizes_are_refused_before_anything_runs(refactored, file, old, new, told):
    shutil.rmtree(refactored / "build", ignore_errors=True)
    replace(refactored / "notebooks" / file, old, new)
    code, _, err = robustnb(refactored, "records", "confirm")
    assert code == 1 and f"sizes changed {told};" in err, err
    assert not list((refactored / "build").rglob("x.ipynb"))
    assert not confirmation(refactored).exists()


def test_without_history_it_asks_for_a_checkout_and_takes_one(refactored, committed):
    shutil.rmtree(refactored / ".git")
    code, _, err = robustnb(refactored, "records", "confirm")
    assert code == 1 and "has no git history; pass --old FOLDER" in err
    code, _, err = robustnb(refactored, "records", "confirm", "--old", str(refactored))
    assert code == 1 and "did not make them" in err
    code, _, err = robustnb(refactored, "records", "confirm", "--old", str(committed / "notebooks"))
    assert code == 2 and "is no checkout" in err
    broken = refactored.parent / "broken"
    shutil.copytree(committed, broken, ignore=shutil.ignore_patterns("build", "toy2020.md"))
    code, _, err = robustnb(refactored, "records", "confirm", "--old", str(broken))
    assert code == 5 and "the earlier code cannot plan" in err and "'toy2020'" in err
    code, _, err = robustnb(refactored, "records", "confirm", "--old", str(committed))
    assert code == 0, err
    assert states(refactored) == {"0, 1": "confirmed"}
    code, _, err = robustnb(refactored, "records", "confirm")
    assert code == 1 and states(refactored) == {"0, 1": "confirmed"}, "it was not taken back"


def test_records_of_todays_code_need_none(clone):
    code, _, err = robustnb(clone, "records", "confirm")
    assert (code, err) == (0, "toy2020: no record was made with earlier code\n")


def alive_in(clone):
    """Processes that work in the clone, but the one that asks."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("ROBUSTNB_ROOT", "").startswith(str(clone)):
                found.append(process)
        except psutil.Error:
            continue
    return found


def wait_for(what):
    while not (found := what()):
        time.sleep(0.05)
    return found


def test_a_killed_command_leaves_nothing_that_the_next_one_trips_over(refactored):
    shutil.rmtree(refactored / "build", ignore_errors=True)
    first = subprocess.Popen(
        command("records", "confirm"),
        cwd=refactored,
        env=environment(refactored),
        stderr=subprocess.DEVNULL,
    )
    home = refactored / "build" / "confirm"
    wait_for(lambda: list((home / "earlier" / "status").glob("*.json")))
    first.send_signal(signal.SIGKILL)
    first.wait()
    orphans = alive_in(refactored)
    assert left_over(refactored), "the code of the earlier commit was not there yet"
    code, _, err = robustnb(refactored, "records", "confirm")
    assert code == 0, err
    assert states(refactored) == {"0, 1": "confirmed"} and left_over(refactored) == []
    assert not any(process.is_running() for process in orphans)
    assert list((home / "earlier" / "tmp").glob("*")) == []


def test_the_processor_has_a_name():
    assert processor().strip()
