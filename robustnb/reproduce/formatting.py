"""How a verdict, a number and an interval are written, in Markdown and in plain text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from robustnb.reproduce.profiles import NAMES as PROFILES
from robustnb.reproduce.registry_types import EXACT
from robustnb.reproduce.words import ESTIMATE, JUDGED, NOT_AT, NOT_RUN, RECALLED, REPAIRED, SEEN

Json = Mapping[str, Any]
_SIGNED = ("difference", "frontier", "max_step", "spearman")
_BADGE = {"holds": "rnb-holds", "partly": "rnb-partly", "against": "rnb-against"}
_TINY = 1e-7  # below it a plain number is written with a power of ten
_QUIET = (NOT_RUN, NOT_AT, RECALLED, ESTIMATE)


def badge(verdict: Json) -> str:
    """The verdict's word as a badge; the class carries a symbol, never colour alone."""
    return f'<span class="rnb-badge {badge_class(verdict)}">{verdict["label"]}</span>'


def badge_class(verdict: Json) -> str:
    """The class that a verdict's group gives its badge and its box."""
    quiet = "rnb-notrun" if verdict["word"] in _QUIET else "rnb-open"
    return _BADGE.get(verdict["group"], quiet)


def quantity(part: Json, value: float) -> str:
    """A value of the part's estimand with its unit: `56.61 %`, `+5.3 points`, `+0.98`."""
    return in_units(part["estimand"] or {}, part["scale"], value)


def in_units(estimand: Json, scale: str, value: float) -> str:
    """A value of an estimand: a rate in %, a difference of rates in points, or a plain number."""
    signed = any(name in estimand for name in _SIGNED)
    sign = "+" if signed and value >= 0 else "−" if value < 0 else ""
    size = abs(value)
    if scale != "percent" or "spearman" in estimand:
        return f"{sign}{_plain(size)}"
    if value < 0 and float(f"{100 * size:.1f}") == 0:
        sign = ""  # no "−0.0"
    return f"{sign}{100 * size:.1f} {'points' if signed else '%'}"


def _plain(size: float) -> str:
    """A number from 0 up with two or three digits that count, in decimals as long as one can."""
    if size >= 0.1 or size == 0:
        return f"{size:.2f}"
    if size >= 0.01:
        return f"{size:.3f}"
    if size >= 1e-4:
        return f"{size:.3g}"
    if size >= _TINY:
        return f"{size:.{1 - math.floor(math.log10(size))}f}"
    return f"{size:.2g}"


def bounds(part: Json, interval: Json | None) -> str:
    """An interval in the part's unit, without the unit."""
    if interval is None:
        return ""
    ends = [quantity(part, interval[end]).removesuffix(" points").removesuffix(" %") for end in
            ("low", "high")]  # fmt: skip
    return f"[{ends[0]}, {ends[1]}]"


def planned(part: Json) -> str:
    """What the size was planned to see: `planned for 7.1 points (why), seen ...`."""
    plan = part["planned"]
    size = quantity(part, plan["effect"]).lstrip("+")
    power = "" if plan["power"] is None else f", seen with a power of {plan['power']:.2g}"
    return f"planned for {size} ({plan['reason']}){power}"


def shown_profile(part: Json) -> str:
    """The profile whose verdict on a part is shown: the largest that says something about it."""
    for wanted in (JUDGED, ("unjudged",)):
        for profile in reversed(PROFILES):
            verdict = part["profiles"][profile]
            if verdict["group"] in wanted and (verdict["n_seeds"] or part["kind"] in EXACT):
                return profile
    for word in (SEEN, NOT_AT):
        for profile in reversed(PROFILES):
            if part["profiles"][profile]["word"] == word:
                return profile
    return str(part["profile"])


def ours(part: Json, verdict: Json) -> str:
    """Our estimate, or what was checked."""
    if verdict["estimate"] is not None:
        return quantity(part, verdict["estimate"])
    return "" if part["kind"] not in EXACT else str(verdict["text"])


def paper_number(part: Json) -> str:
    """The paper's number as it printed it, with how we know it."""
    return number(part["paper"]) if part["paper"] is not None else ""


def number(quoted: Json) -> str:
    """A number of the paper with its provenance; recalled ones are grey and say so."""
    if quoted["provenance"] == "recalled":
        return f'<span class="rnb-recalled">{quoted["printed"]} (recalled, unverified)</span>'
    return f"{quoted['printed']} ({quoted['provenance']})"


def age(entry: Json) -> str:
    """Whether what a run or a verdict rests on was recorded with earlier code; else empty."""
    if entry["stale"]:
        return "recorded with earlier code"
    if (confirmed := entry["confirmed"]) is None:
        return ""
    return (
        f"recorded with earlier code, confirmed equal on {confirmed['date']} "
        f"at {confirmed['profile']}"
    )


def sample(part: Json, verdict: Json) -> str:
    """What the verdict replicates over."""
    if not verdict["n_seeds"] or part["kind"] in EXACT:
        return ""
    unit = "repetitions" if part["unit"] == "draws" else "examples"
    examples = f"{verdict['n_examples']:,} {unit}" if verdict["n_examples"] else ""
    seeds = f"{verdict['n_seeds']} of {len(part['seeds'])} seeds" if part["unit"] == "seeds" else ""
    return " × ".join(word for word in (seeds, examples) if word)


def p_values(verdict: Json) -> str:
    """Raw and adjusted p."""
    if verdict["p"] is None:
        return ""
    adjusted = verdict["p_adjusted"]
    tail = "" if adjusted is None else f" ({_small(adjusted)})"
    return f"{_small(verdict['p'])}{tail}"


def _small(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def stacked(first: str, second: str) -> str:
    """Two lines of one cell, the second one small."""
    return f'{first}<br><span class="rnb-small">{second}</span>' if second else first


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; bars in the cells are escaped."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(c.replace("|", "\\|") for c in row) + " |" for row in lines)


def tally(totals: Json) -> str:
    """One sentence: of n claims, how many hold and what became of the others."""
    told = {
        "partly": "{n} hold{s} in part",
        "against": "{n} go{es} against the paper",
        "inconclusive": "{n} {be} inconclusive",
        "open": "{n} {be} still open",
        "unjudged": "{n} cannot be judged",
    }
    rest = []
    for key, form in told.items():
        one = totals[key] == 1
        ends = {"s": "s" * one, "es": "es" * one, "be": "is" if one else "are"}
        rest += [form.format(n=totals[key], **ends)] * bool(totals[key])
    verb = "holds" if totals["holds"] == 1 else "hold"
    repaired = totals["words"].get(REPAIRED, 0)
    aside = f" ({repaired} {REPAIRED})" if repaired else ""
    tail = f"; {', '.join(rest)}" if rest else ""
    return f"{totals['holds']} of {totals['n']} claims {verb} here{aside}{tail}."
