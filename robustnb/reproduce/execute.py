"""Run one notebook with papermill, and publish the result only when every cell has run."""

from __future__ import annotations

import errno
import json
import logging
import resource
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from robustnb import unfinished
from robustnb.errors import RunError
from robustnb.provenance import NAMES_OR_SHOWS
from robustnb.reproduce import calibration, cells, convert, history
from robustnb.reproduce import status as statuses
from robustnb.reproduce.atomic import move_folder, recover, replace_folder, write_atomically
from robustnb.reproduce.constants import shorten
from robustnb.reproduce.course import AUDIT_SOURCE, Course, facts_of
from robustnb.reproduce.finished import NOTEBOOK, RECORD, is_finished
from robustnb.reproduce.kernel import manager_class, tidily
from robustnb.reproduce.keys import RunSpec
from robustnb.reproduce.limits import USUAL, Limits
from robustnb.reproduce.liveness import watched
from robustnb.reproduce.machine import processor
from robustnb.reproduce.paths import MachinePaths, shown_texts
from robustnb.reproduce.profiles import Profile
from robustnb.reproduce.project import Project, run_environment
from robustnb.reproduce.status import Status

_NO_LIMIT = 10**8  # seconds; `robustnb.reproduce.liveness` ends a run, no time-out of papermill
_REASON = 300  # characters of an error that a message repeats; the notebook has all


@dataclass(frozen=True)
class Usage:
    """What a run cost: CPU and wall seconds, peak resident memory of its largest process."""

    cpu_seconds: float
    wall_seconds: float
    peak_mb: float
    calibration_seconds: float  # of this machine just before, see robustnb.reproduce.calibration


@contextmanager
def _papermill_log(path: Path, status: Status) -> Iterator[None]:
    class CellCounter(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.getMessage().startswith("Executing Cell"):
                status.next_cell()

    logger = logging.getLogger("papermill")
    handlers: list[logging.Handler] = [
        logging.FileHandler(path, encoding="utf-8", errors="backslashreplace"),
        CellCounter(),
    ]
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
    notebook: Any,
    output: Path,
    run: RunSpec,
    limits: Limits,
    status: Status,
    log: Path,
    kernel: type[Any],
    course: Course,
) -> None:
    """Execute into `output`; RunError says which cell failed and why."""
    import nbformat
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
                kernel_manager_class=kernel,
                on_notebook_start=course.begins,
                on_cell_start=course.reaches,
            )
        except papermill.PapermillExecutionError as error:
            raise RunError(
                f"{run.name} failed {course.place()} with {error.ename}: "
                f"{shorten(error.evalue, _REASON)}\nThe log is {log}"
            ) from None
        except (nbformat.ValidationError, OSError) as error:  # outputs that no notebook can hold
            raise RunError(
                f"{run.name} failed {course.place()}: {shorten(error, _REASON)}. The log is {log}"
            ) from None
        except RuntimeError as error:  # of nbclient in a cell, of jupyter_client before the first
            if not (ended() or "ernel died" in str(error)):
                raise
            why = ended() or "lost its kernel (killed, or out of memory)"
            last = f"; its last progress: {status.note}" if status.note else ""
            raise RunError(
                f"{run.name} failed {course.place()}: it {why}{last}. The log is {log}"
            ) from None


def _check_audit(facts: Mapping[str, Any], run: RunSpec) -> None:
    """RunError if the run used what its key does not cover."""
    outside = sorted(set(facts["modules"]) - set(run.closure) - NAMES_OR_SHOWS)
    if outside:
        raise RunError(
            f"{run.name} loaded {', '.join(outside)}, which its key does not cover; "
            "import these by a plain import statement"
        )
    undeclared = sorted(set(facts["datasets"]) - set(run.data))
    if undeclared:
        raise RunError(
            f"{run.name} loaded {', '.join(undeclared)}; name the parameter that chooses it under "
            "`robustnb: datasets:` in the notebook's header"
        )
    if facts["versions"] != run.versions:
        raise RunError(
            f"{run.name} ran with {facts['versions']}, but its key says {run.versions}; "
            "start robustnb by the interpreter of one environment, without additions to its path"
        )


def _clean(notebook: Any, run: RunSpec, paths: MachinePaths) -> list[str]:
    """Take out of the outputs what differs between equal runs; return what went to stderr.

    Raises RunError for a cell that did not run, failed, or shows a path of this machine.
    """
    warnings: list[str] = []
    for cell in notebook.cells:
        for name in ("papermill", "execution"):
            cell.metadata.pop(name, None)
        if cell.cell_type != "code":
            continue
        named = f"{run.name}, {cells.name(notebook, cell)}"
        if cell.source.strip() and cell.execution_count is None:
            raise RunError(f"{named} was not run")
        kept = []
        for output in cell.outputs:
            if output.output_type == "error":
                raise RunError(f"{named}: {output.ename}: {shorten(output.evalue, _REASON)}")
            if output.output_type == "stream" and output.name == "stderr":
                warnings.append(paths.hidden(output.text))
            else:
                kept.append(output)
        cell.outputs = kept
        shown = paths.within_any(shown_texts(kept))
        if shown:
            raise RunError(
                f"{named} shows a path of this machine, {shown}; show it relative to a folder"
            )
    notebook.metadata.pop("papermill", None)
    convert.number_cells(notebook)
    return warnings


def make_record(
    run: RunSpec, notebook: Any, usage: Usage, warnings: list[str], facts: Mapping[str, Any]
) -> dict[str, Any]:
    """The run's record: all that the ledger needs of it, as JSON; `facts` are of its audit cell.

    Raises RunError if a measurement in the notebook is damaged or made twice.
    """
    from robustnb.lesson.measurement import measurements_of

    try:
        measured = measurements_of(notebook)
    except ValueError as error:
        raise RunError(f"{run.name}: {error}") from error
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
        "interpreter": dict(facts["python"]),
        "device": run.device,
        "made": datetime.now(UTC).date().isoformat(),
        "processor": ", ".join(name for name in (facts["card"], processor()) if name),
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
        "measurements": measured,
    }


def execute(
    project: Project,
    run: RunSpec,
    profile: Profile,
    *,
    limits: Limits = USUAL,
    fresh: bool = False,
) -> Path:
    """Run a notebook unless it has been, and return the folder of the finished run.

    The folder appears by one rename after every cell ran; a failed notebook is kept under
    `build/failed` for a look. Raises RunError when the run does not end well.
    """
    folder = run.folder(project.runs)
    recover(folder)
    if is_finished(run, project.runs) and not fresh:
        return folder
    statuses.sweep(project)
    course = Course()
    with unfinished.folder(project.work, f"{run.name}-{run.key}") as work:
        status = Status.start(project, run.name, work, budget=profile.reference_seconds)
        try:
            result = _execute(project, run, status, course, limits=limits, fresh=fresh)
            _publish(result, folder, replaced=fresh or not is_finished(run, project.runs))
        except RunError:
            _keep_failed(project.build / "failed" / f"{run.name}.ipynb", work, course)
            raise
        finally:
            status.end()
    return folder


def _execute(
    project: Project, run: RunSpec, status: Status, course: Course, *, limits: Limits, fresh: bool
) -> Path:
    """Run the notebook in a folder of the status's work folder and write its record beside it."""
    import nbformat

    log = project.build / "logs" / f"{run.name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.unlink(missing_ok=True)
    notebook = convert.convert(project.notebook(run.paper))
    status.set_cells(len(notebook.cells))
    notebook.cells.append(nbformat.v4.new_code_cell(AUDIT_SOURCE))
    convert.number_cells(notebook)
    environment = run_environment(project, {"ROBUSTNB_PROGRESS": str(status.note_file)})
    if fresh:
        environment["ROBUSTNB_FRESH"] = "1"
    output = status.work / "run" / NOTEBOOK
    output.parent.mkdir()
    kernel = manager_class(environment, log)
    with _papermill_log(log, status):
        usage = _measured(
            lambda: tidily(
                lambda: _papermill(notebook, output, run, limits, status, log, kernel, course)
            ),
            calibration.measure(project.build / "settings"),
        )
    executed = nbformat.read(output, as_version=4)
    facts = facts_of(executed, run.name)
    _check_audit(facts, run)
    warnings = _clean(executed, run, MachinePaths(project))
    record = make_record(run, executed, usage, warnings, facts)
    record["commit"] = history.commit(project.root)
    executed.metadata["robustnb"] = {
        **executed.metadata.get("robustnb", {}),
        "run": {name: value for name, value in record.items() if name != "measurements"},
    }
    write_atomically(output, nbformat.writes(executed))
    write_atomically(output.with_name(RECORD), json.dumps(record, indent=1, sort_keys=True) + "\n")
    return output.parent


def _keep_failed(place: Path, work: Path, course: Course) -> None:
    """Keep what a failed run shows, also when its kernel was lost before papermill wrote it."""
    import nbformat

    place.parent.mkdir(parents=True, exist_ok=True)
    written = list(work.glob(f"*/{NOTEBOOK}"))
    if written:
        shutil.move(written[0], place)
    elif course.notebook is not None:
        write_atomically(place, nbformat.writes(course.notebook))


def _measured(action: Callable[[], None], calibration_seconds: float) -> Usage:
    started, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    action()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    wall = time.monotonic() - started
    return Usage(cpu, wall, after.ru_maxrss / 1024, calibration_seconds)


def _publish(result: Path, folder: Path, *, replaced: bool) -> None:
    """Move a finished run to its place; an equal run that came first is kept."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        (replace_folder if replaced else move_folder)(result, folder)
    except OSError as error:
        came_first = error.errno in (errno.ENOTEMPTY, errno.EEXIST)
        if not (came_first and (folder / RECORD).is_file()):
            raise
