"""What the command prints: plain text for people, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from robustnb.reproduce import formatting
from robustnb.reproduce.plain import plain_text
from robustnb.reproduce.profiles import load as load_profiles
from robustnb.reproduce.project import Project
from robustnb.reproduce.registry import load_all

Json = Mapping[str, Any]
_WIDTH = 76


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows of equal keys as aligned columns."""
    if not rows:
        return "nothing"
    names = list(rows[0])
    cells = [names, *([str(row[name]) for name in names] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(names))]
    return "\n".join(
        "  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in cells
    )


def _short(statement: str) -> str:
    text = plain_text(statement)
    return text if len(text) <= _WIDTH else text[: _WIDTH - 1].rstrip() + "…"


def overview(project: Project, *, as_json: bool) -> str:
    """Papers with their claims, and the profiles with their budgets."""
    registry = load_all(project.claims)
    profiles = load_profiles(project.notebooks)
    if as_json:
        papers = {
            name: {
                "title": paper.title,
                "claims": {claim.id: claim.statement for claim in paper.claims},
            }
            for name, paper in registry.items()
        }
        sizes = {
            name: {
                "reference_seconds": p.reference_seconds,
                "memory_gb": p.memory_gb,
                "where": p.where,
            }
            for name, p in profiles.items()
        }
        return json.dumps({"papers": papers, "profiles": sizes}, indent=1)
    lines = []
    for paper in registry.values():
        lines += [f"{paper.id}  {paper.title} ({paper.venue})"]
        lines += [f"  {claim.id}  {_short(claim.statement)}" for claim in paper.claims]
    lines += [f"{name}  (no registry)" for name in project.papers() if name not in registry]
    rows = [
        {
            "profile": name,
            "reference seconds": f"{p.reference_seconds:,.0f}",
            "GB": f"{p.memory_gb:g}",
            "where": p.where,
            "for": p.purpose,
        }
        for name, p in profiles.items()
    ]
    return "\n".join([*lines, "", "Budget for one notebook and seed:", table(rows)])


def _papers(ledger: Json, papers: Sequence[str]) -> dict[str, Json]:
    return {name: ledger["papers"][name] for name in papers if name in ledger["papers"]}


def claims(ledger: Json, papers: Sequence[str], *, as_json: bool) -> str:
    """The verdict on each claim of `papers`."""
    chosen = _papers(ledger, papers)
    if as_json:
        return json.dumps({n: p["claims"] for n, p in chosen.items()}, indent=1, sort_keys=True)
    rows = [
        {
            "claim": name,
            "verdict": claim["label"],
            "at": claim["profile"] or "-",
            "what the paper says": _short(claim["statement"]),
        }
        for paper in chosen.values()
        for name, claim in paper["claims"].items()
    ]
    tallies = [f"{n}: {formatting.tally(p['totals']['overall'])}" for n, p in chosen.items()]
    return "\n".join([table(rows), "", *tallies])


def why(ledger: Json, claim: str, *, as_json: bool) -> str:
    """From a claim's verdict to its parts, the runs behind them and what those ran.

    Of a part (`zhang2019.C6.robust_up`) its own alone.
    """
    name = ".".join(claim.split(".")[:2])
    found = ledger["papers"][claim.partition(".")[0]]["claims"][name]
    if claim != name:
        found = {**found, "parts": {claim: found["parts"][claim]}}
    used = sorted(
        {
            w["run"]
            for part in found["parts"].values()
            for verdict in part["profiles"].values()
            for w in verdict["why"]
        }
    )
    if as_json:
        runs = {name: ledger["runs"][name] for name in used}
        return json.dumps({"claim": found, "runs": runs}, indent=1, sort_keys=True)
    lines = [
        f"{name}: {found['label']} (at {found['profile'] or 'no profile'})",
        f"  {plain_text(found['statement'])}",
        f"  source: {found['source']} ({found['provenance']})",
    ]
    lines += [f"  {plain_text(found['text'])}"] if found["text"] else []
    for name, part in found["parts"].items():
        lines += _why_part(name, part)
    for name in used:
        lines += _why_run(name, ledger["runs"][name])
    return "\n".join(lines)


def _why_part(name: str, part: Json) -> list[str]:
    profile = formatting.shown_profile(part)
    verdict = part["profiles"][profile]
    lines = ["", f"  {name}: {verdict['label']} (at {profile})", f"    {plain_text(part['title'])}"]
    if part["estimand"] is not None:
        lines.append(f"    estimand {json.dumps(part['estimand'])}, null {part['null']:g}")
    if part["planned"] is not None:
        lines.append(f"    {formatting.planned(part)}")
    if verdict["estimate"] is not None:
        interval = formatting.bounds(part, verdict["interval"])
        lines.append(
            f"    estimate {formatting.quantity(part, verdict['estimate'])} {interval}, "
            f"p (adjusted) {formatting.p_values(verdict) or '-'}, "
            f"{formatting.sample(part, verdict)}"
        )
        seeds = {s: formatting.quantity(part, v) for s, v in verdict["per_seed"].items()}
        lines.append("    per seed: " + ", ".join(f"{s}: {v}" for s, v in seeds.items()))
    lines += [f"    {plain_text(verdict[told])}" for told in ("control", "text") if verdict[told]]
    for behind in verdict["why"]:
        arms = ", ".join(f"{a} {v['mean']:.4g} (n={v['n']})" for a, v in behind["arms"].items())
        lines.append(f"    from {behind['run']}{': ' + arms if arms else ''}")
    return lines


def _why_run(name: str, run: Json) -> list[str]:
    age = formatting.age(run)
    return [
        "",
        f"  run {name}: key {run['key']}, code and data {run['source']}"
        + (f", {age}" if age else ""),
        f"    parameters {json.dumps(run['parameters'], sort_keys=True)}",
        f"    data {', '.join(run.get('data', {})) or 'none'}",
        f"    on {run['device']}, "
        + ", ".join(f"{package} {v}" for package, v in sorted(run["versions"].items())),
        f"    cost {run['cost']['cpu_seconds']} CPU-seconds, "
        f"{run['cost'].get('reference_seconds', '-')} reference seconds, "
        f"{run['cost']['peak_mb']} MB",
    ]
