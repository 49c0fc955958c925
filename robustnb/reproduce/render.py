"""Placeholders of the pages, and what the ledger puts in their place.

`{{ verdict zhang2019.C6 }}` in a notebook's prose or a page of the book becomes Markdown. Nothing
that a build measures is typed by hand; a placeholder that nobody knows is an error.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from robustnb.errors import UsageError, unknown
from robustnb.reproduce import formatting, render_figures
from robustnb.reproduce.profiles import NAMES as PROFILES
from robustnb.reproduce.registry_types import EXACT

Json = Mapping[str, Any]
_PLACEHOLDER = re.compile(r"\{\{ ([a-z]+)((?: [^{}\s]+)*) \}\}")
_README = re.compile(r"(<!-- verdicts:[^>]*-->\n).*?(<!-- end of verdicts -->)", re.DOTALL)


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


def _claim(ledger: Json, name: str) -> Json:
    paper = ledger["papers"].get(name.partition(".")[0], {"claims": {}})
    if name not in paper["claims"]:
        raise unknown("claim", name, [c for p in ledger["papers"].values() for c in p["claims"]])
    found: Json = paper["claims"][name]
    return found


def _part(ledger: Json, name: str) -> Json:
    parts = _claim(ledger, name.rpartition(".")[0])["parts"]
    if name not in parts:
        raise unknown("part", name, parts)
    found: Json = parts[name]
    return found


def _label(claim: str) -> str:
    return claim.replace(".", "-").lower()


def _short(claim: str) -> str:
    return claim.rpartition(".")[2]


def _verdict(ledger: Json, page: Page, name: str) -> str:
    """The block that ends a section: what the paper says, what was found, part by part."""
    claim = _claim(ledger, name)
    rows = [_part_row(part) for part in claim["parts"].values()]
    header = ["what was tested", "found here, with its 95 % interval", "verdict"]
    remarks = [
        f"*{part['title']}*: {text}"
        for part in claim["parts"].values()
        if (text := _remark(part, page.profile))
    ]
    note = f"\n\n{claim['note']}" if claim["note"] else ""
    numbers = "; ".join(f"{n['what']}: {formatting.number(n)}" for n in claim["numbers"])
    note += f"\n\nThe paper's numbers: {numbers}." if numbers else ""
    if claim["text"]:
        remarks.insert(0, f"{claim['text'][0].upper()}{claim['text'][1:]}.")
    told = "\n\n" + "\n".join(f"- {remark}" for remark in remarks) if remarks else ""
    return (
        f"({_label(name)})=\n:::{{admonition}} {_short(name)}. {claim['statement']}\n"
        f":class: rnb-verdict\n{formatting.badge(claim)} *Source: {claim['source']} "
        f"({claim['provenance']}).*\n\n{formatting.table(header, rows)}{told}{note}\n:::"
    )


def _part_row(part: Json) -> list[str]:
    """Three cells: the part over the paper's number, our result over its sample, the badge."""
    profile = formatting.shown_profile(part)
    found = part["profiles"][profile]
    paper = formatting.paper_number(part)
    interval = formatting.bounds(part, found["interval"])
    result = " ".join(
        text
        for text in (
            formatting.ours(part, found),
            f'<span class="rnb-interval">{interval}</span>' if interval else "",
        )
        if text
    )
    p = formatting.p_values(found)
    details = [formatting.sample(part, found), f"p = {p}".replace("= <", "<") if p else ""]
    return [
        formatting.stacked(part["title"], f"paper: {paper}" if paper else ""),
        formatting.stacked(result or "–", ", ".join(text for text in details if text)),
        formatting.stacked(f"{formatting.badge(found)} {profile}", formatting.age(found)),
    ]


def _remark(part: Json, page_profile: str) -> str:
    """What a reader must know beside the badge: why not judged, and what a local run shows.

    Local runs are told of at the profile of the verdict and at the one whose outputs the page has.
    """
    profile = formatting.shown_profile(part)
    found = part["profiles"][profile]
    quiet = part["kind"] in EXACT or found["group"] == "holds" or found["word"] == "not run"
    told = [found["control"], found["caveat"] if quiet else found["text"]]
    if part["planned"] and found["group"] == "inconclusive":
        told.append(formatting.planned(part))
    for size in dict.fromkeys((profile, page_profile or profile)):
        told += _beside_records(part, size)
    return "; ".join(text for text in told if text)


def _beside_records(part: Json, profile: str) -> list[str]:
    """Each local run of a profile against the prediction interval of the records."""
    local = part["profiles"][profile]["local"]
    return [
        f"the {profile} run on this machine (seed {seed}) gives "
        f"{formatting.quantity(part, run['value'])}, "
        f"{'inside' if run['within'] else 'outside'} the records' 95 % prediction interval "
        f"{formatting.bounds(part, local)}"
        for seed, run in (local["runs"].items() if local else ())
    ]


def _claims(ledger: Json, page: Page, paper: str = "") -> str:
    """The list of claims at the top of a page."""
    claims = _papers(ledger, page, paper)[0]["claims"]
    rows = [
        [
            f"{{ref}}`{_short(name)} <{_label(name)}>`",
            claim["statement"],
            formatting.badge(claim),
            claim["profile"] or "–",
        ]
        for name, claim in claims.items()
    ]
    return formatting.table(["", "the paper's claim", "verdict", "at"], rows)


def _papers(ledger: Json, page: Page, paper: str) -> list[Json]:
    name = paper or page.paper
    if name and name not in ledger["papers"]:
        raise unknown("paper", name, ledger["papers"])
    return [ledger["papers"][name]] if name else list(ledger["papers"].values())


def _scoreboard(ledger: Json, page: Page, paper: str = "") -> str:
    """Every claim with its verdict at each profile that ran."""
    ran = {profile for _, profile, _ in _runs(ledger)}
    shown = [profile for profile in PROFILES if profile in ran]
    rows = []
    for found in _papers(ledger, page, paper):
        for name, claim in found["claims"].items():
            verdicts = [formatting.badge(claim["profiles"][profile]) for profile in shown]
            link = f"{{ref}}`{name.partition('.')[0]} {_short(name)} <{_label(name)}>`"
            rows.append([link, claim["statement"], *verdicts])
    return formatting.table(["claim", "what the paper says", *shown], rows)


def _totals(ledger: Json, _page: Page) -> str:
    return formatting.tally(ledger["totals"]["overall"])


_COLUMNS = {
    "holds": "hold",
    "partly": "hold in part",
    "against": "against",
    "inconclusive": "inconclusive",
    "open": "open",
    "unjudged": "not judged",
}


def _cover(ledger: Json, _page: Page) -> str:
    """How many claims hold, in large figures, and which they are, for the book's first screen."""
    totals = ledger["totals"]["overall"]
    tiles = "".join(
        f'<div class="rnb-tile rnb-{group}"><strong>{totals[group]}</strong> {word}</div>'
        for group, word in _COLUMNS.items()
    )
    rows = [
        [f"[{paper['title']}](papers/{name})", *(_links(paper, group) for group in _COLUMNS)]
        for name, paper in ledger["papers"].items()
    ]
    table = formatting.table(["paper", *_COLUMNS.values()], rows)
    return f'<div class="rnb-tiles">{tiles}</div>\n\n{table}'


def _links(paper: Json, group: str) -> str:
    names = [name for name, claim in paper["claims"].items() if claim["group"] == group]
    return ", ".join(f"{{ref}}`{_short(name)} <{_label(name)}>`" for name in names) or "–"


def _value(ledger: Json, _page: Page, name: str) -> str:
    """Our estimate with its interval, inside a sentence."""
    part = _part(ledger, name)
    found = part["profiles"][formatting.shown_profile(part)]
    if found["estimate"] is None:
        return f"*{found['label']}*"
    return f"{formatting.ours(part, found)} {formatting.bounds(part, found['interval'])}".strip()


def _paper(ledger: Json, _page: Page, name: str) -> str:
    return formatting.paper_number(_part(ledger, name)) or "–"


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
    """The very lines of robustnb that ran; `name` is module:object."""
    module, _, attribute = name.partition(":")
    try:
        found = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"placeholder source {name}: {error}; write module:object") from None
    return f"```python\n# {module}\n{inspect.getsource(found).rstrip()}\n```"


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
    for (name, profile), found in sorted(spent.items(), key=lambda x: (x[0][0], _order(x[0][1]))):
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


_RENDERERS: dict[str, Callable[..., str]] = {
    "amendments": _amendments,
    "budgets": _budgets,
    "claims": _claims,
    "cost": _costs,
    "costs": _costs,
    "cover": _cover,
    "headline": render_figures.headline,
    "mean": render_figures.mean_of,
    "paper": _paper,
    "param": _parameter,
    "scoreboard": _scoreboard,
    "scorecard": _scoreboard,
    "setting": _setting,
    "source": _source,
    "totals": _totals,
    "value": _value,
    "verdict": _verdict,
}


def readme(text: str, ledger: Json) -> str:
    """README with its table drawn anew, a row a paper; UsageError if the place is not marked."""
    if not _README.search(text):
        raise UsageError("README.md has lost its `<!-- verdicts: ... -->` marks; put them back")
    rows = [
        [
            f"[{paper['title']}](notebooks/{name}.md), {paper['year']}",
            f"{paper['totals']['overall']['holds']} of {paper['totals']['overall']['n']}",
            _found(ledger, paper["totals"]["overall"]["words"]),
        ]
        for name, paper in ledger["papers"].items()
    ]
    table = formatting.table(["paper", "claims that hold", "what came out"], rows)
    tally = formatting.tally(ledger["totals"]["overall"])
    return _README.sub(lambda m: f"{m.group(1)}{tally}\n\n{table}\n{m.group(2)}", text)


def _found(ledger: Json, counted: Mapping[str, int]) -> str:
    """Verdict words with their counts, those of claims that hold first, the strongest leading."""
    groups = list(_COLUMNS)
    words = sorted(reversed(list(counted)), key=lambda word: groups.index(ledger["words"][word]))
    return "; ".join(f"{counted[word]} {word}" for word in words)
