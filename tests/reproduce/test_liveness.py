from __future__ import annotations

import dataclasses
import subprocess
import sys

import psutil
import pytest

from robustnb.errors import UsageError
from robustnb.reproduce.limits import SILENCE_SECONDS, USUAL, Limits
from robustnb.reproduce.liveness import Evidence, Judge, watched
from robustnb.reproduce.status import Status

EVERY = 10.0
HUNG = Evidence(cell=7, noted=(10, 20), processes=frozenset({5}), disk_bytes=30, cpu_seconds=40.0)


def judged(looks, limits=USUAL, passed=EVERY):
    judge = Judge(limits, every=EVERY, first=HUNG)
    return [judge.look(found, passed) for found in looks]


def moving(**change):
    return [
        dataclasses.replace(HUNG, **{k: v(i) for k, v in change.items()}) for i in range(1, 1000)
    ]


def test_what_stands_still_is_ended_after_the_silence_and_not_before():
    answers = judged([HUNG] * 90)
    assert answers[:-1] == [None] * 89
    assert answers[-1].startswith("stood still for 900 s (no new cell, no progress")
    assert EVERY * 90 == SILENCE_SECONDS


@pytest.mark.parametrize(
    "change",
    [
        {"cell": lambda i: 7 + i // 80},
        {"noted": lambda i: (10 + i // 80, 20)},
        {"noted": lambda i: (10, 20 + i // 80)},
        {"processes": lambda i: frozenset({5 + i // 80})},
        {"disk_bytes": lambda i: 30 + i // 80},
        {"cpu_seconds": lambda i: 40.0 + i * EVERY * 0.02},
    ],
    ids=["cell", "note", "note size", "processes", "disk", "cpu"],
)
def test_whatever_moves_now_and_then_goes_on_for_ever(change):
    assert judged(moving(**change)) == [None] * 999


def test_a_kernel_that_only_waits_uses_too_little_cpu_time_to_count():
    assert any(judged(moving(cpu_seconds=lambda i: 40.0 + i * EVERY * 0.002)))


def test_a_machine_that_slept_ends_nothing():
    assert judged([HUNG] * 3, passed=100_000.0) == [None] * 3


def test_a_total_counts_what_passed_whatever_moves():
    answers = judged(moving(cell=lambda i: i), Limits(total=55.0))
    assert answers[4] is None and answers[5] == "ran past the 55 s of --timeout"


@pytest.mark.parametrize("limits", [{"silence": 0}, {"silence": float("nan")}, {"total": -1.0}])
def test_a_limit_that_no_run_could_meet_is_refused(limits):
    with pytest.raises(UsageError, match="more than 0"):
        Limits(**limits)


def test_only_what_was_begun_under_the_watch_is_ended(toy):
    command = [sys.executable, "-c", "import time; time.sleep(3600)"]
    other = subprocess.Popen(command)
    status = Status.start(toy, "toy2020-smoke-seed0", toy.work, budget=20.0)
    try:
        with watched(status, Limits(silence=1.0)) as ended:
            mine = subprocess.Popen(command)
            assert mine.wait() < 0
            assert ended()
        assert psutil.Process(other.pid).is_running() and other.poll() is None
    finally:
        other.kill()
        other.wait()
        status.end()
