"""What the size of a profile can see: the power of each planned part, from runs no claim uses.

Runs of unregistered seeds give the standard error that as many registered ones will have, and
nothing else: the effect is the registered one (`planned` in notebooks/claims), never the one that
the pilots found. A part with less than 80 % belongs "not at this scale (power)".
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from robustnb.errors import UsageError
from robustnb.reproduce import keys
from robustnb.reproduce.atomic import write_atomically
from robustnb.reproduce.evidence import compute_evidence
from robustnb.reproduce.finished import record_of
from robustnb.reproduce.profiles import Profile
from robustnb.reproduce.project import Project
from robustnb.reproduce.registry import load
from robustnb.reproduce.registry_types import Part
from robustnb.reproduce.run_records import RunRecord
from robustnb.stats import power_against, power_of_equivalence

PLANNED_AT = "laptop"  # the profile whose power is registered under `planned`


def results_file(project: Project) -> Path:
    """Where the powers at laptop are kept, beside which the registered ones are tested."""
    return project.root / "benchmarks" / "results" / "power.json"


def pilots(project: Project, paper: str, profile: Profile) -> list[RunRecord]:
    """The runs of seeds that no part registers, made with today's code and the profile's sizes."""
    found = []
    for folder in sorted((project.runs / "custom" / paper).glob("seed*-*")):
        seed = keys.seed_of(folder.name)
        if seed is None:
            continue
        run = keys.resolve_run(project, paper, profile, seed)
        record = record_of(run, project.runs) if folder == run.folder(project.runs) else None
        if record is not None:
            found.append(RunRecord(record, None))
    return sorted(found, key=lambda record: record.seed)


def power_of(part: Part, profile: str, records: Sequence[RunRecord]) -> dict[str, Any]:
    """Standard error, degrees of freedom and power of a planned part, from its pilot runs.

    UsageError unless there are as many as the part has seeds.
    """
    assert part.planned is not None
    runs = [run for record in records if (run := record.run(part)) is not None]
    if len(runs) != len(part.seeds):
        seeds = ", ".join(str(run.seed) for run in runs) or "none"
        raise UsageError(
            f"{part.id} has {len(part.seeds)} seeds and {len(runs)} pilot runs at {profile} with "
            f"today's code (seeds: {seeds}); make as many, with seeds that no part registers: "
            f"robustnb run {part.id.partition('.')[0]} --profile {profile} --seed 100, and so on"
        )
    seeds_found = tuple(run.seed for run in runs)
    found = compute_evidence(replace(part, seeds=seeds_found), runs)
    error, effect = found.standard_error, part.planned.effect
    power = power_of_equivalence if part.kind == "equivalence" else power_against
    return {
        "effect": effect,
        "standard_error": round(error, 6),
        "degrees_of_freedom": found.freedom,
        "detectable": round(found.detectable(), 6),
        "power": round(power(effect, error, df=found.freedom), 3),
        "pilot_seeds": list(seeds_found),
    }


def powers(project: Project, paper: str, profile: Profile) -> dict[str, dict[str, Any]]:
    """What `power_of` gives for each planned part of a paper; UsageError if it has none."""
    registry = load(paper, folder=project.claims)
    planned = [part for part in registry.parts().values() if part.planned is not None]
    if not planned:
        raise UsageError(f"no part of {paper} has a planned effect; register one under `planned`")
    records = pilots(project, paper, profile)
    return {part.id: power_of(part, profile.name, records) for part in planned}


def keep(project: Project, found: dict[str, dict[str, Any]]) -> Path:
    """Put these powers among those kept, and return the file."""
    path = results_file(project)
    kept = json.loads(path.read_text("utf-8"))["parts"] if path.exists() else {}
    result = {"schema": 1, "parts": dict(sorted({**kept, **found}.items()))}
    write_atomically(path, json.dumps(result, indent=1) + "\n")
    return path
