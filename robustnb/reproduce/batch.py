"""Many runs at once: Snakemake schedules them; here are its lock, its orphans and its display."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from robustnb import unfinished
from robustnb.errors import BusyError, RunError
from robustnb.reproduce import cluster, disk, status
from robustnb.reproduce.atomic import recover, write_atomically
from robustnb.reproduce.finished import RECORD, forget_damaged
from robustnb.reproduce.keys import RunSpec
from robustnb.reproduce.limits import USUAL, Limits
from robustnb.reproduce.project import Project
from robustnb.reproduce.slurm import Follower, SlurmError

_TOKEN = "ROBUSTNB_BATCH"
_POLL_SECONDS = 0.5
_LINE_EVERY_SECONDS = 20.0
_GRACE_SECONDS = 20.0
_TAIL_LINES = 12

Report = Callable[[str], None]


@contextmanager
def lock(project: Project) -> Iterator[None]:
    """Hold the checkout for a batch or a build; BusyError when another command holds it.

    The lock is the operating system's, so it goes with the process that held it. Whatever a dead
    holder left running is ended before the block starts.
    """
    import filelock

    project.build.mkdir(parents=True, exist_ok=True)
    guard = filelock.FileLock(project.build / "lock")
    try:
        guard.acquire(timeout=0)
    except filelock.Timeout:
        raise BusyError(
            f"another robustnb command is working in {project.build}{_holder(project)}; "
            "wait for it, or end it"
        ) from None
    try:
        write_atomically(_holder_file(project), json.dumps(_this_command()))
        _end_orphans(project)
        yield
    finally:
        _holder_file(project).unlink(missing_ok=True)
        guard.release()


def _holder_file(project: Project) -> Path:
    return project.build / "holder.json"


def _this_command() -> dict[str, str | int]:
    words = [Path(sys.argv[0]).name, *sys.argv[1:]]
    return {"host": socket.gethostname(), "pid": os.getpid(), "command": shlex.join(words)}


def _holder(project: Project) -> str:
    """Which command holds the lock, as far as it has said so."""
    try:
        held = json.loads(_holder_file(project).read_text(encoding="utf-8"))
        return f": `{held['command']}`, process {held['pid']} on {held['host']}"
    except (OSError, ValueError, KeyError, TypeError):
        return ""


@contextmanager
def owned(project: Project) -> Iterator[dict[str, str]]:
    """Environment of processes that are ended with this block, or by the next `lock` if it died.

    The caller holds `lock`.
    """
    token = uuid.uuid4().hex
    write_atomically(_owner_file(project), json.dumps({"token": token}))
    try:
        yield {_TOKEN: token}
    finally:
        _end_orphans(project)


def _owner_file(project: Project) -> Path:
    return project.build / "batch.json"


def _end_orphans(project: Project) -> int:
    """End what a dead batch left: its jobs on a cluster, and its processes here.

    A process is known by a token in its environment, a job by the same token in its name. Returns
    the number of jobs; BusyError when they cannot be cancelled.
    """
    import psutil

    owner, left = _owner_file(project), []
    left_by = _left_by(owner)
    token = left_by["token"]
    for process in psutil.process_iter() if token else ():
        with contextlib.suppress(psutil.Error):
            if process.pid != os.getpid() and process.environ().get(_TOKEN) == token:
                process.kill()
                left.append(process)
    psutil.wait_procs(left, timeout=_GRACE_SECONDS)
    cancelled = _cancel_jobs(owner, left_by) if token else 0
    owner.unlink(missing_ok=True)
    for folder in (project.build, project.records, project.root / "book" / "papers"):
        unfinished.sweep(folder, below=True)
    status.sweep(project)
    return cancelled


def _cancel_jobs(owner: Path, left_by: dict[str, str]) -> int:
    try:
        return cluster.Batch(left_by["executor"], left_by["token"]).cancel()
    except SlurmError as error:
        raise BusyError(
            f"jobs of this checkout may still run on the cluster ({error}); say the same "
            f"command again once it answers, or, with no job left there, remove {owner}"
        ) from None


def _left_by(owner: Path) -> dict[str, str]:
    """Token and executor of the batch that wrote `owner`; the token is empty if there is none."""
    try:
        found = json.loads(owner.read_text(encoding="utf-8"))
        token, executor = found["token"], found.get("executor", cluster.LOCAL)
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        token, executor = "", cluster.LOCAL
    return {"token": token if isinstance(token, str) else "", "executor": str(executor)}


def _directory(project: Project) -> Path:
    return project.build / "snakemake"


def _command(
    project: Project,
    targets: Sequence[Path],
    jobs: int,
    limits: Limits,
    fresh: bool,
    extra: Sequence[str],
) -> list[str]:
    return [
        sys.executable,
        "-P",
        "-m",
        "snakemake",
        "--snakefile",
        str(project.root / "Snakefile"),
        "--directory",
        str(_directory(project)),
        "--cores",
        str(jobs),
        "--keep-going",
        "--rerun-incomplete",
        "--rerun-triggers",
        "mtime",
        "--nolock",
        "--latency-wait",
        "120",
        "--config",
        *_limit_words(limits),
        *(["fresh=1"] if fresh else []),
        *extra,
        "--",
        *(os.path.relpath(target, _directory(project)) for target in targets),
    ]


def _limit_words(limits: Limits) -> list[str]:
    total = [] if limits.total is None else [f"timeout={limits.total:g}"]
    return [f"silence={limits.silence:g}", *total]


def _environment(project: Project, batch: cluster.Batch, fresh: bool) -> dict[str, str]:
    first = [*batch.programs(project), str(Path(sys.executable).parent)]
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith("SNAKEMAKE_")},
        _TOKEN: batch.token,
        "PATH": os.pathsep.join([*first, os.environ.get("PATH", "")]),
        "ROBUSTNB_ROOT": str(project.root),
        "ROBUSTNB_BUILD": str(project.build),
    }
    if fresh:
        environment["ROBUSTNB_FRESH"] = "1"
    if not disk.writable(Path(environment.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"))):
        from robustnb.data import cache

        environment["ROBUSTNB_DATA"] = str(cache.root())
        environment["XDG_CACHE_HOME"] = str(project.build / "cache")  # Snakemake needs one
    return environment


def _target(project: Project, run: RunSpec, fresh: bool) -> Path:
    """The file by which Snakemake knows that a run is done."""
    marks = _directory(project) / "fresh"
    return run.folder(marks) / "done" if fresh else run.folder(project.runs) / RECORD


def run_all(
    project: Project,
    runs: Sequence[RunSpec],
    *,
    jobs: int,
    limits: Limits = USUAL,
    fresh: bool = False,
    executor: str = cluster.LOCAL,
    extra: Sequence[str] = (),
    report: Report,
) -> None:
    """Bring every run of `runs` to its end, `jobs` at a time; the caller holds `lock`.

    Runs that are there already are left alone (`fresh`: done again, and an old one stays until the
    new one takes its place). `executor` is the Snakemake
    executor that the runs are sent to. A failure ends only its own run; RunError at the end names
    every run that failed and shows the end of its log.
    """
    targets = {run.name: _target(project, run, fresh) for run in runs}
    for run in runs:
        if fresh:
            targets[run.name].unlink(missing_ok=True)
        recover(run.folder(project.runs))
        if not fresh and forget_damaged(run, project.runs):
            report(f"{run.name} is damaged, and is run again")
    missing = {name for name, target in targets.items() if not target.is_file()}
    for name in missing:
        _error_file(project, name).unlink(missing_ok=True)
    report(
        f"{len(runs) - len(missing)} of {len(runs)} notebook runs are there, {len(missing)} to do"
    )
    if not missing:
        return
    todo, failures = [run for run in runs if run.name in missing], []
    while todo:
        batch = cluster.Batch(executor, uuid.uuid4().hex)
        words = [*batch.options(project, jobs), *extra]
        follower = _run_snakemake(
            project, todo, batch, jobs, words, limits=limits, fresh=fresh, report=report
        )
        left = [run for run in todo if not targets[run.name].is_file()]
        again = _lost(project, left, follower) if len(left) < len(todo) else []
        failures += [_failure(project, run.name, follower) for run in left if run not in again]
        if again:
            report(f"{len(again)} runs that were lost sight of are sent again")
        todo = again
    if failures:
        raise RunError("\n".join(failures))


def _lost(project: Project, left: Sequence[RunSpec], follower: Follower | None) -> list[RunSpec]:
    """The runs that neither ended nor failed because Slurm was out of reach for a while."""
    if follower is None or not follower.cut_off or _owner_file(project).exists():
        return []
    return [run for run in left if not follower.failed(run.name)]


def _run_snakemake(
    project: Project,
    runs: Sequence[RunSpec],
    batch: cluster.Batch,
    jobs: int,
    words: Sequence[str],
    *,
    limits: Limits,
    fresh: bool,
    report: Report,
) -> Follower | None:
    """Run one Snakemake to its end, and return what has followed its jobs on a cluster."""
    follower = batch.follower(project, runs, report)
    write_atomically(_owner_file(project), json.dumps(asdict(batch)))
    targets = {run.name: _target(project, run, fresh) for run in runs}
    log = _snakemake_log(project)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w", encoding="utf-8") as stream:
        process = subprocess.Popen(
            _command(project, list(targets.values()), jobs, limits, fresh, words),
            env=_environment(project, batch, fresh),
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            _watch(project, process, targets, follower, report)
        finally:
            _stop(process, batch.stop_signal)
            _end_batch(project, report)
    return follower


def _end_batch(project: Project, report: Report) -> None:
    try:
        if cancelled := _end_orphans(project):
            report(f"cancelled {cancelled} jobs on the cluster")
    except BusyError as error:
        report(str(error))


def _watch(
    project: Project,
    process: subprocess.Popen[bytes],
    targets: dict[str, Path],
    follower: Follower | None,
    report: Report,
) -> None:
    terminal = sys.stderr.isatty()
    told: set[str] = set()
    started = last = time.monotonic()
    while process.poll() is None:
        time.sleep(_POLL_SECONDS)
        done = {name for name, target in targets.items() if target.is_file()}
        now = time.monotonic()
        for name in sorted(done - told):
            report(
                f"notebook {len(told) + 1} of {len(targets)} done: {name}, {now - started:.0f} s"
            )
            told.add(name)
            last = now
        if follower is not None and not follower.look(len(done)):
            break
        lines = status.lines(project)
        if terminal and lines:
            sys.stderr.write(f"\r[{len(done)}/{len(targets)}] {' | '.join(lines)}"[:180] + "\x1b[K")
            sys.stderr.flush()
        elif lines and now - last >= _LINE_EVERY_SECONDS:
            last = now
            for line in lines:
                report(f"  {line}")
    if terminal:
        sys.stderr.write("\r\x1b[K")
    done = {name for name, target in targets.items() if target.is_file()}
    for name in sorted(done - told):
        report(f"notebook {len(told) + 1} of {len(targets)} done: {name}")
        told.add(name)


def _stop(process: subprocess.Popen[bytes], first: signal.Signals) -> None:
    """End a batch that still runs as Ctrl-C in its own terminal would, then for good."""
    if process.poll() is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, first)
    try:
        process.wait(_GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _snakemake_log(project: Project) -> Path:
    return project.build / "logs" / "snakemake.log"


def _error_file(project: Project, name: str) -> Path:
    return project.build / "failed" / f"{name}.txt"


def _failure(project: Project, name: str, follower: Follower | None) -> str:
    error = _error_file(project, name)
    job = [] if follower is None else follower.last_words(name)
    if error.is_file():
        return "\n".join([error.read_text(encoding="utf-8").strip(), *job[:1]])
    full = disk.trouble(project)
    if full:
        return f"{name} did not run: {full}"
    if job:
        return "\n".join([f"{name} did not run to its end.", *job])
    log = _snakemake_log(project)
    tail = log.read_text(encoding="utf-8").splitlines()[-_TAIL_LINES:]
    return f"{name} did not run; the end of {log}:\n" + "\n".join(tail)
