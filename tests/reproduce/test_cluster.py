"""What a batch asks of Slurm and says of its jobs, with Slurm's commands played by scripts."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from types import SimpleNamespace

import pytest

from robustnb.errors import BusyError, RunError, UsageError
from robustnb.reproduce import batch, cluster, keys, profiles, slurm

LOST = "squeue: error: Unable to contact slurm controller"


class Stage:
    """Slurm's commands as scripts: each prints what a file holds, and notes how it was called."""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir()
        for command in ("squeue", "scontrol", "sacct", "scancel"):
            self.answers(command, "")

    def answers(self, command, text, code=0):
        (self.folder / f"{command}.txt").write_text(text)
        script = self.folder / command
        where = 1 if code == 0 else 2
        script.write_text(
            f'#!/bin/sh\necho "$@" >> {self.folder}/{command}.calls\n'
            f"cat {self.folder}/{command}.txt >&{where}\nexit {code}\n"
        )
        script.chmod(0o755)

    def queue(self, *rows):
        self.answers("squeue", "".join(f"{row}\n" for row in rows))

    def calls(self, command):
        path = self.folder / f"{command}.calls"
        return path.read_text().splitlines() if path.is_file() else []


@pytest.fixture
def stage(tmp_path, monkeypatch):
    stage = Stage(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{stage.folder}{os.pathsep}{os.environ['PATH']}")
    return stage


@pytest.fixture
def clock(monkeypatch):
    """A clock that moves only when told."""
    clock = SimpleNamespace(now=1000.0)
    clock.monotonic = lambda: clock.now
    clock.sleep = lambda seconds: setattr(clock, "now", clock.now + seconds)
    monkeypatch.setattr(slurm, "time", clock)
    return clock


@pytest.fixture
def watched(tmp_path, clock):
    """A follower of two runs, and what it has reported."""
    said: list[str] = []
    names = {"laptop_toy_0_aa": "toy-laptop-seed0", "laptop_toy_1_bb": "toy-laptop-seed1"}
    follower = slurm.Follower("robustnb-t", tmp_path / "logs", names, said.append)

    def look(done=0, seconds=11.0):
        clock.sleep(seconds)
        return follower.look(done)

    return SimpleNamespace(look=look, said=said, follower=follower)


def row(number, state, seed=0, reason="None", batch="robustnb-t"):
    tag = f"laptop_toy_{seed}_{'ab'[seed] * 2}"
    return f"{number}|{state}|{batch}_1f-2e|rule_run_wildcards_{tag}|{reason}"


@pytest.mark.parametrize(
    ("age", "accounts", "chosen"),
    [("300 sec", 1, "squeue"), ("300 sec", 0, "squeue"), ("10 sec", 0, "sacct")],
)
def test_the_status_command_is_one_that_tells_of_ended_jobs(stage, age, accounts, chosen):
    stage.answers("scontrol", f"KillWait = 30 sec\nMinJobAge               = {age}\n")
    stage.answers("sacct", "", accounts)
    assert slurm.status_command() == chosen


def test_a_slurm_that_would_not_tell_of_a_failed_job_is_refused(stage):
    stage.answers("scontrol", "MinJobAge = 10 sec\n")
    stage.answers("sacct", "Slurm accounting storage is disabled", 1)
    with pytest.raises(RunError, match=r"after 10 s .*storage is disabled.*unnoticed; ask for"):
        slurm.status_command()


def test_a_batch_is_not_started_where_slurm_does_not_answer(toy, stage):
    stage.answers("scontrol", "Unable to contact slurm controller", 1)
    runs = [keys.resolve_run(toy, "toy2020", profiles.get(toy.notebooks, "laptop"), 0)]
    with batch.lock(toy), pytest.raises(RunError, match="scontrol: Unable to contact"):
        batch.run_all(toy, runs, jobs=1, executor="slurm", report=print)
    assert not (toy.build / "batch.json").exists()


def test_a_machine_without_slurm_says_so(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RunError, match="no scontrol on this machine's PATH"):
        slurm.status_command()


def test_only_jobs_of_the_batch_are_seen(stage):
    stage.queue(
        row(1, "RUNNING"), row(2, "PENDING", batch="robustnb-other"), "3|RUNNING|x|(null)|-"
    )
    assert slurm.queue("robustnb-t") == [slurm.Job("1", "RUNNING", "laptop_toy_0_aa", "None")]


def test_queued_running_and_done_are_told_when_they_change(stage, watched):
    stage.queue(row(1, "RUNNING"), row(2, "PENDING", 1, "Resources"))
    assert watched.look() and watched.look()
    stage.queue(row(1, "COMPLETED"), row(2, "RUNNING", 1))
    assert watched.look(done=1)
    assert watched.said == [
        "Slurm: 1 queued (Resources), 1 running; 0 of 2 done",
        "Slurm: 0 queued, 1 running; 1 of 2 done",
    ]


def test_slurm_is_not_asked_at_every_look(stage, watched):
    stage.queue(row(1, "RUNNING"))
    assert all(watched.look(seconds=0.5) for _ in range(30))
    assert len(stage.calls("squeue")) == 2


@pytest.mark.parametrize("state", ["FAILED", "TIMEOUT", "OUT_OF_MEMORY", "NODE_FAIL", "CANCELLED"])
def test_a_failed_job_is_named_once_with_its_log(stage, watched, tmp_path, state):
    log = tmp_path / "logs" / "rule_run" / "laptop_toy_1_bb" / "2.log"
    log.parent.mkdir(parents=True)
    log.write_text("slurmstepd: error: Exceeded memory\n")
    stage.queue(row(1, "RUNNING"), row(2, state, 1))
    assert watched.look() and watched.look()
    assert watched.said[0] == f"toy-laptop-seed1: Slurm job 2 is {state}; its log is {log}"
    assert watched.said[1:] == ["Slurm: 0 queued, 1 running; 0 of 2 done, 1 failed"]
    words = watched.follower.last_words("toy-laptop-seed1")
    assert words[1:] == ["  slurmstepd: error: Exceeded memory"]
    assert watched.follower.last_words("toy-laptop-seed7") == []


def test_a_job_slurm_has_forgotten_does_not_hold_the_batch_for_ever(stage, watched):
    stage.queue(row(1, "RUNNING"))
    assert watched.look()
    stage.queue()
    assert watched.look()
    assert not watched.look(seconds=slurm._UNNOTICED_SECONDS + 1)
    assert "job 1 is GONE" in watched.follower.last_words("toy-laptop-seed0")[0]


def test_with_every_run_there_the_batch_ends_though_slurm_is_silent(stage, watched):
    stage.queue(row(1, "RUNNING"), row(2, "RUNNING", 1))
    assert watched.look()
    stage.answers("squeue", LOST, 1)
    assert watched.look(done=2)
    assert not watched.look(done=2, seconds=slurm._SETTLE_SECONDS + 1)


def test_with_every_run_there_the_batch_lets_its_jobs_end(stage, watched):
    stage.queue(row(1, "COMPLETING"))
    assert watched.look(done=2)
    assert watched.look(done=2, seconds=slurm._UNNOTICED_SECONDS)
    stage.queue(row(1, "COMPLETED"))
    assert watched.look(done=2)
    assert not watched.look(done=2, seconds=slurm._SETTLE_SECONDS + 1)


def test_after_a_silence_jobs_that_snakemake_forgot_do_not_hold_the_batch_for_long(stage, watched):
    stage.queue(row(1, "RUNNING"))
    assert watched.look() and not watched.follower.cut_off
    stage.answers("squeue", LOST, 1)
    assert watched.look(seconds=slurm._FORGOTTEN_SECONDS + 1) and watched.follower.cut_off
    stage.queue(row(1, "COMPLETED"))
    assert watched.look(done=1)
    assert not watched.look(done=1, seconds=slurm._FORGOTTEN_SECONDS + 1)
    assert not watched.follower.failed("toy-laptop-seed0")


def test_a_silent_slurm_is_told_waited_for_and_given_up(stage, watched):
    stage.queue(row(1, "RUNNING"))
    assert watched.look()
    stage.answers("squeue", LOST, 1)
    assert watched.look() and watched.look()
    assert [
        line for line in watched.said if "Slurm does not answer (squeue: " in line
    ] == watched.said[1:]
    stage.queue(row(1, "RUNNING"))
    assert watched.look()
    assert watched.said[2:] == ["Slurm answers again"]
    stage.answers("squeue", LOST, 1)
    assert watched.look(seconds=slurm._SILENT_SECONDS - 1)
    with pytest.raises(RunError, match=r"has not answered for 30 minutes .*the same command"):
        watched.look()


def test_a_cancelled_batch_waits_until_its_jobs_have_ended(stage, clock):
    stage.queue(
        row(1, "RUNNING"), row(2, "COMPLETED", 1), row(3, "RUNNING", batch="robustnb-other")
    )
    clock.sleep = lambda _seconds: stage.queue(row(1, "CANCELLED"))
    assert slurm.cancel("robustnb-t") == 1
    assert stage.calls("scancel") == ["1"]


def test_a_job_that_does_not_end_is_named(stage, clock):
    stage.queue(row(1, "COMPLETING"))
    with pytest.raises(RunError, match="not ended yet: jobs 1"):
        slurm.cancel("robustnb-t")


def left_behind(toy, executor="slurm"):
    owner = toy.build / "batch.json"
    owner.parent.mkdir(parents=True, exist_ok=True)
    owner.write_text(json.dumps({"executor": executor, "token": "t"}))
    return owner


def test_the_next_command_cancels_the_jobs_that_a_dead_one_left(toy, stage, clock):
    owner = left_behind(toy)
    stage.queue(row(4, "RUNNING"))
    clock.sleep = lambda _seconds: stage.queue()
    with batch.lock(toy):
        assert not owner.exists()
    assert stage.calls("scancel") == ["4"]


def test_with_jobs_left_and_slurm_silent_nothing_is_started(toy, stage):
    owner = left_behind(toy)
    stage.answers("squeue", LOST, 1)
    with pytest.raises(BusyError, match=f"Unable to contact.*remove {owner}"), batch.lock(toy):
        pytest.fail("the lock was given")
    assert owner.exists()
    stage.queue()
    with batch.lock(toy):
        assert not owner.exists()


def test_a_batch_of_this_machine_asks_nothing_of_slurm(toy, stage):
    left_behind(toy, "local")
    with batch.lock(toy):
        assert not stage.calls("squeue")
    assert cluster.Batch("local", "t").options(toy, 2) == []
    assert cluster.Batch("local", "t").stop_signal == signal.SIGTERM


def test_srun_in_a_job_is_told_where_slurm_is(toy, stage, monkeypatch):
    slurm_batch = cluster.Batch("slurm", "t")
    monkeypatch.delenv("SLURM_CONF", raising=False)
    assert slurm_batch.programs(toy) == []
    monkeypatch.setenv("SLURM_CONF", "/etc/my slurm.conf")
    srun = stage.folder / "srun"
    srun.write_text('#!/bin/sh\necho "$SLURM_CONF" "$@"\n')
    srun.chmod(0o755)
    (folder,) = slurm_batch.programs(toy)
    monkeypatch.delenv("SLURM_CONF")
    said = subprocess.run([f"{folder}/srun", "-n1", "a b"], capture_output=True, text=True)
    assert said.stdout == "/etc/my slurm.conf -n1 a b\n"
    assert cluster.Batch("local", "t").programs(toy) == []


def test_another_executor_gets_the_number_of_jobs_and_ctrl_c(toy, stage):
    other = cluster.Batch("lsf", "t")
    assert other.options(toy, 3) == ["--executor", "lsf", "--jobs", "3"]
    assert other.follower(toy, [], print) is None
    assert other.stop_signal == signal.SIGINT


def test_an_executor_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setattr(cluster, "_plugins", list)
    with pytest.raises(UsageError, match=r"not installed; pip install --editable '.\[cluster\]'"):
        cluster.check("slurm", [])
    with pytest.raises(UsageError, match="unknown executor 'lsf'"):
        cluster.check("lsf", [])
    cluster.check("local", ["--verbose"])


@pytest.mark.parametrize(
    "word",
    ["--executor=slurm", "--slurm-logdir=x", "--slurm-jobname-prefix", "-j4", "-kj4", "-e=slurm"],
)
def test_words_set_here_are_not_taken_twice(word):
    with pytest.raises(UsageError, match="cannot be passed on"):
        cluster.check("local", [word])


@pytest.mark.parametrize("word", ["--dry-run", "--dryrun", "-n", "-kn"])
def test_a_dry_run_is_an_option_of_the_command_itself(word):
    with pytest.raises(UsageError, match="`robustnb reproduce --dry-run` says what"):
        cluster.check("local", [word])


@pytest.mark.parametrize("word", ["--unlock", "--list", "--touch", "-t", "--summary", "--dag=mmd"])
def test_what_makes_no_runs_is_not_passed_on(word):
    with pytest.raises(UsageError, match="would not make all the runs; leave it out"):
        cluster.check("local", [word])


@pytest.mark.parametrize(
    ("word", "why"),
    [
        ("--dry", "no option --dry; write one in full: --dry-run, --dryrun"),
        ("--exec=slurm", "no option --exec; write one in full: --executor"),
        ("--conf", "no option --conf; write one in full: --config, --configfile, --configfiles"),
        ("--resourced=gpu=1", "no option --resourced; did you mean --resources?"),
        ("--quite", "no option --quite; did you mean --quiet?"),
        ("-Z", "no option -Z; `snakemake --help` lists them"),
    ],
)
def test_a_word_for_snakemake_is_a_whole_option(word, why):
    with pytest.raises(UsageError, match=re.escape(why)):
        cluster.check("local", [word])


@pytest.mark.parametrize(
    "words",
    [["--default-resources", "slurm_partition=gpu"], ["--verbose", "-pk"], ["--res", "gpu=1"],
     ["--latency-wait=5"], ["-w5"], ["--prioritize", "-1"], ["--slurm-qos=high"], ["-q", "all"]],
)  # fmt: skip
def test_whole_options_and_their_values_are_passed_on(words):
    cluster.check("local", words)
