"""From the verdicts on its parts to a claim's: it holds, k of n parts hold, or it is against.

A part whose positive control shows nothing is said first, unless another part is against.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from robustnb.reproduce.part_verdict import PartVerdict
from robustnb.reproduce.profiles import NAMES as PROFILES
from robustnb.reproduce.registry_types import EXACT, Claim, can_speak
from robustnb.reproduce.words import (
    AGAINST,
    ESTIMATE,
    GROUPS,
    HOLDS,
    HOLDS_SMALLER,
    IN_SMALLER_SETTING,
    JUDGED,
    NO_HEADROOM,
    NOT_AT,
    NOT_RUN,
    PARTLY,
    RAN,
    RECALLED,
    SEEN,
    THEOREMS,
    WORDS,
)

Verdicts = Mapping[str, Mapping[str, PartVerdict]]  # part -> profile -> verdict


def claim_at(claim: Claim, verdicts: Verdicts, profile: str) -> dict[str, Any]:
    """The claim's verdict at one profile, from its parts that can speak there.

    A claim of which nothing ran at the profile has no verdict there, whatever smaller ones say.
    """
    own = [verdicts[part.id][profile] for part in claim.parts]
    able = [part for part in claim.parts if can_speak(part, profile)]
    if any(touched(v) for v in own):
        heard = [_heard(verdicts[part.id], profile) for part in able]
    else:
        heard = [verdicts[part.id][profile] for part in able]
    due = [v for v in heard if v.group != "unjudged"]
    counted = [v for v in due if v.word != NOT_AT] or due or heard or _preferred(own)
    decisive = weakest(counted)
    word, label = _joined(claim, counted)
    return {
        "word": word,
        "label": label,
        "group": GROUPS[word],
        "text": _failing(claim, counted),
        "part": decisive.part,
        "judged_at": decisive.profile,
    }


def weakest(verdicts: Sequence[PartVerdict]) -> PartVerdict:
    """The verdict with the weakest word, and of equal words the one with the smallest n."""
    return min(verdicts, key=lambda v: (WORDS.index(v.word), v.n_examples))


def touched(verdict: PartVerdict) -> bool:
    """Whether a run at this very profile held something for the part."""
    return verdict.n_seeds > 0 or verdict.word not in (NOT_RUN, NOT_AT, RECALLED, ESTIMATE)


def _joined(claim: Claim, parts: Sequence[PartVerdict]) -> tuple[str, str]:
    """Word and label of the parts together; a part that is still open leaves the claim open."""
    groups = [v.group for v in parts]
    held, decisive = groups.count("holds"), weakest(parts)
    if held == len(parts):
        word = THEOREMS[claim.theorem] if claim.theorem else _all_hold(claim, parts)
        return word, word
    if len(parts) == 1 or ("against" not in groups and set(groups) - set(JUDGED)):
        return decisive.word, decisive.label
    told = f"{held} of {len(parts)} parts hold"
    if "against" in groups:
        return AGAINST, f"{AGAINST}, {told}" if held else AGAINST
    if any(v.word == NO_HEADROOM for v in parts):
        return NO_HEADROOM, NO_HEADROOM
    if held:
        return PARTLY, told
    strongest = max(parts, key=lambda v: WORDS.index(v.word))
    return strongest.word, strongest.label


def _all_hold(claim: Claim, parts: Sequence[PartVerdict]) -> str:
    """One part has its own word; proofs and checks have the weakest; several parts just hold."""
    kinds = {part.id: part.kind for part in claim.parts}
    if len(parts) == 1 or all(kinds[v.part] in EXACT for v in parts):
        return weakest(parts).word
    smaller = any(v.word in IN_SMALLER_SETTING for v in parts)
    return HOLDS_SMALLER if smaller else HOLDS


def _failing(claim: Claim, parts: Sequence[PartVerdict]) -> str:
    """The parts of a claim of several that do not hold, by name, under their words."""
    titles = {part.id: part.title for part in claim.parts}
    named: dict[str, list[str]] = {}
    for verdict in sorted(parts, key=lambda v: v.word != NO_HEADROOM):
        if len(parts) > 1 and verdict.group != "holds":
            named.setdefault(verdict.label, []).append(titles[verdict.part])
    return "; ".join(f"{label}: {', '.join(names)}" for label, names in named.items())


def _preferred(own: Sequence[PartVerdict]) -> Sequence[PartVerdict]:
    """Where no part can speak: that something ran, else a registered reason, else anything."""
    for word in (RAN, NOT_AT):
        found = [v for v in own if v.word == word]
        if found:
            return found
    return own


def _heard(verdicts: Mapping[str, PartVerdict], profile: str) -> PartVerdict:
    """A part's verdict at the largest profile up to this one that judged it, else saw it."""
    so_far = [verdicts[name] for name in reversed(PROFILES[: PROFILES.index(profile) + 1])]
    judged = [v for v in so_far if v.group in JUDGED]
    seen = [v for v in so_far if v.word == SEEN]
    unfinished = so_far[0].word == NOT_RUN and so_far[0].n_seeds > 0
    return so_far[0] if unfinished or not (judged or seen) else (judged or seen)[0]
