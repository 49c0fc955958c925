"""A claim's verdict as a plain sentence: the author's words for what came out, else the book's.

A registry may say under `finding:` one sentence for each group a verdict can fall into; the words
for another group are never shown. It takes numbers by placeholders that name a part of the claim:
`{{ size robust_up }}`, `{{ value gap }}`, `{{ paper gain }}`, `{{ runs gain }}`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from robustnb.reproduce import formatting
from robustnb.reproduce.registry_types import EXACT
from robustnb.reproduce.words import (
    CHECKED,
    COVERED,
    MEANINGS,
    PROVED_BY_MACHINE,
    PROVED_HERE,
    REPAIRED,
)

Json = Mapping[str, Any]
_OF_A_PART = re.compile(r"\{\{ (value|size|paper|runs) ([a-z0-9_]+) \}\}")


def sentence(name: str, claim: Json) -> str:
    """What came out for the claim `name`, in Markdown, with placeholders still in it."""
    own = claim["finding"].get(claim["group"])
    if own:
        return _OF_A_PART.sub(rf"{{{{ \1 {name}.\2 }}}}", own)
    if claim["word"] in (PROVED_HERE, PROVED_BY_MACHINE, REPAIRED, CHECKED, COVERED):
        return f"{MEANINGS[claim['word']]} {_checked(claim)}".strip()
    return f"{_measured(name, claim)} {MEANINGS.get(claim['word'], '')}".strip()


def _checked(claim: Json) -> str:
    """How many machine checks the deciding parts passed."""
    texts = [
        found["text"].partition(";")[0]
        for part in claim["parts"].values()
        if (found := part["profiles"][formatting.shown_profile(part)])["word"] == claim["word"]
    ]
    return f"{texts[0][0].upper()}{texts[0][1:]}." if texts and texts[0] else ""


def _measured(name: str, claim: Json) -> str:
    """The first measured part that the verdict rests on, with its interval."""
    parts = [
        full for full, part in claim["parts"].items()
        if part["kind"] not in EXACT
        and part["profiles"][formatting.shown_profile(part)]["estimate"] is not None
    ]  # fmt: skip
    if not parts:
        text = str(claim["text"])
        return f"{text[0].upper()}{text[1:]}." if text else ""
    decisive = claim["part"] if claim["part"] in parts else parts[0]
    title = claim["parts"][decisive]["title"]
    return str(f"{title[0].upper()}{title[1:]}: {{{{ value {decisive} }}}}.")


def runs(part: Json) -> str:
    """`5 of 5 runs`: of the seeds behind a verdict, how many lie on the claimed side."""
    found = part["profiles"][formatting.shown_profile(part)]
    values = list(found["per_seed"].values())
    sign = part["sign"] or 1
    right = sum(sign * (value - part["null"]) > 0 for value in values)
    return f"{right} of {len(values)} runs"


def size(part: Json) -> str:
    """Estimate and interval without signs: `10.6 points [7.5, 13.8]`; with them across zero."""
    found = part["profiles"][formatting.shown_profile(part)]
    estimate, interval = found["estimate"], found["interval"]
    if estimate is None:
        return f"*{found['label']}*"
    ends = [interval["low"], interval["high"]] if interval else []
    if any(end * estimate < 0 for end in ends):
        return f"{formatting.ours(part, found)} {formatting.bounds(part, interval)}".strip()
    told = formatting.quantity(part, abs(estimate)).lstrip("+")
    if not interval:
        return told
    low, high = sorted(abs(end) for end in ends)
    bounds = formatting.bounds(part, {"low": low, "high": high}).replace("+", "")
    return f"{told} {bounds}"
