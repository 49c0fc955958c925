"""One run, as `robustnb run` does it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from robustnb.errors import RunError, UsageError, unknown
from robustnb.reproduce import cells, convert, disk, keys, registry
from robustnb.reproduce.atomic import write_atomically
from robustnb.reproduce.device import check_device
from robustnb.reproduce.estimand_forms import arms_of
from robustnb.reproduce.execute import execute
from robustnb.reproduce.finished import is_finished, record_of
from robustnb.reproduce.limits import USUAL, Limits
from robustnb.reproduce.parameters import Parameter, Value, parse_assignments
from robustnb.reproduce.profiles import Profile
from robustnb.reproduce.project import Project
from robustnb.reproduce.registry_types import Part


def run_one(
    project: Project,
    paper: str,
    profile: Profile,
    seed: int,
    assignments: Sequence[str] = (),
    *,
    limits: Limits = USUAL,
    fresh: bool = False,
    report: Callable[[str], None],
) -> Path:
    """Run one notebook, keep the text of its error if it fails, and return the run's folder.

    Raises UsageError for wrong names and values before anything is started, RunError when the
    notebook does not run to its end.
    """
    source = project.notebook(paper)
    declared = convert.parameters(convert.convert(source), where=source.name)
    given = parse_assignments(declared, list(assignments))
    run = keys.resolve_run(project, paper, profile, seed, given=given)
    folder = run.folder(project.runs)
    if is_finished(run, project.runs) and not fresh:
        report(f"{run.name} is there already")
        return folder
    error_file = project.build / "failed" / f"{run.name}.txt"
    error_file.unlink(missing_ok=True)
    report(f"running {run.name}; budget {profile.reference_seconds:.0f} reference seconds")
    try:
        disk.check_room(project)
        _check_measured(project, paper)
        check_device(str(_value("device", declared, run)))
        folder = execute(project, run, profile, limits=limits, fresh=fresh)
        for line in _lost_arms(project, run):
            report(line)
        return folder
    except (RunError, UsageError, OSError) as error:
        told = _told(project, run, error)
        with contextlib.suppress(OSError):  # the disk may be what failed
            error_file.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(error_file, f"{told}\n")
        raise told from None


def _parts(project: Project, paper: str) -> Mapping[str, Part]:
    """The parts that a paper's registry lists; empty for a draft that has none yet."""
    path = project.claims / f"{paper}.yaml"
    return registry.load(path).parts() if path.is_file() else {}


def _check_measured(project: Project, paper: str) -> None:
    """UsageError for a cell that measures a part which no claim has, and no verdict would see."""
    source, parts = project.notebook(paper), _parts(project, paper)
    notebook = convert.convert(source)
    for cell, part in cells.measured(notebook) if parts else ():
        if part not in parts:
            where = f"{source.name}, {cells.name(notebook, cell)}"
            raise UsageError(f"{where}: {unknown('part of a claim', part, parts)}")


def _lost_arms(project: Project, run: keys.RunSpec) -> Iterator[str]:
    """A line for each part that a run measured without an arm that its estimand needs."""
    record = record_of(run, project.runs) or {"measurements": []}
    measured = {f"{m['claim']}.{m['part']}": m["arms"] for m in record["measurements"]}
    there = {arm for arms in measured.values() for arm in arms}
    for part in _parts(project, run.paper).values():
        if part.id in measured and part.estimand is not None:
            lacking = [arm for arm in arms_of(part.estimand) if arm not in there]
            if lacking:
                yield (
                    f"{part.id} cannot be judged by this run: nothing in it has the arm "
                    f"{lacking[0]!r}; the part's measurement has {', '.join(measured[part.id])}"
                )


def _told(project: Project, run: keys.RunSpec, error: Exception) -> Exception:
    """The error with what is to be done about the disk, if that is what failed."""
    if isinstance(error, UsageError):
        return error
    if isinstance(error, OSError):
        why = disk.explain(error, project)
        return RunError(f"{run.name}: {why}") if why else error
    why = disk.trouble(project)
    return RunError(f"{error}\n{why}") if why else error


def _value(name: str, declared: Mapping[str, Parameter], run: keys.RunSpec) -> Value | None:
    """What a run gives a parameter; None if its notebook has none of that name."""
    if name not in declared:
        return None
    return run.overrides.get(name, declared[name].default)
