"""The registry: what a paper claims, split into parts that were fixed before the first real run.

One YAML file per paper under `notebooks/claims/`. Every key is checked, so that a typing error is a
line with its fix and never a part that silently is not judged. Each part has a digest of what
decides its verdict (see `digest`), stored at registration; a later change needs an entry under
`amendments`, with date, reason, and the digests before and after.
`robustnb register zhang2019` prints the block an author pastes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from datetime import date
from functools import cache
from pathlib import Path

from robustnb.errors import UsageError, unknown
from robustnb.reproduce.estimand_forms import check_estimand
from robustnb.reproduce.profiles import NAMES as PROFILES
from robustnb.reproduce.project import is_name
from robustnb.reproduce.registry_types import (
    ENOUGH_POWER,
    EXACT,
    MIN_SEEDS,
    Amendment,
    Claim,
    Number,
    Paper,
    Part,
    Row,
    Setting,
    digest,
    settings_table,
    unregistered_changes,
)
from robustnb.reproduce.yamlfile import read

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

_THEOREM = {"proof": "proved", "check": "proved", "direction": "checked"}
# as `measure` has them, so that a run can measure what a registry lists
_IDS = {
    "paper": (re.compile(r"[a-z]+[0-9]{4}"), "lower-case letters and a year, such as doe2020"),
    "claim": (re.compile(r"C[0-9]+"), "C and a number, such as C1"),
    "part": (re.compile(r"[a-z0-9_]+"), "lower-case letters, digits and _, such as robust_up"),
}
CLAIMS = Path(__file__).resolve().parents[2] / "notebooks" / "claims"


def load(name: str | Path, *, folder: Path = CLAIMS) -> Paper:
    """Read one registry by paper name or by path; raises UsageError naming file, claim and fix."""
    path = name if isinstance(name, Path) else folder / f"{name}.yaml"
    if not path.is_file():
        if (path.parent.parent / f"{path.stem}.md").is_file():
            raise UsageError(f"{path.stem} has no registry yet; write notebooks/claims/{path.name}")
        raise unknown("paper", path.stem, (p.stem for p in path.parent.glob("*.yaml")))
    return _load(path, path.stat().st_mtime_ns)


@cache
def _load(path: Path, stamp: int) -> Paper:
    paper = read(path, Paper)
    if paper.id != path.stem:
        raise UsageError(f"{path.name}: id is {paper.id!r}; name the file {paper.id}.yaml")
    _check_ids(paper, path.name)
    for number, entry in enumerate(paper.amendments):
        if not entry.date or not entry.reason.strip():
            raise UsageError(
                f"{path.name}: amendments[{number}]: an amendment needs its date and its reason; "
                "write both"
            )
    for number, mark in enumerate(paper.headline.marks if paper.headline else ()):
        try:
            for estimand in mark.estimands():
                check_estimand(estimand)
        except ValueError as error:
            raise UsageError(f"{path.name}: headline.marks[{number}]: {error}") from None
    return replace(paper, claims=tuple(_claim(paper, claim, path.name) for claim in paper.claims))


def load_all(folder: Path = CLAIMS) -> dict[str, Paper]:
    """Every paper of the folder, by id; files whose names no paper can have are left out."""
    paths = sorted(path for path in folder.glob("*.yaml") if is_name(path.stem))
    return {path.stem: load(path) for path in paths}


def _check_ids(paper: Paper, file: str) -> None:
    """UsageError for an id that no notebook could measure."""
    ids = [("paper", paper.id)]
    for claim in paper.claims:
        ids += [("claim", claim.id), *(("part", part.id) for part in claim.parts)]
    for what, given in ids:
        form, told = _IDS[what]
        if form.fullmatch(given) is None:
            raise UsageError(f"{file}: {given!r} cannot be the id of a {what}: write {told}")


def _claim(paper: Paper, claim: Claim, file: str) -> Claim:
    """The claim with full names and its parts' settings looked up, and with parts without fault."""
    where, name = f"{file}: claims.{claim.id}", f"{paper.id}.{claim.id}"
    if not claim.parts:
        raise UsageError(f"{where}: a claim needs at least one part; add one under parts")
    parts = []
    for part in claim.parts:
        place = f"{where}.parts.{part.id}"
        matched: tuple[str, ...] = ()
        if part.setting is not None:
            if part.setting not in paper.settings:
                raise UsageError(f"{place}: {unknown('setting', part.setting, paper.settings)}")
            matched = paper.settings[part.setting].matched
        parts.append(replace(part, id=f"{name}.{part.id}", matched=matched))
        for problem in _problems(parts[-1]):
            raise UsageError(f"{place}: {problem}")
    if claim.theorem in ("proved", "repaired") and not any(p.theorem == "proved" for p in parts):
        raise UsageError(
            f"{where}: theorem: {claim.theorem} needs a part whose checks are those of the proof's "
            "steps; give that part theorem: proved"
        )
    if claim.theorem in ("by machine", "repaired") and not any(p.kind == "proof" for p in parts):
        raise UsageError(
            f"{where}: theorem: {claim.theorem} needs a part of kind proof, such as the "
            "counterexample to the printed statement"
        )
    return replace(claim, id=name, parts=tuple(parts))


def _problems(part: Part) -> Iterable[str]:
    """What is wrong with a part, each with its fix."""
    if part.theorem is not None and part.theorem != _THEOREM.get(part.kind):
        yield f"theorem: {part.theorem} says nothing for a {part.kind}; remove it"
    if part.kind in EXACT:
        if any(
            x is not None
            for x in (part.estimand, part.sign, part.margin, part.planned, part.control)
        ):
            yield f"a {part.kind} takes no estimand, sign, margin, plan or control; remove them"
        return
    if part.nearest is not None and "frontier" not in (part.estimand or {}):
        yield "nearest says nothing beside an estimand that is no frontier; remove it"
    try:
        check_estimand(part.estimand)
        for beside in (part.nearest, part.control):
            if beside is not None:
                check_estimand(beside.estimand)
    except ValueError as error:
        yield str(error)
    if part.kind == "direction" and part.sign not in (1, -1):
        yield f"a direction needs sign: 1 or sign: -1, got {part.sign}"
    if part.control is not None and part.control.sign not in (1, -1):
        yield f"a control needs sign: 1 or sign: -1, got {part.control.sign}"
    if part.outcomes is not None and part.outcomes[0] >= part.outcomes[1]:
        yield f"outcomes are the least and the largest value of one, got {list(part.outcomes)}"
    if part.kind != "direction" and part.sign is not None:
        yield f"sign says nothing for {part.kind}; remove it"
    yield from _margin_problems(part)
    yield from _seed_problems(part)
    yield from _plan_problems(part)
    for profile, reason in part.not_at.items():
        if profile not in PROFILES:
            yield f"unknown profile {profile!r} under not_at; use one of {', '.join(PROFILES)}"
        if not reason.strip():
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
    if (plan.papers and part.kind != "direction") or plan.error < 0:
        yield "planned: papers: true belongs to a direction, and its error is at least 0"
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
    if not part.seeds or min(part.seeds) < 0:
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
