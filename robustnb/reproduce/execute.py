"""Run one notebook with papermill, and publish the result only when every cell has run."""

from __future__ import annotations

import json
import logging
import os
import resource
import shutil
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from robustnb.errors import RunError
from robustnb.provenance import NAMES_OR_SHOWS
from robustnb.reproduce import convert
from robustnb.reproduce.files import sweep_dead, write_atomically
from robustnb.reproduce.keys import Run
from robustnb.reproduce.machine import processor
from robustnb.reproduce.profiles import Profile
from robustnb.reproduce.project import Project, run_environment
from robustnb.reproduce.status import Status

NOTEBOOK = "x.ipynb"
RECORD = "record.json"
_START_SECONDS = 120
# Appended for the run and dropped from the result: which modules, data and card were really used.
_AUDIT = """
import json, sys
used = sorted(name for name in sys.modules if name.split(".")[0] == "robustnb")
data = sys.modules["robustnb.data"].loaded() if "robustnb.data" in sys.modules else []
torch = sys.modules.get("torch")
card = torch.cuda.get_device_name() if torch and torch.cuda.is_initialized() else ""
print(json.dumps({"modules": used, "datasets": sorted(data), "card": card}))
"""


@dataclass(frozen=True)
class Usage:
    """What a run cost: CPU and wall seconds, peak resident memory of its largest process."""

    cpu_seconds: float
    wall_seconds: float
    peak_mb: float


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def _deadline(seconds: float) -> Iterator[threading.Event]:
    """End every child process after `seconds`: a cell's own time-out does not bound their sum."""
    import psutil

    expired = threading.Event()

    def end() -> None:
        expired.set()
        for child in psutil.Process().children(recursive=True):
            child.kill()

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield expired
    finally:
        timer.cancel()


@contextmanager
def _papermill_log(path: Path, status: Status) -> Iterator[None]:
    class CellCounter(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.getMessage().startswith("Executing Cell"):
                status.next_cell()

    logger = logging.getLogger("papermill")
    handlers: list[logging.Handler] = [logging.FileHandler(path), CellCounter()]
    level, propagate = logger.level, logger.propagate
    logger.setLevel(logging.INFO)
    logger.propagate = False
    for handler in handlers:
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        logger.addHandler(handler)
    try:
        yield
    finally:
        for handler in handlers:
            logger.removeHandler(handler)
            handler.close()
        logger.setLevel(level)
        logger.propagate = propagate


def _papermill(notebook: Any, output: Path, run: Run, profile: Profile, log: Path) -> None:
    """Execute into `output`; RunError says which cell failed and why."""
    import papermill
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from traitlets.config import Config

    local_sockets = Config({"KernelManager": {"transport": "ipc"}})
    with _deadline(profile.timeout) as expired:
        try:
            papermill.execute_notebook(
                notebook,
                str(output),
                parameters=run.overrides,
                cwd=str(output.parent),
                progress_bar=False,
                log_output=True,
                autosave_cell_every=0,
                request_save_on_cell_execute=False,
                start_timeout=_START_SECONDS,
                execution_timeout=int(profile.timeout),
                config=local_sockets,
            )
        except papermill.PapermillExecutionError as error:
            raise RunError(
                f"{run.name}: cell {error.cell_index} failed with {error.ename}: {error.evalue}\n"
                f"The log is {log}"
            ) from None
        except (DeadKernelError, CellTimeoutError) as error:
            timed_out = expired.is_set() or isinstance(error, CellTimeoutError)
            why = (
                f"ran past {profile.timeout:.0f} s, five times the budget of {profile.name}"
                if timed_out
                else "lost its kernel (killed, or out of memory)"
            )
            raise RunError(f"{run.name} {why}. The log is {log}") from None


def _audit_output(notebook: Any, run: Run) -> str:
    """Drop the audit cell and return the graphics card's name, empty if the run used none.

    Raises RunError if the run used what its key does not cover.
    """
    cell = notebook.cells.pop()
    used = json.loads("".join(output.get("text", "") for output in cell.outputs))
    outside = sorted(set(used["modules"]) - set(run.closure) - NAMES_OR_SHOWS)
    if outside:
        raise RunError(
            f"{run.name} loaded {', '.join(outside)}, which its key does not cover; "
            "import these by a plain import statement"
        )
    undeclared = sorted(set(used["datasets"]) - set(run.data))
    if undeclared:
        raise RunError(
            f"{run.name} loaded {', '.join(undeclared)}; name the parameter that chooses it under "
            "`robustnb: datasets:` in the notebook's header"
        )
    return str(used["card"])


def _clean(notebook: Any, run: Run, root: Path) -> list[str]:
    """Take out of the outputs what differs between equal runs; return what went to stderr.

    Raises RunError for a cell that did not run, failed, or printed a path of this machine.
    """
    warnings: list[str] = []
    for cell in notebook.cells:
        for name in ("papermill", "execution"):
            cell.metadata.pop(name, None)
        if cell.cell_type != "code":
            continue
        if cell.source.strip() and cell.execution_count is None:
            raise RunError(f"{run.name}: a cell was not run: {cell.source[:60]!r}")
        kept = []
        for output in cell.outputs:
            if output.output_type == "error":
                raise RunError(f"{run.name}: {output.ename}: {output.evalue}")
            if output.output_type == "stream" and output.name == "stderr":
                warnings.append(output.text)
            else:
                kept.append(output)
        cell.outputs = kept
        if str(root) in json.dumps(kept):
            raise RunError(
                f"{run.name}: a cell prints a path of this machine: {cell.source[:60]!r}"
            )
    notebook.metadata.pop("papermill", None)
    convert.number_cells(notebook)
    return warnings


def make_record(
    run: Run, notebook: Any, usage: Usage, warnings: list[str], *, card: str = ""
) -> dict[str, Any]:
    """The run's record: all that the ledger needs of it, as JSON; `card` is the graphics card."""
    from robustnb.lesson.measurement import measurements_of

    return {
        "schema": 1,
        "paper": run.paper,
        "profile": run.profile,
        "seed": run.seed,
        "custom": run.custom,
        "key": run.key,
        "source": run.source,
        "closure": run.closure,
        "data": run.data,
        "parameters": run.overrides,
        "versions": run.versions,
        "device": run.device,
        "made": datetime.now(UTC).date().isoformat(),
        "processor": ", ".join(name for name in (card, processor()) if name),
        "cost": {
            "cpu_seconds": round(usage.cpu_seconds, 1),
            "wall_seconds": round(usage.wall_seconds, 1),
            "peak_mb": round(usage.peak_mb),
        },
        "warnings": warnings,
        "measurements": measurements_of(notebook),
    }


def execute(
    project: Project, run: Run, profile: Profile, *, fresh: bool = False, kernel: str = "python3"
) -> Path:
    """Run a notebook unless it has been, and return the folder of the finished run.

    The folder appears by one rename after every cell ran; a failed notebook is kept under
    `build/failed` for a look. Raises RunError when the run does not end well.
    """
    import nbformat

    folder = run.folder(project.runs)
    if (folder / RECORD).is_file() and not fresh:
        return folder
    work_root = project.build / "tmp"
    sweep_dead(work_root)
    work = work_root / f"{run.name}-{run.key}.{os.getpid()}"
    work.mkdir(parents=True, exist_ok=True)
    log = project.build / "logs" / f"{run.name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.unlink(missing_ok=True)
    notebook = convert.convert(project.notebook(run.paper))
    status = Status.start(project, run.name, cells=len(notebook.cells))
    notebook.cells.append(nbformat.v4.new_code_cell(_AUDIT))
    convert.number_cells(notebook)
    notebook.metadata.kernelspec.name = kernel
    environment = run_environment(project, {"ROBUSTNB_PROGRESS": str(status.note_file)})
    if fresh:
        environment["ROBUSTNB_FRESH"] = "1"
    output = work / NOTEBOOK
    try:
        with _environment(environment), _papermill_log(log, status):
            usage = _measured(lambda: _papermill(notebook, output, run, profile, log))
        executed = nbformat.read(output, as_version=4)
        card = _audit_output(executed, run)
        warnings = _clean(executed, run, project.root)
        record = make_record(run, executed, usage, warnings, card=card)
        executed.metadata["robustnb"] = {
            **executed.metadata.get("robustnb", {}),
            "run": {name: value for name, value in record.items() if name != "measurements"},
        }
        write_atomically(output, nbformat.writes(executed))
        write_atomically(work / RECORD, json.dumps(record, indent=1, sort_keys=True) + "\n")
        _publish(work, folder, fresh=fresh)
    except RunError:
        failed = project.build / "failed" / f"{run.name}.ipynb"
        failed.parent.mkdir(parents=True, exist_ok=True)
        if output.exists():
            os.replace(output, failed)
        raise
    finally:
        status.end()
        shutil.rmtree(work, ignore_errors=True)
    return folder


def _measured(action: Any) -> Usage:
    started, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    action()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Usage(cpu, time.monotonic() - started, after.ru_maxrss / 1024)


def _publish(work: Path, folder: Path, *, fresh: bool) -> None:
    """Move a finished run to its place; an equal run that came first is kept."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    if fresh and folder.exists():
        shutil.rmtree(folder)
    try:
        os.rename(work, folder)
    except OSError:
        if not (folder / RECORD).is_file():
            raise
