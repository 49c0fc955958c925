"""The registry: what a paper claims, split into parts that were fixed before the first real run.

One YAML file per paper under `notebooks/claims/`. Every key is checked, so that a typing error is a
line with its fix and never a part that silently is not judged. Each part has a digest of what
decides its verdict (see `digest`), stored at registration; a later change needs an entry under
`amendments`, with date, reason, and the digests before and after.
`robustnb register zhang2019` prints the block an author pastes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

from robustnb.errors import UsageError, unknown
from robustnb.reproduce.estimands import check_estimand
from robustnb.reproduce.registry_types import (
    ENOUGH_POWER,
    EXACT,
    KINDS,
    MIN_SEEDS,
    PROFILES,
    PROVENANCES,
    UNITS,
    Amendment,
    Claim,
    Number,
    Paper,
    Part,
    Plan,
    Row,
    Setting,
    digest,
    settings_table,
    unregistered_changes,
)
from robustnb.reproduce.yamlfile import read_mapping

__all__ = [
    "CLAIMS",
    "Amendment",
    "Claim",
    "Number",
    "Paper",
    "Part",
    "Row",
    "Setting",
    "digest",
    "load",
    "load_all",
    "registered_block",
    "settings_table",
    "unregistered_changes",
]

CLAIMS = Path(__file__).resolve().parents[2] / "notebooks" / "claims"


def load(name: str | Path, *, folder: Path = CLAIMS) -> Paper:
    """Read one registry by paper name or by path; raises UsageError naming file, claim and fix."""
    path = name if isinstance(name, Path) else folder / f"{name}.yaml"
    if not path.is_file():
        raise unknown("paper", path.stem, (p.stem for p in path.parent.glob("*.yaml")))
    return _load(path, path.stat().st_mtime_ns)


@cache
def _load(path: Path, stamp: int) -> Paper:
    paper = _paper(read_mapping(path), path.name)
    if paper.id != path.stem:
        raise UsageError(f"{path.name}: id is {paper.id!r}; name the file {paper.id}.yaml")
    return paper


def load_all(folder: Path = CLAIMS) -> dict[str, Paper]:
    """Every paper of the folder, by id."""
    return {path.stem: load(path) for path in sorted(folder.glob("*.yaml"))}


class _Fields:
    """A mapping that is read key by key; what is left over at the end is an error."""

    def __init__(self, raw: Any, where: str) -> None:
        if not isinstance(raw, dict):
            raise UsageError(f"{where}: expected a mapping, got {type(raw).__name__}")
        self.left, self.where, self.known = dict(raw), where, set[str]()

    def take(self, key: str, kind: type | tuple[type, ...], default: Any = ...) -> Any:
        """The value of key, of the right type; without a default the key is required."""
        self.known.add(key)
        if key not in self.left:
            if default is ...:
                raise UsageError(f"{self.where}: {key} is missing; add it")
            return default
        value = self.left.pop(key)
        kinds = kind if isinstance(kind, tuple) else (kind,)
        if isinstance(value, bool) != (bool in kinds) or not isinstance(value, kinds):
            names = " or ".join(k.__name__ for k in kinds)
            raise UsageError(f"{self.where}: {key} must be {names}, got {value!r}")
        return value

    def choice(self, key: str, options: Iterable[str], default: Any = ...) -> str:
        """The value of key, one of options."""
        value = self.take(key, str, default)
        if value not in tuple(options):
            raise unknown(f"{self.where}: {key}", value, options)
        return str(value)

    def number(self, key: str, default: Any = ...) -> float | None:
        """The value of key as a finite float, or the default."""
        value = self.take(key, (int, float), default)
        if value is not None and not math.isfinite(value):
            raise UsageError(f"{self.where}: {key} must be finite, got {value}")
        return None if value is None else float(value)

    def done(self) -> None:
        """Refuse keys that nobody asked for."""
        for key in self.left:
            raise unknown(f"{self.where}: key", str(key), self.known)


def _paper(raw: Any, where: str) -> Paper:
    take = _Fields(raw, where)
    name = take.take("id", str)
    settings = {
        key: _setting(value, f"{where}: settings.{key}")
        for key, value in take.take("settings", dict, {}).items()
    }
    claims = take.take("claims", dict)
    seal = _Fields(take.take("registered", dict, {"date": ""}), f"{where}: registered")
    paper = Paper(
        id=name,
        title=take.take("title", str),
        authors=tuple(take.take("authors", list)),
        venue=take.take("venue", str),
        year=take.take("year", int),
        arxiv=take.take("arxiv", str),
        code=take.take("code", str, ""),
        settings=settings,
        claims=tuple(_claim(name, k, v, settings, f"{where}: {k}") for k, v in claims.items()),
        registered_on=str(seal.left.pop("date", "")),
        registered=seal.take("digests", dict, {}),
        amendments=tuple(
            _amendment(entry, f"{where}: amendments[{i}]")
            for i, entry in enumerate(take.take("amendments", list, []))
        ),
    )
    seal.done()
    take.done()
    return paper


def _amendment(raw: Any, where: str) -> Amendment:
    take = _Fields(raw, where)
    date = str(take.left.pop("date", ""))
    reason = take.take("reason", str)
    if not date or not reason.strip():
        raise UsageError(f"{where}: an amendment needs its date and its reason; write both")
    both = (str, type(None))
    out = Amendment(
        date, take.take("part", str), reason, take.take("was", both), take.take("now", both)
    )
    take.done()
    return out


def _setting(raw: Any, where: str) -> Setting:
    take = _Fields(raw, where)
    matched = tuple(take.take("matched", list))
    for profile in matched:
        if profile not in PROFILES:
            raise unknown(f"{where}: profile under matched", str(profile), PROFILES)
    rows = []
    for i, item in enumerate(take.take("rows", list)):
        row = _Fields(item, f"{where}: rows[{i}]")
        rows.append(
            Row(
                row.take("what", str),
                row.take("paper", str),
                row.choice("provenance", PROVENANCES),
                row.take("ours", str),
            )
        )
        row.done()
    out = Setting(take.take("title", str), matched, tuple(rows))
    take.done()
    return out


def _claim(paper: str, name: str, raw: Any, settings: Mapping[str, Setting], where: str) -> Claim:
    take = _Fields(raw, where)
    parts = take.take("parts", dict)
    if not parts:
        raise UsageError(f"{where}: a claim needs at least one part; add one under parts")
    numbers = take.take("numbers", list, [])
    out = Claim(
        id=f"{paper}.{name}",
        statement=take.take("statement", str),
        source=take.take("source", str),
        provenance=take.choice("provenance", PROVENANCES),
        parts=tuple(
            _part(f"{paper}.{name}.{k}", v, settings, f"{where}.{k}") for k, v in parts.items()
        ),
        numbers=tuple(_number(n, f"{where}: numbers[{i}]") for i, n in enumerate(numbers)),
        note=take.take("note", str, ""),
    )
    take.done()
    return out


def _number(raw: Any, where: str) -> Number:
    take = _Fields(raw, where)
    value = take.number("value")
    assert value is not None
    out = Number(
        value,
        take.take("printed", str),
        take.choice("provenance", PROVENANCES),
        take.number("error", None),
        take.take("what", str, ""),
    )
    take.done()
    return out


def _part(name: str, raw: Any, settings: Mapping[str, Setting], where: str) -> Part:
    take = _Fields(raw, where)
    kind = take.choice("kind", KINDS)
    exact = kind in EXACT
    setting = take.take("setting", str, None)
    if setting is not None and setting not in settings:
        raise unknown(f"{where}: setting", setting, settings)
    number = take.take("paper", dict, None)
    estimand = take.take("estimand", dict, None)
    out = Part(
        id=name,
        title=take.take("title", str),
        kind=kind,
        profile=take.choice("profile", PROFILES, "smoke" if exact else ...),
        estimand=estimand,
        unit=take.choice("unit", UNITS, "draws" if exact else ...),
        null=take.number("null", 0.0) or 0.0,
        sign=take.take("sign", int, None),
        margin=take.number("margin", None),
        margin_reason=take.take("margin_reason", str, ""),
        seeds=tuple(take.take("seeds", list, [0])),
        seeds_reason=take.take("seeds_reason", str, ""),
        paper=None if number is None else _number(number, f"{where}: paper"),
        setting=setting,
        matched=settings[setting].matched if setting else (),
        not_at={str(k): v for k, v in take.take("not_at", dict, {}).items()},
        audited=take.take("audited", bool, False),
        estimate_only=take.take("estimate_only", str, None),
        scale=take.choice("scale", ("percent", "plain"), "plain" if exact else "percent"),
        planned=_plan(take.take("planned", dict, None), f"{where}: planned"),
    )
    take.done()
    for problem in _problems(out):
        raise UsageError(f"{where}: {problem}")
    return out


def _plan(raw: Any, where: str) -> Plan | None:
    if raw is None:
        return None
    take = _Fields(raw, where)
    effect, power = take.number("effect"), take.number("power", None)
    assert effect is not None
    out = Plan(effect, take.take("reason", str), power)
    take.done()
    return out


def _problems(part: Part) -> Iterable[str]:
    """What is wrong with a part, each with its fix."""
    if part.kind in EXACT:
        if part.estimand is not None or part.sign is not None or part.margin is not None:
            yield f"a {part.kind} takes no estimand, sign or margin; remove them"
        return
    try:
        check_estimand(part.estimand)
    except ValueError as error:
        yield str(error)
    if part.kind == "direction" and part.sign not in (1, -1):
        yield f"a direction needs sign: 1 or sign: -1, got {part.sign}"
    if part.kind != "direction" and part.sign is not None:
        yield f"sign says nothing for {part.kind}; remove it"
    yield from _margin_problems(part)
    yield from _seed_problems(part)
    yield from _plan_problems(part)
    for profile, reason in part.not_at.items():
        if profile not in PROFILES:
            yield f"unknown profile {profile!r} under not_at; use one of {', '.join(PROFILES)}"
        if not isinstance(reason, str) or not reason.strip():
            yield f"not_at.{profile} needs its reason: data, compute, or power with its figure"
    for profile in PROFILES[1 : PROFILES.index(part.profile)]:
        if profile not in part.not_at:
            yield f"it cannot speak at {profile}; register the reason: not_at: {{{profile}: ...}}"


def _plan_problems(part: Part) -> Iterable[str]:
    """A plan that could not be met is a registered reason, and no other plan is."""
    plan = part.planned
    if plan is None:
        return
    if plan.effect <= 0 or not 0 <= (plan.power or 0.0) <= 1 or not plan.reason.strip():
        yield "planned needs an effect above 0, a power between 0 and 1, and the effect's reason"
    if part.kind == "equivalence" and plan.effect != part.margin:
        yield f"an equivalence is planned for its margin: effect: {part.margin}, got {plan.effect}"
    told = part.not_at.get("laptop", "").startswith("power:")
    if plan.power is not None and told != (plan.power < ENOUGH_POWER):
        yield (
            f"planned power is {plan.power:g}: below {ENOUGH_POWER:g} the part belongs at gpu with "
            "not_at: {laptop: 'power: ...'}, otherwise at laptop"
        )


def _margin_problems(part: Part) -> Iterable[str]:
    recalled = part.paper is not None and part.paper.provenance == "recalled"
    if part.margin is not None:
        if part.margin <= 0:
            yield f"margin must be positive, got {part.margin}"
        if not part.margin_reason.strip():
            yield "margin has no margin_reason; say why a smaller difference would not matter"
    elif part.kind == "equivalence" or (
        part.kind == "value" and not recalled and not part.estimate_only
    ):
        yield f"a {part.kind} needs a margin and its margin_reason"
    if part.kind == "value" and part.estimate_only is None:
        if part.paper is not None and part.paper.provenance in ("third party", "derived here"):
            yield "a value is compared with the paper's own number, not one of others"
        if part.paper is None:
            yield "a value needs the paper's number: paper: {value, printed, provenance}"
        elif not recalled and part.profile not in part.matched:
            yield f"a value needs a setting whose matched list holds {part.profile!r}"


def _seed_problems(part: Part) -> Iterable[str]:
    if not part.seeds or not all(isinstance(s, int) and s >= 0 for s in part.seeds):
        yield f"seeds must be a list of whole numbers from 0, got {list(part.seeds)}"
    if len(set(part.seeds)) != len(part.seeds):
        yield f"seeds repeat in {list(part.seeds)}; list each once"
    if part.unit == "seeds" and len(part.seeds) < MIN_SEEDS and not part.seeds_reason.strip():
        yield f"unit seeds needs {MIN_SEEDS} seeds or a seeds_reason, got {len(part.seeds)}"


def registered_block(paper: Paper) -> str:
    """The digests of a paper's parts as the YAML block `registered`, with today's date."""
    digests = {k.removeprefix(paper.id + "."): digest(p) for k, p in paper.parts().items()}
    lines = [f"    {name}: {value!r}" for name, value in digests.items()]
    head = ["registered:", f"  date: {date.today().isoformat()}", "  digests:"]
    return "\n".join([*head, *lines])
