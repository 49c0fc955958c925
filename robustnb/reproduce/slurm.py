"""What Slurm says of a batch's jobs: queued, running, ended, their logs, and how to cancel them."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from robustnb.errors import RunError
from robustnb.reproduce.keys import RunSpec

_QUEUED = frozenset({"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED"})
_RUNNING = frozenset({"RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "RESIZING", "STAGE_OUT"})
_GONE = "GONE"  # our word for a job that Slurm has forgotten
_ANSWER_SECONDS = 60.0
_ASK_EVERY_SECONDS = 10.0
_REPEAT_SECONDS = 60.0
_SILENT_SECONDS = 1800.0  # then a batch stops waiting for a Slurm that does not answer
# A batch ends though Snakemake waits for jobs that have ended: after so long, after a silence of
# Slurm (in which the plugin forgets its jobs), and when every run is there.
_UNNOTICED_SECONDS = 600.0
_FORGOTTEN_SECONDS = 60.0
_SETTLE_SECONDS = 30.0
_CANCEL_SECONDS = 90.0
# Snakemake looks at least this often, so Slurm must remember an ended job for longer.
_LONGEST_CHECK_SECONDS = 180
_LOG_LINES = 20

Report = Callable[[str], None]


class SlurmError(RunError):
    """Slurm did not answer, or did not do what it was asked."""


@dataclass(frozen=True)
class Job:
    """One job: its number, Slurm's word for its state, the run it is for, and why it waits."""

    number: str
    state: str
    tag: str
    reason: str

    @property
    def queued(self) -> bool:
        """Whether the job waits for its turn."""
        return self.state in _QUEUED

    @property
    def alive(self) -> bool:
        """Whether the job waits or runs."""
        return self.queued or self.state in _RUNNING

    @property
    def failed(self) -> bool:
        """Whether Slurm says that the job did not end well."""
        return not self.alive and self.state not in ("COMPLETED", _GONE)


def _ask(*words: str) -> str:
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, timeout=_ANSWER_SECONDS, check=False
        )
    except FileNotFoundError:
        raise SlurmError(f"there is no {words[0]} on this machine's PATH") from None
    except subprocess.TimeoutExpired:
        raise SlurmError(f"{words[0]} has not answered for {_ANSWER_SECONDS:.0f} s") from None
    if done.returncode:
        said = " ".join(done.stderr.split()) or f"exit code {done.returncode}"
        raise SlurmError(f"{words[0]}: {said}")
    return done.stdout


def status_command() -> str:
    """The command by which Snakemake should ask for its jobs: one that answers for ended jobs.

    That is `squeue` where the controller remembers ended jobs for long enough, as it does by
    default, else `sacct`. Raises SlurmError when neither would tell of a failed job, or when Slurm
    does not answer.
    """
    found = re.search(r"^MinJobAge\s*=\s*(\d+)", _ask("scontrol", "show", "config"), re.MULTILINE)
    remembered = int(found.group(1)) if found else 0
    if remembered > _LONGEST_CHECK_SECONDS:
        return "squeue"
    try:
        _ask("sacct", "-X", "--noheader", "--format=JobIdRaw")
    except SlurmError as error:
        raise SlurmError(
            f"Slurm forgets ended jobs after {remembered} s (MinJobAge) and keeps no accounts "
            f"({error}), so a failed job would go unnoticed; ask for a MinJobAge above "
            f"{_LONGEST_CHECK_SECONDS}, or for accounting"
        ) from None
    return "sacct"


def queue(batch: str) -> list[Job]:
    """The jobs of a batch, those included that ended not long ago.

    `batch` is the prefix of their names. Raises SlurmError when Slurm does not answer.
    """
    listing = _ask("squeue", "--me", "--states=all", "--noheader", "--format=%i|%T|%j|%k|%r")
    rows = [line.split("|", 4) for line in listing.splitlines() if line.count("|") >= 4]
    return [
        Job(number, state, comment.rpartition("_wildcards_")[2], reason)
        for number, state, name, comment, reason in rows
        if name.startswith(batch)
    ]


def cancel(batch: str) -> int:
    """Cancel the jobs of a batch, wait until the last has ended, and return how many there were.

    Raises SlurmError when Slurm does not answer or a job does not end.
    """
    jobs = [job.number for job in queue(batch) if job.alive]
    if not jobs:
        return 0
    _ask("scancel", *jobs)
    started = time.monotonic()
    while left := [job.number for job in queue(batch) if job.alive]:
        if time.monotonic() - started > _CANCEL_SECONDS:
            raise SlurmError(f"cancelled, but not ended yet: jobs {', '.join(left)}")
        time.sleep(1)
    return len(jobs)


def tag(run: RunSpec) -> str:
    """How the plugin's comment on a job names its run: the values of the rule's wildcards."""
    return f"{run.profile}_{run.paper}_{run.seed}_{run.key}"


class Follower:
    """Follows the jobs of one batch, and says when there is nothing left to wait for."""

    def __init__(self, batch: str, logs: Path, names: Mapping[str, str], report: Report) -> None:
        """Follow `batch`, whose job logs go below `logs`; `names` has a run's name for each tag."""
        self._batch, self._logs, self._names, self._report = batch, logs, names, report
        self._jobs: dict[str, Job] = {}
        self._line = ""
        self._answered = self._moved = time.monotonic()
        self._asked = float("-inf")
        self._complained: float | None = None
        self.cut_off = False  # whether Snakemake may have lost sight of jobs

    def look(self, done: int) -> bool:
        """Ask Slurm now and then, and report what changed; False when waiting makes no sense.

        `done` counts the runs that are there. Raises SlurmError when Slurm is silent for too long.
        """
        if time.monotonic() - self._asked < _ASK_EVERY_SECONDS:
            return True
        try:
            jobs = queue(self._batch)
        except SlurmError as error:
            self._silent(error)
        else:
            if self._complained is not None:
                self._report("Slurm answers again")
            self._answered, self._complained = time.monotonic(), None
            self._update({job.number: job for job in jobs})
        self._asked = time.monotonic()
        return self._tell(done)

    def _update(self, jobs: dict[str, Job]) -> None:
        for number in self._jobs.keys() - jobs.keys():
            old = self._jobs[number]
            jobs[number] = Job(number, _GONE, old.tag, "") if old.alive else old
        for job in jobs.values():
            before = self._jobs.get(job.number)
            if job.failed and (before is None or before.alive):
                self._report(f"{self._names.get(job.tag, job.tag)}: {self._described(job)}")
        self._jobs = jobs

    def _silent(self, error: SlurmError) -> None:
        now = time.monotonic()
        silent = now - self._answered
        if silent > _SILENT_SECONDS:
            raise SlurmError(
                f"Slurm has not answered for {silent / 60:.0f} minutes ({error}); once it does, "
                "the same command cancels what is left there and goes on"
            )
        if self._complained is None or now - self._complained > _REPEAT_SECONDS:
            self._complained, self.cut_off = now, True
            self._report(
                f"Slurm does not answer ({error}); jobs that run go on, and this command waits "
                f"for up to {_SILENT_SECONDS / 60:.0f} minutes"
            )

    def _tell(self, done: int) -> bool:
        alive = [job for job in self._jobs.values() if job.alive]
        waiting = [job for job in alive if job.queued]
        reason = f" ({waiting[0].reason})" if waiting else ""
        running, total = len(alive) - len(waiting), len(self._names)
        failed = sum(job.failed for job in self._jobs.values())
        line = f"Slurm: {len(waiting)} queued{reason}, {running} running; {done} of {total} done"
        line += f", {failed} failed" if failed else ""
        if line != self._line:
            self._line, self._moved = line, time.monotonic()
            self._report(line)
        silent = self._complained is not None
        if done == total:  # a job that is cancelled in its last moment would take its run with it
            return (bool(alive) and not silent) or self._still() < _SETTLE_SECONDS
        if alive or silent or not self._jobs:
            return True
        patience = _FORGOTTEN_SECONDS if self.cut_off else _UNNOTICED_SECONDS
        self.cut_off = self.cut_off or self._still() >= patience
        return self._still() < patience

    def _still(self) -> float:
        return time.monotonic() - self._moved

    def failed(self, name: str) -> bool:
        """Whether Slurm says that a job of a run failed."""
        return any(job.failed and self._names.get(job.tag) == name for job in self._jobs.values())

    def _log(self, job: Job) -> Path:
        return self._logs / "rule_run" / job.tag / f"{job.number}.log"

    def _described(self, job: Job) -> str:
        return f"Slurm job {job.number} is {job.state}; its log is {self._log(job)}"

    def last_words(self, name: str) -> list[str]:
        """State and log of the last job of a run, and the end of that log; nothing without one."""
        jobs = [job for job in self._jobs.values() if self._names.get(job.tag) == name]
        if not jobs:
            return []
        job = max(jobs, key=lambda job: int(re.sub(r"\D.*", "", job.number)))
        try:
            lines = self._log(job).read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            lines = []
        return [self._described(job), *(f"  {line}" for line in lines[-_LOG_LINES:])]
