"""Run one notebook with papermill, and publish the result only when every cell has run."""

from __future__ import annotations

import json
import logging
import os
import resource
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robustnb import unfinished
from robustnb.errors import RunError
from robustnb.provenance import NAMES_OR_SHOWS
from robustnb.reproduce import calibration, convert
from robustnb.reproduce import status as statuses
from robustnb.reproduce.files import move_folder, write_atomically
from robustnb.reproduce.keys import Run
from robustnb.reproduce.limits import USUAL, Limits
from robustnb.reproduce.liveness import watched
from robustnb.reproduce.profiles import Profile
from robustnb.reproduce.project import Project, run_environment
from robustnb.reproduce.status import Status

NOTEBOOK = "x.ipynb"
RECORD = "record.json"
_NO_LIMIT = 10**8  # seconds; `robustnb.reproduce.liveness` ends a run, no time-out of papermill
# Appended for the run and dropped from the result: which modules and data were really used.
_AUDIT = """
import json, sys
used = sorted(name for name in sys.modules if name.split(".")[0] == "robustnb")
data = sys.modules["robustnb.data"].loaded() if "robustnb.data" in sys.modules else []
print(json.dumps({"modules": used, "datasets": sorted(data)}))
"""


@dataclass(frozen=True)
class Usage:
    """What a run cost: CPU and wall seconds, peak resident memory of its largest process."""

    cpu_seconds: float
    wall_seconds: float
    peak_mb: float
    calibration_seconds: float  # of this machine just before, see robustnb.reproduce.calibration


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


def _literal(path: Path) -> str:
    """A path as papermill wants it, which formats it with the parameters."""
    return str(path).replace("{", "{{").replace("}", "}}")


def _papermill(
    notebook: Any, output: Path, run: Run, limits: Limits, status: Status, log: Path
) -> None:
    """Execute into `output`; RunError says which cell failed and why."""
    import papermill
    from traitlets.config import Config

    local_sockets = Config({"KernelManager": {"transport": "ipc"}})
    with watched(status, limits) as ended:
        try:
            papermill.execute_notebook(
                notebook,
                _literal(output),
                parameters=run.overrides,
                cwd=str(output.parent),
                progress_bar=False,
                log_output=True,
                autosave_cell_every=0,
                request_save_on_cell_execute=False,
                start_timeout=_NO_LIMIT,
                iopub_timeout=_NO_LIMIT,
                config=local_sockets,
            )
        except papermill.PapermillExecutionError as error:
            raise RunError(
                f"{run.name}: cell {error.cell_index} failed with {error.ename}: {error.evalue}\n"
                f"The log is {log}"
            ) from None
        except RuntimeError as error:  # of nbclient in a cell, of jupyter_client before the first
            if not (ended() or "ernel died" in str(error)):
                raise
            why = ended() or "lost its kernel (killed, or out of memory)"
            last = f"; its last progress: {status.note}" if status.note else ""
            raise RunError(f"{run.name} {why}{last}. The log is {log}") from None


def _audit_output(notebook: Any, run: Run) -> None:
    """Drop the audit cell; RunError if the run used what its key does not cover."""
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
        if json.dumps(str(root))[1:-1] in json.dumps(kept):
            raise RunError(
                f"{run.name}: a cell prints a path of this machine: {cell.source[:60]!r}"
            )
    notebook.metadata.pop("papermill", None)
    convert.number_cells(notebook)
    return warnings


def make_record(run: Run, notebook: Any, usage: Usage, warnings: list[str]) -> dict[str, Any]:
    """The run's record: all that the ledger needs of it, as JSON."""
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
        "cost": {
            "cpu_seconds": round(usage.cpu_seconds, 1),
            "wall_seconds": round(usage.wall_seconds, 1),
            "peak_mb": round(usage.peak_mb),
            "calibration_seconds": round(usage.calibration_seconds, 3),
            "reference_seconds": round(
                calibration.reference_seconds(usage.cpu_seconds, usage.calibration_seconds), 1
            ),
        },
        "warnings": warnings,
        "measurements": measurements_of(notebook),
    }


def execute(
    project: Project,
    run: Run,
    profile: Profile,
    *,
    limits: Limits = USUAL,
    fresh: bool = False,
    kernel: str = "python3",
) -> Path:
    """Run a notebook unless it has been, and return the folder of the finished run.

    The folder appears by one rename after every cell ran; a failed notebook is kept under
    `build/failed` for a look. Raises RunError when the run does not end well.
    """
    folder = run.folder(project.runs)
    if (folder / RECORD).is_file() and not fresh:
        return folder
    statuses.sweep(project)
    with unfinished.folder(project.work, f"{run.name}-{run.key}") as work:
        status = Status.start(project, run.name, work, budget=profile.reference_seconds)
        try:
            result = _execute(project, run, status, limits=limits, fresh=fresh, kernel=kernel)
            _publish(result, folder, fresh=fresh)
        except RunError:
            failed = project.build / "failed" / f"{run.name}.ipynb"
            failed.parent.mkdir(parents=True, exist_ok=True)
            for output in work.glob(f"*/{NOTEBOOK}"):
                shutil.move(output, failed)
            raise
        finally:
            status.end()
    return folder


def _execute(
    project: Project, run: Run, status: Status, *, limits: Limits, fresh: bool, kernel: str
) -> Path:
    """Run the notebook in a folder of the status's work folder and write its record beside it."""
    import nbformat

    log = project.build / "logs" / f"{run.name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.unlink(missing_ok=True)
    notebook = convert.convert(project.notebook(run.paper))
    status.set_cells(len(notebook.cells))
    notebook.cells.append(nbformat.v4.new_code_cell(_AUDIT))
    convert.number_cells(notebook)
    notebook.metadata.kernelspec.name = kernel
    environment = run_environment(project, {"ROBUSTNB_PROGRESS": str(status.note_file)})
    if fresh:
        environment["ROBUSTNB_FRESH"] = "1"
    output = status.work / "run" / NOTEBOOK
    output.parent.mkdir()
    with _environment(environment), _papermill_log(log, status):
        usage = _measured(
            lambda: _papermill(notebook, output, run, limits, status, log),
            calibration.measure(),
        )
    executed = nbformat.read(output, as_version=4)
    _audit_output(executed, run)
    warnings = _clean(executed, run, project.root)
    record = make_record(run, executed, usage, warnings)
    executed.metadata["robustnb"] = {
        **executed.metadata.get("robustnb", {}),
        "run": {name: value for name, value in record.items() if name != "measurements"},
    }
    write_atomically(output, nbformat.writes(executed))
    write_atomically(output.with_name(RECORD), json.dumps(record, indent=1, sort_keys=True) + "\n")
    return output.parent


def _measured(action: Callable[[], None], calibration_seconds: float) -> Usage:
    started, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    action()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    wall = time.monotonic() - started
    return Usage(cpu, wall, after.ru_maxrss / 1024, calibration_seconds)


def _publish(result: Path, folder: Path, *, fresh: bool) -> None:
    """Move a finished run to its place; an equal run that came first is kept."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    if fresh and folder.exists():
        shutil.rmtree(folder)
    try:
        move_folder(result, folder)
    except OSError:
        if not (folder / RECORD).is_file():
            raise
