"""Placeholders of the pages, and what the ledger puts in their place.

`{{ verdict zhang2019.C6 }}` in a notebook's prose or a page of the book becomes Markdown. Nothing
that a build measures is typed by hand; a placeholder that nobody knows is an error.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robustnb.errors import UsageError, unknown
from robustnb.provenance import definition
from robustnb.reproduce import (
    entries,
    finding,
    formatting,
    parts,
    render_figures,
    scoreboard,
    verdict_box,
    zoo_table,
)
from robustnb.reproduce.listing import listing
from robustnb.reproduce.profiles import NAMES as PROFILES

Json = Mapping[str, Any]
_PLACEHOLDER = re.compile(r"\{\{ ([a-z]+)((?: [^{}\s]+)*) \}\}")


@dataclass(frozen=True)
class Page:
    """The page being written: a paper's, of the `run` of the ledger, or one of the book's."""

    root: Path
    paper: str = ""
    profile: str = ""
    parameters: Mapping[str, Any] | None = None
    run: str = ""


def substitute(text: str, ledger: Json, *, page: Page | str) -> str:
    """Replace every placeholder of `text`; UsageError for one that is not known."""
    if isinstance(page, str):
        from robustnb.reproduce.project import find

        page = Page(find().root)
    context = page

    def replace(match: re.Match[str]) -> str:
        name, words = match.group(1), match.group(2).split()
        if name not in _RENDERERS:
            raise unknown("placeholder", name, _RENDERERS)
        renderer = _RENDERERS[name]
        try:
            inspect.signature(renderer).bind(ledger, context, *words)
        except TypeError:
            raise UsageError(f"placeholder {match.group()} has the wrong number of words") from None
        return renderer(ledger, context, *words)

    return _PLACEHOLDER.sub(replace, text)


def _verdict(ledger: Json, page: Page, name: str) -> str:
    """The block that ends a section."""
    claim = entries.claim(ledger, name)
    return substitute(verdict_box.box(name, claim, page_profile=page.profile), ledger, page=page)


def _claims(ledger: Json, page: Page, paper: str = "") -> str:
    """The list of claims at the top of a page."""
    return verdict_box.claims_list(_papers(ledger, page, paper)[0]["claims"])


def _value(ledger: Json, _page: Page, name: str) -> str:
    """Our estimate with its interval, inside a sentence."""
    part = entries.part(ledger, name)
    found = part["profiles"][formatting.shown_profile(part)]
    if found["estimate"] is None:
        return f"*{found['label']}*"
    return f"{formatting.ours(part, found)} {formatting.bounds(part, found['interval'])}".strip()


def _size(ledger: Json, _page: Page, name: str) -> str:
    """The same without signs, for a sentence that says the direction in words."""
    return finding.size(entries.part(ledger, name))


def _of_runs(ledger: Json, _page: Page, name: str) -> str:
    """How many of the runs lie on the claimed side."""
    return finding.runs(entries.part(ledger, name))


def _paper(ledger: Json, _page: Page, name: str) -> str:
    return formatting.paper_number(entries.part(ledger, name)) or "–"


def _papers(ledger: Json, page: Page, paper: str) -> list[Json]:
    return entries.papers(ledger, paper or page.paper)


def _scorecard(ledger: Json, page: Page, paper: str = "") -> str:
    """Every claim of a paper with its verdict at each profile that ran."""
    ran = {profile for _, profile, _ in _runs(ledger)}
    shown = [profile for profile in PROFILES if profile in ran]
    rows = []
    for found in _papers(ledger, page, paper):
        for name, claim in found["claims"].items():
            verdicts = [formatting.badge(claim["profiles"][profile]) for profile in shown]
            link = entries.link(name, f"{name.partition('.')[0]} {entries.short(name)}")
            rows.append([link, claim["statement"], *verdicts])
    return formatting.table(["claim", "what the paper says", *shown], rows)


def _estimate(ledger: Json, _page: Page, name: str) -> str:
    """Our estimate without its interval, where a sentence has room for no more."""
    part = entries.part(ledger, name)
    found = part["profiles"][formatting.shown_profile(part)]
    return f"*{found['label']}*" if found["estimate"] is None else formatting.ours(part, found)


def _setting(_ledger: Json, page: Page, name: str) -> str:
    """The table "paper against ours" of one experiment."""
    from robustnb.reproduce.registry import load
    from robustnb.reproduce.registry_types import settings_table

    registered = load(page.paper, folder=page.root / "notebooks" / "claims")
    rows = [
        [row["what"], row["paper"], row["provenance"], row["ours"]]
        for row in settings_table(registered, name, page.parameters or {})
    ]
    title = registered.settings[name].title
    return f"**{title}**\n\n" + formatting.table(["", "paper", "known from", "this run"], rows)


def _source(_ledger: Json, _page: Page, name: str) -> str:
    """The lines of robustnb that ran, their docstrings filled; `name` is module:object."""
    module, _, wanted = name.partition(":")
    try:
        return f"```python\n# {module}\n{listing(definition(module, wanted))}\n```"
    except ImportError as error:
        raise UsageError(f"placeholder source {name}: {error}; write module:object") from None


def _parameter(_ledger: Json, page: Page, name: str) -> str:
    parameters = page.parameters or {}
    if name not in parameters:
        raise unknown("parameter", name, parameters)
    value = parameters[name]
    return f"{value:g}" if isinstance(value, float) else str(value)


def _runs(ledger: Json) -> list[tuple[str, str, Json]]:
    return [(*name.split("/")[:2], run) for name, run in ledger["runs"].items()]  # type: ignore[misc]


def _costs(ledger: Json, page: Page, paper: str = "") -> str:
    """What each profile cost: the mean over its seeds; of a seed run twice, its record decides."""
    spent: dict[tuple[str, str], dict[int, Json]] = {}
    for name, profile, run in _runs(ledger):
        if not (paper or page.paper) or name == (paper or page.paper):
            seeds = spent.setdefault((name, profile), {})
            if run["origin"] == "record" or run["seed"] not in seeds:
                seeds[run["seed"]] = run
    budgets = _profiles(page)
    rows = []
    place = parts.in_order(ledger["papers"], page.root).index
    for (name, profile), found in sorted(
        spent.items(), key=lambda x: (place(x[0][0]), _order(x[0][1]))
    ):
        runs = list(found.values())
        mean = {k: _mean_cost(runs, k) for k in ("cpu_seconds", "wall_seconds", "peak_mb")}
        rows.append(
            [
                formatting.stacked(
                    name, ", ".join(sorted({formatting.age(r) for r in runs} - {""}))
                ),
                profile,
                str(len(runs)),
                f"{mean['cpu_seconds']:.0f}",
                _against_budget(runs, budgets[profile].reference_seconds),
                f"{mean['wall_seconds']:.0f}",
                f"{mean['peak_mb'] / 1024:.1f} of {budgets[profile].memory_gb:g}",
                ", ".join(sorted({f"{r['device']}, torch {r['versions']['torch']}" for r in runs})),
            ]
        )
    header = [
        "paper",
        "profile",
        "runs",
        "CPU-seconds",
        "reference seconds",
        "wall seconds",
        "GB",
        "on",
    ]
    return formatting.table(header, rows)


def _mean_cost(runs: Sequence[Json], name: str) -> float:
    return float(sum(run["cost"][name] for run in runs)) / len(runs)


def _against_budget(runs: Sequence[Json], budget: float) -> str:
    """The mean of the runs that measured their machine, and the budget; it ends no run."""
    measured = [run for run in runs if "reference_seconds" in run["cost"]]
    if not measured:
        return "–"
    mean = _mean_cost(measured, "reference_seconds")
    return f"{mean:.0f} of {budget:.0f}{' (over budget)' if mean > budget else ''}"


def _order(profile: str) -> int:
    return PROFILES.index(profile)


def _profiles(page: Page) -> Mapping[str, Any]:
    from robustnb.reproduce.profiles import load

    return load(page.root / "notebooks")


def _budgets(_ledger: Json, page: Page) -> str:
    rows = [
        [name, p.where, p.purpose, f"{p.reference_seconds:,.0f}", f"{p.memory_gb:g}"]
        for name, p in _profiles(page).items()
    ]
    return formatting.table(["profile", "where", "for", "reference seconds", "GB"], rows)


def _amendments(ledger: Json, page: Page, paper: str = "") -> str:
    """What was changed in the registry after it was committed, and why."""
    rows = [
        [f"{name}.{entry['part']}", entry["date"], entry["reason"]]
        for name, found in ledger["papers"].items()
        if not (paper or page.paper) or name == (paper or page.paper)
        for entry in found["amendments"]
    ]
    return formatting.table(["part", "date", "reason"], rows) if rows else "No amendments so far."


def _zoo(_ledger: Json, _page: Page, what: str) -> str:
    """One of the tables of the zoo's networks, from its manifest."""
    return zoo_table.table(what)


_RENDERERS: dict[str, Callable[..., str]] = {
    "amendments": _amendments,
    "badge": scoreboard.badge,
    "board": scoreboard.board,
    "budgets": _budgets,
    "cards": scoreboard.cards,
    "claims": _claims,
    "cost": _costs,
    "costs": _costs,
    "estimate": _estimate,
    "findings": scoreboard.findings,
    "headline": render_figures.headline,
    "hero": scoreboard.hero,
    "mean": render_figures.mean_of,
    "paper": _paper,
    "param": _parameter,
    "repaired": scoreboard.repaired,
    "runs": _of_runs,
    "scorecard": _scorecard,
    "setting": _setting,
    "size": _size,
    "source": _source,
    "tiles": scoreboard.tiles,
    "totals": scoreboard.totals,
    "value": _value,
    "verdict": _verdict,
    "zoo": _zoo,
}
