"""Confirmations: files that say that earlier code and today's gave equal results on one machine.

    book/records/confirmed/<paper>.json
        schema, paper
        confirmations[]          one for each earlier code that records of the paper were made with
            commit               the earlier code's commit; null if a folder was given
            date, profile, seed  of the comparison
            parameters           with which both ran
            changed[]            modules that differ between the two
            earlier, today       source and key of the two runs, and a digest of what they gave
            measurements, outputs  how many of each were compared
            records[]            profile and seed of each record, the source it was made with and
                                 the source of today's code at that profile and seed
            machine, versions, device
            seal                 digest of all of the above

A confirmation is never extended: it always goes from a record's own code to that of its day.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from robustnb.provenance import digest
from robustnb.reproduce.atomic import write_atomically
from robustnb.reproduce.profiles import NAMES
from robustnb.reproduce.project import Project

Json = Mapping[str, Any]
SourceOf = Callable[[str, str, int], str]  # today's source digest of a paper, a profile and a seed
SCHEMA = 1
_KEYS = frozenset({
    "commit", "date", "profile", "seed", "parameters", "changed", "earlier", "today", "records",
    "measurements", "outputs", "machine", "versions", "device", "seal",
})  # fmt: skip


def path_of(project: Project, paper: str) -> Path:
    """Where the confirmations of a paper's records are kept."""
    return project.records / "confirmed" / f"{paper}.json"


def sealed(paper: str, confirmation: Json) -> dict[str, Any]:
    """The confirmation with the digest of its content."""
    return {**confirmation, "seal": _seal(paper, confirmation)}


def _seal(paper: str, confirmation: Json) -> str:
    content = {name: value for name, value in confirmation.items() if name != "seal"}
    return digest([SCHEMA, paper, content])


def keep(project: Project, paper: str, confirmations: Sequence[Json]) -> Path:
    """Replace what is kept for a paper; without confirmations nothing is kept."""
    path = path_of(project, paper)
    if not confirmations:
        path.unlink(missing_ok=True)
        return path
    kept = {"schema": SCHEMA, "paper": paper, "confirmations": list(confirmations)}
    write_atomically(path, json.dumps(kept, indent=1, sort_keys=True) + "\n")
    return path


def of_record(project: Project, record: Json, source_of: SourceOf) -> tuple[Json | None, str]:
    """The confirmation that links a record's code to today's, or None and why there is none.

    Everything is checked again: the seal, the sources of the record and of today's code at its
    profile and seed, and that of today's code at the profile and seed compared.
    """
    paper = str(record["paper"])
    try:
        kept = json.loads(path_of(project, paper).read_text(encoding="utf-8"))
        found = list(kept["confirmations"])
    except FileNotFoundError:
        return None, "not confirmed"
    except (ValueError, KeyError, TypeError):
        return None, "confirmation refused: its file is damaged"
    why = "not confirmed"
    for confirmation in found:
        refusal = _refusal(paper, record, confirmation, source_of)
        if refusal is None:
            return confirmation, ""
        why = refusal or why
    return None, why


def _refusal(paper: str, record: Json, confirmation: Any, source_of: SourceOf) -> str | None:
    """Why a confirmation does not speak for a record; "" if it is about others, None if it does."""
    if not isinstance(confirmation, dict) or set(confirmation) != _KEYS:
        return "confirmation refused: its file is damaged"
    if confirmation["seal"] != _seal(paper, confirmation):
        return "confirmation refused: edited after it was written"
    if confirmation["profile"] not in NAMES:
        return "confirmation refused: its file is damaged"
    profile, seed = record["profile"], record["seed"]
    entries = [e for e in confirmation["records"] if (e["profile"], e["seed"]) == (profile, seed)]
    if not entries or entries[0]["earlier"] != record["source"]:
        return ""
    earlier, today = confirmation["earlier"], confirmation["today"]
    if earlier["result"] != today["result"] or not confirmation["outputs"]:
        return "confirmation refused: it holds no two equal results"
    compared = source_of(paper, confirmation["profile"], confirmation["seed"])
    if (entries[0]["today"], today["source"]) != (source_of(paper, profile, seed), compared):
        return f"confirmed on {confirmation['date']}, but the code changed again since"
    return None


def shown(confirmation: Json) -> dict[str, Any]:
    """What the ledger tells of a confirmation."""
    names = ("commit", "date", "profile", "seed", "machine", "device", "measurements", "outputs")
    return {name: confirmation[name] for name in names}
