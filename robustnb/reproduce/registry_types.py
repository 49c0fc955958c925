"""What a registry holds: papers, claims and parts, and the digests that freeze them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from robustnb.errors import unknown

PROFILES = ("smoke", "laptop", "gpu", "paper")
KINDS = ("proof", "check", "coverage", "direction", "value", "equivalence")
EXACT = ("proof", "check", "coverage")
UNITS = ("examples", "seeds", "draws")
PROVENANCES = ("slides", "paper", "official code", "third party", "derived here", "recalled")
MIN_SEEDS = 5
ENOUGH_POWER = 0.8


@dataclass(frozen=True)
class Number:
    """A number of the paper, in the estimand's own unit, with how it was printed and known."""

    value: float
    printed: str
    provenance: str
    error: float | None = None
    what: str = ""


@dataclass(frozen=True)
class Row:
    """One row of the table "paper against ours"; `ours` may name notebook parameters in braces."""

    what: str
    paper: str
    provenance: str
    ours: str


@dataclass(frozen=True)
class Setting:
    """A setting of the paper beside ours; `matched` lists the profiles where it is the paper's."""

    title: str
    matched: tuple[str, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Plan:
    """The difference a part is planned to see, why that one, and the power that pilots gave.

    For an equivalence the power is to find no difference beyond the margin where there is none.
    """

    effect: float
    reason: str
    power: float | None


@dataclass(frozen=True)
class Part:
    """The smallest thing that gets a verdict."""

    id: str
    title: str
    kind: str
    profile: str
    estimand: Mapping[str, Any] | None
    unit: str
    null: float
    sign: int | None
    margin: float | None
    margin_reason: str
    seeds: tuple[int, ...]
    seeds_reason: str
    paper: Number | None
    setting: str | None
    matched: tuple[str, ...]
    not_at: Mapping[str, str]
    audited: bool
    estimate_only: str | None
    scale: str
    planned: Plan | None = None


@dataclass(frozen=True)
class Claim:
    """A sentence of the paper, where it stands, how we know it, and its parts."""

    id: str
    statement: str
    source: str
    provenance: str
    parts: tuple[Part, ...]
    numbers: tuple[Number, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class Amendment:
    """A registered part that was changed later; was or now is None if it is new or withdrawn."""

    date: str
    part: str
    reason: str
    was: str | None
    now: str | None


@dataclass(frozen=True)
class Paper:
    """One paper: who wrote it, its settings, its claims, and what was registered when."""

    id: str
    title: str
    authors: tuple[str, ...]
    venue: str
    year: int
    arxiv: str
    code: str
    settings: Mapping[str, Setting]
    claims: tuple[Claim, ...]
    registered_on: str
    registered: Mapping[str, str] = field(default_factory=dict)
    amendments: tuple[Amendment, ...] = ()

    def parts(self) -> dict[str, Part]:
        """All parts by their full name, `zhang2019.C6.robust_up`."""
        return {part.id: part for claim in self.claims for part in claim.parts}


def digest(part: Part) -> str:
    """Sixteen hex digits over everything registered that decides a part's verdict."""
    keys = ("null", "sign", "margin", "seeds", "profile", "kind", "estimand", "unit", "audited")
    facts = {key: getattr(part, key) for key in keys}
    facts["paper"] = part.paper and [part.paper.value, part.paper.error, part.paper.provenance]
    facts["estimate_only"] = part.estimate_only is not None
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def unregistered_changes(paper: Paper) -> list[str]:
    """Parts added, altered or withdrawn since registration without an amendment that says so."""
    expected: dict[str, str | None] = {f"{paper.id}.{k}": v for k, v in paper.registered.items()}
    changed = set()
    for entry in paper.amendments:
        name = f"{paper.id}.{entry.part}"
        if expected.get(name) != entry.was:
            changed.add(name)
        expected[name] = entry.now
    current = {name: digest(part) for name, part in paper.parts().items()}
    names = set(expected) | set(current)
    return sorted(changed | {n for n in names if expected.get(n) != current.get(n)})


def settings_table(paper: Paper, name: str, parameters: Mapping[str, Any]) -> list[dict[str, str]]:
    """The rows "paper against ours" of one setting, with our parameters filled in."""
    if name not in paper.settings:
        raise unknown(f"setting of {paper.id}", name, paper.settings)
    rows = []
    for row in paper.settings[name].rows:
        try:
            ours = row.ours.format_map(dict(parameters))
        except KeyError as error:
            raise unknown(
                f"parameter in {paper.id}.yaml, settings.{name}, row {row.what!r}",
                str(error.args[0]),
                parameters,
            ) from error
        rows.append(
            {"what": row.what, "paper": row.paper, "provenance": row.provenance, "ours": ours}
        )
    return rows
