"""Which run a paper's page shows, and the line with which the page says so.

The best run at hand: a local one of a larger profile, if its key is today's; else one kept beside
the records, if its code cells are today's; else the local smoke run. Larger profiles come first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from robustnb.errors import RobustnbError
from robustnb.reproduce import convert, keys, pages
from robustnb.reproduce.finished import is_finished, read_record
from robustnb.reproduce.profiles import NAMES, Profile
from robustnb.reproduce.profiles import load as load_profiles
from robustnb.reproduce.project import Project
from robustnb.reproduce.run_records import state

_NAMED = 3

Json = Mapping[str, Any]
Report = Callable[[str], None]


@dataclass(frozen=True)
class Choice:
    """The run a page shows: today's plan of it, where it comes from, and what it left.

    `origin` is "run" (of this machine) or "record" (kept with the book); `instead` says why the
    page does not show a kept run, if the book has one.
    """

    run: keys.RunSpec
    origin: str
    executed: pages.Executed
    instead: str = ""

    @property
    def what(self) -> str:
        """The run in a few words: `the laptop run kept with the book`."""
        where = "of this machine" if self.origin == "run" else "kept with the book"
        return f"the {self.run.profile} run {where}"


def choose(project: Project, paper: str, profile: Profile | None, *, report: Report) -> Choice:
    """The run of seed 0 that the page of `paper` shows: the one at `profile`, else the best.

    The smoke run, or that at `profile`, must be there. `report` gets a line for each kept page
    that is refused because a file of it was changed.
    """
    if profile is not None:
        return _local(project, keys.resolve_run(project, paper, profile, 0))
    sizes = load_profiles(project.notebooks)
    plans = [keys.resolve_run(project, paper, sizes[name], 0) for name in reversed(NAMES)]
    larger, smoke = plans[:-1], plans[-1]
    for run in larger:
        if is_finished(run, project.runs):
            return _local(project, run)
    instead = []
    for run in larger:
        found = _kept(project, run, report)
        if isinstance(found, pages.Executed):
            return Choice(run, "record", found)
        instead += [found] if found else []
    return _local(project, smoke, instead="; ".join(instead) or "no larger run is at hand")


def _local(project: Project, run: keys.RunSpec, *, instead: str = "") -> Choice:
    return Choice(run, "run", pages.of_run(run.folder(project.runs)), instead)


def _kept(project: Project, run: keys.RunSpec, report: Report) -> pages.Executed | str:
    """The page kept for a run; else why it cannot be shown, empty if there is none."""
    home = project.records / run.profile / run.paper
    path, folder = home / f"seed{run.seed}.json", home / pages.FOLDER
    if not path.is_file():
        return ""
    try:
        record = read_record(path)
    except ValueError:
        return f"the record of the kept {run.profile} run is damaged"
    if not pages.is_kept(record, folder):
        return ""
    try:
        found = pages.kept(record, folder)
    except RobustnbError as error:
        report(str(error))
        return f"the page of the kept {run.profile} run was changed after it"
    if not found.fits(convert.convert(project.notebook(run.paper))):
        return f"the code on this page was edited after the kept {run.profile} run"
    return found


def line(choice: Choice, ledger: Json) -> str:
    """One line for the page: which run it shows, when and on what, its code, how to run it."""
    record = choice.executed.record
    made = " on ".join(record[name] for name in ("made", "processor") if record.get(name))
    told = [f"This page shows {choice.what}{f' (seed 0, {made})' if made else ' (seed 0)'}"]
    if choice.instead:
        told[0] += f", because {choice.instead}"
    if choice.origin == "record":
        told.append(_code(choice.run, record, ledger))
    else:
        told.append(_inside(ledger, choice.run))
    told.append(_how_to_run(choice))
    return " ".join(f"{text}." for text in told if text)


def _how_to_run(choice: Choice) -> str:
    run = f"robustnb run {choice.run.paper} --profile"
    profile = choice.run.profile
    if profile == "smoke":
        return f"For a larger one: `{run} laptop`, then `make book`"
    if choice.origin == "run":
        return f"To run it again: `{run} {profile} --fresh`"
    return f"To run it here: `{run} {profile}`, then `make book`"


def _code(run: keys.RunSpec, record: Json, ledger: Json) -> str:
    """Whether today's code is the record's, was confirmed equal, or what has changed since."""
    if state(record, run.source) == "current":
        return "Its code, parameters and data are today's"
    known = ledger["runs"].get(f"{run.paper}/{run.profile}/seed{run.seed}/record", {})
    if confirmed := known.get("confirmed"):
        return (
            "It was recorded with earlier code, which gave the same results as today's on "
            f"{confirmed['date']} at {confirmed['profile']}"
        )
    changed = changes(run, record)
    shown = ", ".join(f"`{name}`" for name in changed[:_NAMED])
    more = f" and {len(changed) - _NAMED} more" if len(changed) > _NAMED else ""
    return f"Changed since that run: {shown}{more}" if changed else "Its code is an earlier one"


def changes(run: keys.RunSpec, record: Json) -> Sequence[str]:
    """What differs between a record and today's run: modules, parameters, data sets."""
    then, sets = record["closure"], record["data"]
    modules = sorted(m for m in {*run.closure, *then} if run.closure.get(m) != then.get(m))
    names = sorted({*run.overrides, *record["parameters"]})
    parameters = [n for n in names if run.overrides.get(n) != record["parameters"].get(n)]
    data = sorted(d for d in {*run.data, *sets} if run.data.get(d) != sets.get(d))
    return [*modules, *parameters, *data]


def _inside(ledger: Json, run: keys.RunSpec) -> str:
    """How many of a local run's numbers lie in the records' prediction intervals, and which not."""
    parts = {
        name: part["profiles"][run.profile]["local"]
        for claim in ledger["papers"][run.paper]["claims"].values()
        for name, part in claim["parts"].items()
    }
    within = {
        name.partition(".")[2]: local["runs"]["0"]["within"]
        for name, local in parts.items()
        if local and "0" in local["runs"]
    }
    if not within:
        return ""
    outside = ", ".join(name for name, inside in within.items() if not inside)
    tail = f"; outside: {outside} (by chance alone about one number in twenty)" if outside else ""
    return (
        f"{sum(within.values())} of its {len(within)} numbers lie inside the 95 % prediction "
        f"intervals of the records{tail}"
    )
