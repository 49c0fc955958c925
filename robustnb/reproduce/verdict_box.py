"""The claims of a paper as its page shows them: the list at its top, and each one's verdict.

A verdict is one plain sentence; what was tested, with its intervals, lies in a fold under it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from robustnb.reproduce import entries, finding, formatting
from robustnb.reproduce.registry_types import EXACT

Json = Mapping[str, Any]
_HEADER = ["what was tested", "found here, with its 95 % interval", "verdict"]


def box(name: str, claim: Json, *, page_profile: str) -> str:
    """The block that ends a section: what the paper says, what came out, and a fold with more."""
    group = formatting.badge_class(claim)
    return (
        f"({entries.label(name)})=\n:::::{{admonition}} {entries.short(name)}. "
        f"{claim['statement']}\n:class: rnb-verdict {group}\n"
        f"{formatting.badge(claim)} {finding.sentence(name, claim)}\n\n"
        f"::::{{fold}} What was tested, with intervals and sources\n"
        f"{_details(claim, page_profile)}\n::::\n:::::"
    )


def claims_list(claims: Mapping[str, Json]) -> str:
    """The claims at the top of a page, each with its verdict; no table, so that it fits a phone."""
    rows = [
        f":::{{div}} rnb-claim\n{entries.link(name)}\n\n{claim['statement']}\n\n"
        f"{formatting.badge(claim)}\n:::"
        for name, claim in claims.items()
    ]
    return "::::{div} rnb-claims\n" + "\n".join(rows) + "\n::::"


def _details(claim: Json, page_profile: str) -> str:
    parts = claim["parts"].values()
    told = [formatting.table(_HEADER, [_part_row(part) for part in parts])]
    remarks = [
        f"*{part['title']}*: {text}" for part in parts if (text := _remark(part, page_profile))
    ]
    if claim["text"]:
        remarks.insert(0, f"{claim['text'][0].upper()}{claim['text'][1:]}.")
    if remarks:
        told.append("\n".join(f"- {remark}" for remark in remarks))
    if claim["note"]:
        told.append(claim["note"])
    numbers = "; ".join(f"{n['what']}: {formatting.number(n)}" for n in claim["numbers"])
    if numbers:
        told.append(f"The paper's numbers: {numbers}.")
    told.append(f"*Source of the claim: {claim['source']} ({claim['provenance']}).*")
    return "\n\n".join(told)


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
