"""Many runs at once: Snakemake schedules them; here are its lock, its orphans and its display."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from robustnb.errors import BusyError, RunError
from robustnb.reproduce import status
from robustnb.reproduce.execute import RECORD
from robustnb.reproduce.files import sweep_dead, sweep_partial, write_atomically
from robustnb.reproduce.keys import Run
from robustnb.reproduce.project import Project

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
            f"another robustnb command is working in {project.build}; wait for it, or end it"
        ) from None
    try:
        _end_orphans(project)
        yield
    finally:
        guard.release()


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


def _end_orphans(project: Project) -> None:
    """Kill what a dead batch left running, known by a token in its environment."""
    import psutil

    owner = _owner_file(project)
    if owner.is_file():
        token = json.loads(owner.read_text(encoding="utf-8"))["token"]
        left = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get(_TOKEN) == token:
                    process.kill()
                    left.append(process)
        psutil.wait_procs(left, timeout=_GRACE_SECONDS)
        owner.unlink()
    sweep_dead(project.build / "tmp")
    for folder in (project.build, project.records, project.root / "book" / "papers"):
        sweep_partial(folder)
    for file in (project.build / "status").glob("*.json"):
        with contextlib.suppress(OSError, json.JSONDecodeError):
            if not psutil.pid_exists(json.loads(file.read_text(encoding="utf-8"))["pid"]):
                file.unlink()


def _command(
    project: Project, targets: Sequence[Path], jobs: int, extra: Sequence[str]
) -> list[str]:
    return [
        sys.executable,
        "-m",
        "snakemake",
        "--snakefile",
        str(project.root / "Snakefile"),
        "--directory",
        str(project.build / "snakemake"),
        "--cores",
        str(jobs),
        "--keep-going",
        "--rerun-incomplete",
        "--rerun-triggers",
        "mtime",
        "--nolock",
        "--latency-wait",
        "15",
        *extra,
        "--",
        *map(str, targets),
    ]


def _environment(project: Project, token: str, fresh: bool) -> dict[str, str]:
    scripts = str(Path(sys.executable).parent)
    environment = {
        **os.environ,
        _TOKEN: token,
        "PATH": scripts + os.pathsep + os.environ.get("PATH", ""),
        "ROBUSTNB_ROOT": str(project.root),
        "ROBUSTNB_BUILD": str(project.build),
    }
    if fresh:
        environment["ROBUSTNB_FRESH"] = "1"
    return environment


def run_all(
    project: Project,
    runs: Sequence[Run],
    *,
    jobs: int,
    fresh: bool = False,
    extra: Sequence[str] = (),
    report: Report,
) -> None:
    """Bring every run of `runs` to its end, `jobs` at a time; the caller holds `lock`.

    Runs that are there already are left alone (`fresh`: done again). A failure ends only its own
    run; RunError at the end names every run that failed and shows the end of its log.
    """
    folders = {run.name: run.folder(project.runs) for run in runs}
    if fresh:
        for folder in folders.values():
            shutil.rmtree(folder, ignore_errors=True)
    missing = {n: f for n, f in folders.items() if not (f / RECORD).is_file()}
    for folder in missing.values():
        shutil.rmtree(folder, ignore_errors=True)
    report(
        f"{len(runs) - len(missing)} of {len(runs)} notebook runs are there, {len(missing)} to do"
    )
    if not missing:
        return
    log = project.build / "logs" / "snakemake.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    token = uuid.uuid4().hex
    write_atomically(_owner_file(project), json.dumps({"token": token}))
    with log.open("w", encoding="utf-8") as stream:
        process = subprocess.Popen(
            _command(project, [folder / RECORD for folder in missing.values()], jobs, extra),
            env=_environment(project, token, fresh),
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            _watch(project, process, missing, report)
        except BaseException:
            _stop(process)
            raise
        finally:
            _end_orphans(project)
    failed = [name for name, folder in missing.items() if not (folder / RECORD).is_file()]
    if failed:
        raise RunError("\n".join(_failure(project, name, log) for name in failed))


def _watch(
    project: Project, process: subprocess.Popen[bytes], missing: dict[str, Path], report: Report
) -> None:
    terminal = sys.stderr.isatty()
    told: set[str] = set()
    started = last = time.monotonic()
    while process.poll() is None:
        time.sleep(_POLL_SECONDS)
        done = {name for name, folder in missing.items() if (folder / RECORD).is_file()}
        now = time.monotonic()
        for name in sorted(done - told):
            report(
                f"notebook {len(told) + 1} of {len(missing)} done: {name}, {now - started:.0f} s"
            )
            told.add(name)
            last = now
        lines = status.lines(project)
        if terminal and lines:
            sys.stderr.write(f"\r[{len(done)}/{len(missing)}] {' | '.join(lines)}"[:180] + "\x1b[K")
            sys.stderr.flush()
        elif lines and now - last >= _LINE_EVERY_SECONDS:
            last = now
            for line in lines:
                report(f"  {line}")
    if terminal:
        sys.stderr.write("\r\x1b[K")
    done = {name for name, folder in missing.items() if (folder / RECORD).is_file()}
    for name in sorted(done - told):
        report(f"notebook {len(told) + 1} of {len(missing)} done: {name}")
        told.add(name)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End a batch as Ctrl-C in its own terminal would, then for good."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(_GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _failure(project: Project, name: str, batch_log: Path) -> str:
    error = project.build / "failed" / f"{name}.txt"
    if error.is_file():
        return error.read_text(encoding="utf-8").strip()
    tail = batch_log.read_text(encoding="utf-8").splitlines()[-_TAIL_LINES:]
    return f"{name} did not run; the end of {batch_log}:\n" + "\n".join(tail)
