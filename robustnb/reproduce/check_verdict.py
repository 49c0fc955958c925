"""The verdict on proofs, checks and coverages: from what `derive` found to a word."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from robustnb.reproduce.evidence import RunData
from robustnb.reproduce.part_verdict import PartVerdict, plain_verdict
from robustnb.reproduce.registry_types import Part, can_speak
from robustnb.reproduce.words import (
    CHECKED,
    COUNTEREXAMPLE,
    COVERED,
    GROUPS,
    MISSES,
    NOT_AT,
    NOT_RUN,
    PROVED_BY_MACHINE,
    PROVED_HERE,
    RAN,
    UNDECIDED,
    WORDS,
)
from robustnb.stats import binomial_upper_quantile

Json = Mapping[str, Any]
LEAST_COVERAGE_DRAWS = 2000


def judge_checks(part: Part, runs: Sequence[RunData], profile: str) -> PartVerdict:
    """Proofs, checks and coverages: one failure anywhere decides, whatever the seed."""
    checks = [check for run in runs for check in run.checks]
    if not checks:
        if profile in part.not_at:
            return plain_verdict(part, profile, NOT_AT, part.not_at[profile])
        return plain_verdict(part, profile, NOT_RUN, "no run at this profile")
    if not can_speak(part, profile):
        return plain_verdict(part, profile, RAN, f"it speaks from {part.profile} on")
    # a later seed repeats the same checks: the first run gives N, all of them must hold
    first = next(run.checks for run in runs if run.checks)
    word, text = min((_check_word(part, c) for c in checks), key=lambda w: WORDS.index(w[0]))
    n = sum(int(check["n"]) for check in first)
    if GROUPS[word] == "holds":
        text = text or _looked_at(word, first, n)
        word = PROVED_HERE if part.theorem == "proved" else word
    return plain_verdict(part, profile, word, text, n_examples=n)


def _looked_at(word: str, checks: Sequence[Json], n: int) -> str:
    """How many checks there are, what they found, and where they looked."""
    space = "; ".join(dict.fromkeys(str(c["space"]) for c in checks if c.get("space")))
    caught = all(check.get("wrong_refuted") for check in checks)
    told = [f"{len(checks)} of {len(checks)} checks passed" + (", each wrong form caught" * caught)]
    if word == CHECKED:
        told.append(f"no counterexample in {n:,} points")
    return "; ".join(filter(None, (*told, space)))


def _check_word(part: Part, check: Json) -> tuple[str, str]:
    """The word for one check, and what it found where that is not in the check's space."""
    name, detail = str(check.get("id", "")), str(check.get("detail", ""))
    kind = str(check.get("kind", "check"))
    if kind == "coverage":
        misses, n, alpha = int(check["misses"]), int(check["n"]), float(check["alpha"])
        text = f"{misses:,} misses in {n:,} draws at alpha = {alpha:g}"
        if n < LEAST_COVERAGE_DRAWS:
            return UNDECIDED, f"{text}; {LEAST_COVERAGE_DRAWS:,} draws are needed"
        if misses > binomial_upper_quantile(n, alpha):
            return MISSES, text
    elif not check.get("holds", check["ok"]):
        if check.get("method") in ("identity", "fails"):
            return UNDECIDED, f"{name} was not proved: {detail}"
        return COUNTEREXAMPLE, f"{name}: {detail}"
    if not check["ok"]:
        return UNDECIDED, f"{name} does not tell its wrong form from the right one: {detail}"
    if kind == "coverage":
        return (COVERED, text) if part.kind == "coverage" else (CHECKED, "")
    return (PROVED_BY_MACHINE if kind == part.kind == "proof" else CHECKED), ""
