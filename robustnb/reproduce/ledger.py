"""The ledger: every verdict of the book, as a pure function of the registry and the records.

    papers.<paper>.claims.<claim>
        word, label, group, profile, part   the headline: at the largest profile that has judged
        text                                the parts that do not hold, by name
        profiles.<profile>                  word, label, group, text and weakest part there
        beyond                              parts that only a larger profile can judge
        parts.<part>                        the registered part, and under `profiles` its verdicts
            .why                            the runs behind it: id, arms, n and means
            .local                          a local run against the committed ones
    runs.<id>                               key, source, parameters, data, versions, the mean of
                                            each arm, and whether its code is earlier: stale, or
                                            confirmed (how)
    totals                                  overall, per profile and per paper

A claim at a profile is joined from its parts that can speak there (`claim_verdict`); a part not
judged at a profile keeps the verdict of the largest smaller one. Every claim stays in the
denominator.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from robustnb.reproduce.claim_verdict import claim_at, touched
from robustnb.reproduce.estimands import per_seed
from robustnb.reproduce.part_verdict import PartVerdict
from robustnb.reproduce.profiles import NAMES as PROFILES
from robustnb.reproduce.registry_types import EXACT, Claim, Paper, Part, can_speak, digest
from robustnb.reproduce.registry_types import unregistered_changes as changes
from robustnb.reproduce.run_records import RunRecord, confirmation_behind, open_records, speaking
from robustnb.reproduce.verdict import judge_all
from robustnb.reproduce.words import GROUPS, JUDGED, NOT_RUN, SEEN, WORDS
from robustnb.stats import DRAWS, prediction_interval

Json = dict[str, Any]
Verdicts = dict[str, dict[str, PartVerdict]]  # part -> profile -> verdict


def ledger(
    registry: Mapping[str, Paper],
    records: Sequence[Mapping[str, Any]],
    sources: Mapping[tuple[str, str, int], str],
    confirmed: Mapping[tuple[str, str, int], Json] | None = None,
    *,
    draws: int = DRAWS,
) -> Json:
    """Judge every registered part at every profile from the records' raw outcomes.

    records: JSON records, each with an "origin" of "record" (committed) or "run" (local).
    sources: today's source digest by (paper, profile, seed); another one flags a record as stale,
    unless `confirmed` says, by the same names, how the earlier code was found equal to today's.
    Returns plain JSON types; equal input gives equal output.
    """
    opened = open_records(records, sources, confirmed or {})
    verdicts: Verdicts = {}
    for profile in PROFILES:
        items = [
            (part, _records_for(part, paper, opened, profile))
            for paper in registry.values()
            for part in paper.parts().values()
        ]
        runs = [(part, [r for x in found if (r := x.run(part))]) for part, found in items]
        for verdict in judge_all(runs, profile, draws=draws):
            verdicts.setdefault(verdict.part, {})[profile] = verdict
    papers = {name: _paper(paper, opened, verdicts) for name, paper in sorted(registry.items())}
    known = {part for paper in registry.values() for part in paper.parts()}
    return {
        "schema": 1,
        "words": {word: GROUPS[word] for word in WORDS},
        "papers": papers,
        "runs": {record.id: record.facts() for record in opened},
        "unknown_parts": sorted({p for r in opened for p in r.by_part} - known),
        "totals": _totals([c for p in papers.values() for c in p["claims"].values()]),
    }


def _records_for(
    part: Part, paper: Paper, records: Sequence[RunRecord], profile: str
) -> list[RunRecord]:
    """The records that decide; a counterexample counts wherever it was found."""
    chosen = speaking(records, paper.id, profile)
    if part.kind in EXACT:
        everyone = [r for r in records if (r.paper, r.profile) == (paper.id, profile)]
        return [*chosen, *(r for r in everyone if r not in chosen)]
    return chosen


def _paper(paper: Paper, records: Sequence[RunRecord], verdicts: Verdicts) -> Json:
    mine = [r for r in records if r.paper == paper.id]
    claims = {claim.id: _claim(paper, claim, mine, verdicts) for claim in paper.claims}
    return {
        "title": paper.title,
        "authors": list(paper.authors),
        "venue": paper.venue,
        "year": paper.year,
        "arxiv": paper.arxiv,
        "code": paper.code,
        "registered": paper.registered.date,
        "amendments": [dataclasses.asdict(entry) for entry in paper.amendments],
        "unregistered_changes": changes(paper),
        "claims": claims,
        "totals": _totals(list(claims.values())),
    }


def _claim(paper: Paper, claim: Claim, records: Sequence[RunRecord], verdicts: Verdicts) -> Json:
    at = {profile: claim_at(claim, verdicts, profile) for profile in PROFILES}
    headline = _headline(claim, verdicts, at)
    profile = headline or PROFILES[0]
    return {
        **at[profile],
        "profile": headline,
        "statement": claim.statement,
        "source": claim.source,
        "provenance": claim.provenance,
        "theorem": claim.theorem,
        "note": claim.note,
        "finding": dict(claim.finding),
        "numbers": [dataclasses.asdict(number) for number in claim.numbers],
        "profiles": at,
        "beyond": [p.id for p in claim.parts if not can_speak(p, profile)],
        "stale": any(r.stale for r in speaking(records, paper.id, profile)),
        "confirmed": confirmation_behind(speaking(records, paper.id, profile)),
        "parts": {part.id: _part(paper, part, records, verdicts[part.id]) for part in claim.parts},
    }


def _headline(claim: Claim, verdicts: Verdicts, at: Mapping[str, Json]) -> str | None:
    """The largest profile with a judged claim and a part judged right there; else one that ran."""

    def rank(profile: str) -> int:
        own = [verdicts[part.id][profile] for part in claim.parts]
        if at[profile]["group"] in JUDGED and any(v.group in JUDGED for v in own):
            return 3
        if at[profile]["word"] == SEEN:
            return 2
        return int(any(touched(v) for v in own))

    best = max(reversed(PROFILES), key=rank)
    return best if rank(best) else None


def _part(
    paper: Paper, part: Part, records: Sequence[RunRecord], verdicts: Mapping[str, PartVerdict]
) -> Json:
    plain = dataclasses.asdict(part)
    for name in ("seeds", "matched"):
        plain[name] = list(plain[name])
    profiles = {}
    for profile in PROFILES:
        chosen = speaking(records, paper.id, profile)
        behind = [r for r in chosen if r.run(part) is not None]
        shown = verdicts[profile].to_json()
        shown["why"] = [r.why(part) for r in behind]
        shown["stale"] = any(r.stale for r in behind)
        shown["confirmed"] = confirmation_behind(behind)
        shown["local"] = _local(part, records, profile)
        profiles[profile] = shown
    return {**plain, "digest": digest(part), "profiles": profiles}


def _local(part: Part, records: Sequence[RunRecord], profile: str) -> Json | None:
    """Whether local runs lie in the 95 % prediction interval of the committed ones; else None."""
    if part.estimand is None or profile == "smoke":
        return None
    values: dict[str, dict[int, float]] = {"record": {}, "run": {}}
    for record in records:
        run = record.run(part) if record.profile == profile else None
        if run is not None:
            values[record.origin][record.seed] = float(per_seed(part.estimand, [run.arms])[0])
    kept = [values["record"][s] for s in sorted(values["record"]) if s in part.seeds]
    if len(kept) < 2 or not values["run"]:
        return None
    interval = prediction_interval(kept)
    slack = 1e-9
    return {
        "low": float(f"{interval.low:.6g}"),
        "high": float(f"{interval.high:.6g}"),
        "n_records": len(kept),
        "runs": {
            str(seed): {
                "value": float(f"{value:.6g}"),
                "within": interval.low - slack <= value <= interval.high + slack,
            }
            for seed, value in sorted(values["run"].items())
        },
    }


def _totals(claims: Sequence[Json]) -> Json:
    """Counts by group and word, overall and at each profile; every claim is in the denominator."""
    overall = _count(claims)
    parts = [v for claim in claims for v in claim["parts"].values()]
    return {
        "overall": overall,
        "profiles": {p: _count([claim["profiles"][p] for claim in claims]) for p in PROFILES},
        "parts": {p: _count([part["profiles"][p] for part in parts]) for p in PROFILES},
    }


def _count(entries: Iterable[Json]) -> Json:
    listed = list(entries)
    groups = Counter(entry["group"] for entry in listed)
    words = Counter(entry["word"] for entry in listed)
    order = (*JUDGED, "open", "unjudged")
    return {
        "n": len(listed),
        **{group: groups[group] for group in order},
        "not_run": words[NOT_RUN],
        "words": {word: words[word] for word in WORDS if words[word]},
    }
