"""The committed records, and whether they still speak for today's code.

A record is current if its source digest is that of today's code, confirmed if a confirmation links
the two, and stale otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robustnb.errors import RunError
from robustnb.reproduce import confirmations, keys, profiles
from robustnb.reproduce.constants import shorten
from robustnb.reproduce.finished import read_record
from robustnb.reproduce.project import Project

Json = Mapping[str, Any]
PlanOf = Callable[[str, str, int], keys.RunSpec]
CURRENT, CONFIRMED, STALE = "current", "confirmed", "stale"
_NAMED = 3
_REASON = 200  # characters


@dataclass(frozen=True)
class Standing:
    """A committed record and where it stands; `why` says what changed, or what confirmed it."""

    record: Json
    run: keys.RunSpec
    state: str
    why: str
    confirmation: Json | None = None

    @property
    def name(self) -> tuple[str, str, int]:
        """Paper, profile and seed."""
        return self.run.paper, self.run.profile, self.run.seed


def committed(project: Project) -> list[dict[str, Any]]:
    """The records under book/records, in the order of their paths.

    RunError names a file that is not the record of the run after which it is called.
    """
    papers = project.papers()
    paths = sorted(project.records.glob("*/*/seed*.json"))
    return [{**_read(path, papers), "origin": "record"} for path in paths]


def _read(path: Path, papers: Sequence[str]) -> dict[str, Any]:
    profile, paper = path.parts[-3:-1]
    if paper not in papers:
        raise RunError(f"{path} is of {paper}, which has no notebook; remove it")
    try:
        record = read_record(path)
    except (OSError, ValueError) as error:
        why = shorten(error, _REASON)
        raise RunError(
            f"{path} is no record ({why}); restore it, as by `git checkout -- {path.name}` there"
        ) from None
    own = (record["profile"], record["paper"], f"seed{record['seed']}.json")
    if own != (profile, paper, path.name) or profile not in profiles.NAMES:
        raise RunError(f"{path} is the record of another run, {'/'.join(own)}; remove it")
    return record


def planner(project: Project) -> PlanOf:
    """Today's run of a paper, a profile and a seed, planned once."""
    sizes = profiles.load(project.notebooks)
    planned: dict[tuple[str, str, int], keys.RunSpec] = {}

    def plan(paper: str, profile: str, seed: int) -> keys.RunSpec:
        name = (paper, profile, seed)
        if name not in planned:
            planned[name] = keys.resolve_run(project, paper, sizes[profile], seed)
        return planned[name]

    return plan


def standings(project: Project, papers: Sequence[str]) -> list[Standing]:
    """Where every committed record of `papers` stands."""
    plan = planner(project)
    found = [r for r in committed(project) if r["paper"] in papers and not r.get("custom")]
    return [stand(project, record, plan) for record in found]


def stand(project: Project, record: Json, plan: PlanOf) -> Standing:
    """Where one record stands beside today's code."""
    run = plan(record["paper"], record["profile"], record["seed"])
    if record["source"] == run.source:
        return Standing(record, run, CURRENT, "")
    confirmation, refusal = confirmations.of_record(project, record, lambda *n: plan(*n).source)
    if confirmation is None:
        return Standing(record, run, STALE, f"{_changes(record, run)}; {refusal}")
    why = f"equal on {confirmation['date']} at {confirmation['profile']}"
    return Standing(record, run, CONFIRMED, why, confirmation)


def changed_modules(then: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Modules of two closures that differ, or are in one of them alone."""
    return sorted(m for m in {*then, *now} if then.get(m) != now.get(m))


def _changes(record: Json, run: keys.RunSpec) -> str:
    """What of today's run differs from the record: parameters, data, modules, else code cells."""
    modules = changed_modules(record.get("closure", {}), run.closure)
    told = []
    if record["parameters"] != run.overrides:
        told.append("parameters")
    if record.get("data", {}) != run.data:
        told.append("data")
    if modules:
        more = f" and {len(modules) - _NAMED} more" if len(modules) > _NAMED else ""
        told.append(f"{', '.join(modules[:_NAMED])}{more}")
    return f"{'; '.join(told) or 'code cells, or defaults of the parameters cell'} changed"


def rows(found: Sequence[Standing]) -> list[dict[str, Any]]:
    """A row for each paper, profile and state, with the seeds it holds for and their mean cost."""
    groups: dict[tuple[str, ...], list[Standing]] = {}
    for s in found:
        torch = s.record["versions"].get("torch", "absent")
        machine = f"{s.record['device']}, torch {torch}"
        key = (s.run.paper, s.run.profile, machine, s.state, s.why)
        groups.setdefault(key, []).append(s)
    return [_row(key, group) for key, group in groups.items()]


def _row(key: tuple[str, ...], group: Sequence[Standing]) -> dict[str, Any]:
    paper, profile, machine, state, why = key
    spent = [s.record["cost"]["cpu_seconds"] for s in group]
    return {
        "paper": paper,
        "profile": profile,
        "seeds": ", ".join(str(seed) for seed in sorted(s.run.seed for s in group)),
        "made on": machine,
        "CPU-seconds": f"{sum(spent) / len(spent):.0f}",
        "state": state,
        "why": why or "-",
    }
