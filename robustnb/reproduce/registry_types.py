"""What a registry holds: papers, claims and parts, and the digests that freeze them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator

from robustnb.errors import unknown
from robustnb.reproduce.profiles import NAMES as PROFILES
from robustnb.reproduce.profiles import Name as ProfileName
from robustnb.reproduce.yamlfile import Entry, Flag, Real, Whole, named

Kind = Literal["proof", "check", "coverage", "direction", "value", "equivalence"]
Provenance = Literal["slides", "paper", "official code", "third party", "derived here", "recalled"]
Group = Literal["holds", "partly", "against", "inconclusive", "open", "unjudged"]
EXACT = ("proof", "check", "coverage")
MIN_SEEDS = 5
ENOUGH_POWER = 0.8


def _day(raw: Any) -> Any:
    """A date as it was written, whether or not YAML has recognised it; empty for none."""
    if isinstance(raw, datetime):
        raise ValueError(f"{raw.isoformat()} has a time of day; write the day alone")
    if isinstance(raw, date):
        return raw.isoformat()
    if isinstance(raw, str) and raw:
        try:
            date.fromisoformat(raw)
        except ValueError:
            raise ValueError(f"{raw!r} is no day; write one such as 2026-11-25") from None
    return raw


Day = Annotated[str, BeforeValidator(_day)]


@dataclass(frozen=True)
class Number(Entry):
    """A number of the paper, in the estimand's own unit, with how it was printed and known."""

    value: Real
    printed: str
    provenance: Provenance
    error: Real | None = None
    what: str = ""


@dataclass(frozen=True)
class Row(Entry):
    """One row of the table "paper against ours"; `ours` may name notebook parameters in braces."""

    what: str
    paper: str
    provenance: Provenance
    ours: str


@dataclass(frozen=True)
class Setting(Entry):
    """A setting of the paper beside ours; `matched` lists the profiles where it is the paper's."""

    title: str
    matched: tuple[ProfileName, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Plan(Entry):
    """The difference a part is planned to see, why that one, and the power that pilots gave.

    For an equivalence the power is to find no difference beyond the margin where there is none.
    `papers`: the effect is the size that the paper reports, with `error` as its standard error.
    """

    effect: Real
    reason: str
    power: Real | None = None
    papers: Flag = False
    error: Real = 0.0


@dataclass(frozen=True)
class Nearest(Entry):
    """The nearest fair comparison where the registered one cannot be made; it is exploratory."""

    title: str
    estimand: Mapping[str, Any]


@dataclass(frozen=True)
class Control(Entry):
    """What must show an effect before a part can: an estimand that `sign` says the side of."""

    title: str
    estimand: Mapping[str, Any]
    sign: Whole = 1
    null: Real = 0.0


@dataclass(frozen=True)
class Part(Entry):
    """The smallest thing that gets a verdict; `matched` is that of its setting.

    theorem: "proved" where its checks are those of the steps of a proof in prose on the page;
    "checked" where a measured part illustrates a theorem and is no direction of an effect.
    outcomes: the least and the largest value that an outcome can have, such as a correlation, where
    they are not all yes or no; no interval leaves what these allow.
    """

    not_in_file: ClassVar[frozenset[str]] = frozenset({"matched"})

    id: str
    title: str
    kind: Kind
    profile: ProfileName
    unit: Literal["examples", "seeds", "draws"]
    estimand: Mapping[str, Any] | None = None
    null: Real = 0.0
    sign: Whole | None = None
    margin: Real | None = None
    margin_reason: str = ""
    seeds: tuple[Whole, ...] = (0,)
    seeds_reason: str = ""
    paper: Number | None = None
    setting: str | None = None
    matched: tuple[str, ...] = ()
    not_at: Mapping[str, str] = field(default_factory=dict)
    audited: Flag = False
    estimate_only: str | None = None
    scale: Literal["percent", "plain"] = "percent"
    outcomes: tuple[Real, Real] | None = None
    planned: Plan | None = None
    theorem: Literal["proved", "checked"] | None = None
    nearest: Nearest | None = None
    control: Control | None = None

    @classmethod
    def _known_keys(cls, raw: Any) -> Any:
        """What is exact is so at every size, of no unit, and no percentage, unless it says so."""
        raw = super()._known_keys(raw)
        exact = {"profile": "smoke", "unit": "draws", "scale": "plain"}
        return {**exact, **raw} if raw.get("kind") in EXACT else raw


@dataclass(frozen=True)
class Claim(Entry):
    """A sentence of the paper, where it stands, how we know it, and its parts.

    statement: its mathematics in TeX between dollars. theorem: what the page offers for a theorem,
    lemma or identity, if every part of it passes. finding: the plain sentence for each group that
    the verdict may fall into, with the placeholders of `robustnb.reproduce.finding`.
    """

    id: str
    statement: str
    source: str
    provenance: Provenance
    parts: Annotated[tuple[Part, ...], BeforeValidator(named)]
    numbers: tuple[Number, ...] = ()
    note: str = ""
    theorem: Literal["proved", "by machine", "checked", "repaired"] | None = None
    finding: Mapping[Group, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Amendment(Entry):
    """A registered part that was changed later; was or now is None if it is new or withdrawn."""

    date: Day
    part: str
    reason: str
    was: str | None
    now: str | None


@dataclass(frozen=True)
class Registered(Entry):
    """The digests of a paper's parts, and when they were fixed."""

    date: Day = ""
    digests: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Mark(Entry):
    """A point of the headline figure: `y`, and `x` unless it is a number, are estimands.

    Marks of one `line` are joined in their order. `apart` puts a mark below a break of the axis.
    `side` is where its label stands; a mark without a label is told by its line. Without `y` a mark
    is a row of its own, with `x` and, if there is one, the number that the paper prints.
    """

    x: Mapping[str, Any] | Real
    y: Mapping[str, Any] | None = None
    paper: Real | None = None
    label: str = ""
    line: str = ""
    apart: Flag = False
    side: Literal["left", "right", "above", "below"] = "right"

    def estimands(self) -> list[Mapping[str, Any]]:
        """What of it is measured."""
        return [place for place in (self.x, self.y) if isinstance(place, Mapping)]


@dataclass(frozen=True)
class Headline(Entry):
    """The figure at the top of a paper's page: axes, marks, and words.

    says: what is seen, in a sentence without numbers; the numbers of the records follow it.
    plain: whether its numbers are plain ones, not shares.
    """

    says: str
    caption: str
    xlabel: str
    marks: tuple[Mark, ...]
    ylabel: str = ""
    plain: Flag = False

    def __post_init__(self) -> None:
        """Refuse marks of which only some are rows, and rows without an estimand."""
        without = [mark.y is None for mark in self.marks]
        if any(without) and not all(without):
            raise ValueError("give every mark of a headline a `y`, or none")
        if self.rows and not all(isinstance(mark.x, Mapping) for mark in self.marks):
            raise ValueError("the `x` of a mark without `y` is an estimand")

    @property
    def rows(self) -> bool:
        """Whether each mark is a row of its own."""
        return all(mark.y is None for mark in self.marks)


@dataclass(frozen=True)
class Paper(Entry):
    """One paper: who wrote it, its settings, its claims, and what was registered when."""

    id: str
    title: str
    authors: tuple[str, ...]
    venue: str
    year: Whole
    arxiv: str
    claims: Annotated[tuple[Claim, ...], BeforeValidator(named)]
    code: str = ""
    settings: Mapping[str, Setting] = field(default_factory=dict)
    registered: Registered = field(default_factory=Registered)
    amendments: tuple[Amendment, ...] = ()
    headline: Headline | None = None

    def parts(self) -> dict[str, Part]:
        """All parts by their full name, `zhang2019.C6.robust_up`."""
        return {part.id: part for claim in self.claims for part in claim.parts}


def can_speak(part: Part, profile: str) -> bool:
    """Whether the profile is at least the smallest one registered for the part."""
    return PROFILES.index(profile) >= PROFILES.index(part.profile)


def digest(part: Part) -> str:
    """Sixteen hex digits over everything registered that decides whether a part holds."""
    keys = ("null", "sign", "margin", "seeds", "profile", "kind", "estimand", "unit", "audited")
    facts = {key: getattr(part, key) for key in keys}
    facts["paper"] = part.paper and [part.paper.value, part.paper.error, part.paper.provenance]
    facts["estimate_only"] = part.estimate_only is not None
    if part.control is not None:
        facts["control"] = [part.control.estimand, part.control.null, part.control.sign]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def unregistered_changes(paper: Paper) -> list[str]:
    """Parts added, altered or withdrawn since registration without an amendment that says so."""
    expected: dict[str, str | None] = {
        f"{paper.id}.{k}": v for k, v in paper.registered.digests.items()
    }
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
            ours = row.ours.format_map({k: _readable(v) for k, v in parameters.items()})
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


def _readable(value: Any) -> Any:
    """A list of numbers as people write one; any other value as it is."""
    if not isinstance(value, list) or not all(isinstance(x, int | float) for x in value):
        return value
    return ", ".join(f"{x:.3g}" if isinstance(x, float) else str(x) for x in value)
