"""From evidence to a word: the rules by which a part, and a claim, is judged.

Significance of a direction, and of a value, is decided by the p-value after Benjamini and
Hochberg's correction at q = 0.05 over all direction and value parts of a profile.

Words, weakest first (a claim has the word of its weakest part):

    counterexample found, misses too often, contradicted, opposite at this scale    (against)
    not run, machinery ran, not at this scale, seen in one run                      (open)
    inconclusive
    same direction, smaller setting; same direction; no counterexample; covered; reproduced; proved

A claim never has the words "recalled, not judged" and "estimate, not judged" unless none of its
parts can have another.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from robustnb.reproduce.estimands import REACH, arms_of
from robustnb.reproduce.evidence import Evidence, RunData, compute_evidence
from robustnb.reproduce.profiles import NAMES as PROFILES
from robustnb.reproduce.registry_types import EXACT, Part
from robustnb.stats import DRAWS, Interval, benjamini_hochberg, binomial_upper_quantile

COUNTEREXAMPLE = "counterexample found"
MISSES = "misses too often"
CONTRADICTED = "contradicted"
OPPOSITE = "opposite at this scale"
NOT_RUN = "not run"
RAN = "machinery ran"
NOT_AT = "not at this scale"
SEEN = "seen in one run"
INCONCLUSIVE = "inconclusive"
SMALLER = "same direction, smaller setting"
SAME = "same direction"
NO_COUNTEREXAMPLE = "no counterexample"
COVERED = "covered"
REPRODUCED = "reproduced"
PROVED = "proved"
RECALLED = "recalled, not judged"
ESTIMATE = "estimate, not judged"

GROUPS = {
    **dict.fromkeys((COUNTEREXAMPLE, MISSES, CONTRADICTED, OPPOSITE), "against"),
    **dict.fromkeys((NOT_RUN, RAN, NOT_AT, SEEN), "open"),
    INCONCLUSIVE: "inconclusive",
    **dict.fromkeys((SMALLER, SAME, NO_COUNTEREXAMPLE, COVERED, REPRODUCED, PROVED), "holds"),
    **dict.fromkeys((RECALLED, ESTIMATE), "unjudged"),
}
WORDS = tuple(GROUPS)  # weakest first
Q = 0.05
LEAST_COVERAGE_DRAWS = 2000


@dataclass(frozen=True)
class PartVerdict:
    """The verdict on one part at one profile: `word` is one of WORDS, `label` is what is shown."""

    part: str
    profile: str
    word: str
    label: str
    text: str
    estimate: float | None = None
    interval: Interval | None = None
    interval_90: Interval | None = None
    p: float | None = None
    p_adjusted: float | None = None
    mde: float | None = None
    n_seeds: int = 0
    n_registered: int = 0
    n_examples: int = 0
    per_seed: Mapping[int, float] = field(default_factory=dict)

    @property
    def group(self) -> str:
        """Holds, against, inconclusive, open or unjudged."""
        return GROUPS[self.word]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types; numbers to six significant digits, so that machines agree."""
        plain = {**self.__dict__, "group": self.group}
        for name in ("interval", "interval_90"):
            plain[name] = plain[name] and plain[name].to_json()
        plain["per_seed"] = {str(seed): value for seed, value in self.per_seed.items()}
        rounded: dict[str, Any] = _rounded(plain)
        return rounded


def judge(part: Part, runs: Sequence[RunData], profile: str, *, draws: int = DRAWS) -> PartVerdict:
    """Judge one part as if it were alone: no correction for other parts."""
    return judge_all([(part, runs)], profile, draws=draws)[0]


def judge_all(
    items: Sequence[tuple[Part, Sequence[RunData]]], profile: str, *, draws: int = DRAWS
) -> list[PartVerdict]:
    """Judge all parts of a profile together, so that their p-values are corrected together."""
    found = [_weigh(part, runs, profile, draws) for part, runs in items]
    tested = [
        i
        for i, e in enumerate(found)
        if isinstance(e, Evidence) and e.part.kind in ("direction", "value")
    ]
    adjusted: dict[int, float] = {}
    if tested:
        raw = [e.p for i in tested if isinstance(e := found[i], Evidence)]
        adjusted = dict(zip(tested, benjamini_hochberg(raw).tolist(), strict=True))
    return [
        _decide(e, profile, adjusted.get(i)) if isinstance(e, Evidence) else e
        for i, e in enumerate(found)
    ]


def weakest(verdicts: Iterable[PartVerdict]) -> PartVerdict:
    """The part that decides a claim: the weakest word, and of equal words the smallest n."""
    return min(verdicts, key=lambda v: (WORDS.index(v.word), v.n_examples))


def can_speak(part: Part, profile: str) -> bool:
    """Whether the profile is at least the smallest one registered for the part."""
    return PROFILES.index(profile) >= PROFILES.index(part.profile)


def _weigh(part: Part, runs: Sequence[RunData], profile: str, draws: int) -> PartVerdict | Evidence:
    """The evidence on a part, or its verdict where there is nothing to test."""
    if part.kind in EXACT:
        return _weigh_checks(part, runs, profile)
    used = _replicates(part, runs)
    early = _unjudged(part, profile) or _before_testing(part, used, profile)
    seen = early is not None and early[0] == NOT_AT and _planned_in_full(part, used)
    if early is None or seen or early[0] in (RECALLED, ESTIMATE, SEEN, INCONCLUSIVE):
        if not used or profile == "smoke":
            assert early is not None
            return _plain(part, profile, *early)
        evidence = compute_evidence(part, used, draws=draws)
        early = early or _incomparable(evidence)
        return evidence if early is None else _described(evidence, profile, *early)
    word, label, text = early
    return _plain(part, profile, word, label, text, n_seeds=len(used), n_registered=len(part.seeds))


def _planned_in_full(part: Part, used: Sequence[RunData]) -> bool:
    """Whether all seeds ran of a part whose power is too small: its numbers are shown unjudged."""
    return part.planned is not None and len(used) == len(part.seeds)


def _replicates(part: Part, runs: Sequence[RunData]) -> list[RunData]:
    """The runs that count: all registered seeds, or the first one where examples replicate."""
    seeds = part.seeds if part.unit == "seeds" else part.seeds[:1]
    needed = arms_of(part.estimand or {})
    complete = {run.seed: run for run in runs if all(arm in run.arms for arm in needed)}
    return [complete[seed] for seed in seeds if seed in complete]


def _unjudged(part: Part, profile: str) -> tuple[str, str, str] | None:
    if part.estimate_only:
        return ESTIMATE, ESTIMATE, f"bounded from one side only: {part.estimate_only}"
    if part.kind == "value" and part.paper is not None and part.paper.provenance == "recalled":
        return RECALLED, RECALLED, "the paper's number is quoted from memory and unverified"
    return None


def _before_testing(part: Part, used: list[RunData], profile: str) -> tuple[str, str, str] | None:
    """(word, label, text) where a registered reason, missing runs or an audit forbid a test."""
    if profile == "smoke":
        return (RAN, RAN, "sizes too small to judge") if used else (NOT_RUN, NOT_RUN, "no run")
    if profile in part.not_at:
        return NOT_AT, NOT_AT, part.not_at[profile]
    if not used:
        return NOT_RUN, NOT_RUN, "no run at this profile"
    if part.kind == "value" and profile not in part.matched:
        return NOT_AT, NOT_AT, "the setting is not the paper's at this profile"
    if part.unit == "seeds" and len(used) == 1:
        return SEEN, SEEN, f"1 of {len(part.seeds)} registered seeds"
    if part.unit == "seeds" and len(used) < len(part.seeds):
        label = f"incomplete: {len(used)} of {len(part.seeds)} seeds"
        return NOT_RUN, label, "no verdict before every registered seed has run"
    audits = [audit for run in used for audit in run.audits]
    failed = [audit for audit in audits if not audit.get("ok")]
    if failed:
        why = str(failed[0].get("why") or failed[0].get("detail") or "no reason given")
        return INCONCLUSIVE, INCONCLUSIVE, f"the attack audit failed: {why}"
    if part.audited and not all(run.audits for run in used):
        return INCONCLUSIVE, INCONCLUSIVE, "the attack was not audited in every run"
    return None


def _incomparable(evidence: Evidence) -> tuple[str, str, str] | None:
    if evidence.beyond <= REACH:
        return None
    return (
        INCONCLUSIVE,
        INCONCLUSIVE,
        f"the point's natural accuracy lies {100 * evidence.beyond:.1f} points beyond the curve",
    )


def _weigh_checks(part: Part, runs: Sequence[RunData], profile: str) -> PartVerdict:
    """Proofs, checks and coverages: one failure anywhere decides, whatever the seed."""
    checks = [check for run in runs for check in run.checks]
    if not checks:
        if profile in part.not_at:
            return _plain(part, profile, NOT_AT, NOT_AT, part.not_at[profile])
        return _plain(part, profile, NOT_RUN, NOT_RUN, "no run at this profile")
    if not can_speak(part, profile):
        return _plain(part, profile, RAN, RAN, f"it speaks from {part.profile} on")
    # a later seed repeats the same checks: the first run gives N, all of them must hold
    first = next(run.checks for run in runs if run.checks)
    n = sum(int(check["n"]) for check in first)
    ranked = [_check_word(part, check) for check in checks]
    word, text = min(ranked, key=lambda pair: WORDS.index(pair[0]))
    space = "; ".join(dict.fromkeys(str(c["space"]) for c in first if c.get("space")))
    if word == NO_COUNTEREXAMPLE:
        return _plain(part, profile, word, f"{word} in {n:,}", space, n_examples=n)
    if word in (PROVED, COVERED):
        return _plain(part, profile, word, word, text or space, n_examples=n)
    return _plain(part, profile, word, word, text, n_examples=n)


def _check_word(part: Part, check: Mapping[str, Any]) -> tuple[str, str]:
    """The word for one check, and what it found where that is not in the check's space."""
    name, detail = str(check.get("id", "")), str(check.get("detail", ""))
    kind = str(check.get("kind", "check"))
    if kind == "coverage":
        misses, n, alpha = int(check["misses"]), int(check["n"]), float(check["alpha"])
        text = f"{misses:,} misses in {n:,} draws at alpha = {alpha:g}"
        if n < LEAST_COVERAGE_DRAWS:
            return INCONCLUSIVE, f"{text}; {LEAST_COVERAGE_DRAWS:,} draws are needed"
        if misses > binomial_upper_quantile(n, alpha):
            return MISSES, text
    elif not check.get("holds", check["ok"]):
        if check.get("method") in ("identity", "fails"):
            return INCONCLUSIVE, f"{name} was not proved: {detail}"
        return COUNTEREXAMPLE, f"{name}: {detail}"
    if not check["ok"]:
        return INCONCLUSIVE, f"{name} does not tell its wrong form from the right one: {detail}"
    if kind == "coverage":
        return (COVERED, text) if part.kind == "coverage" else (NO_COUNTEREXAMPLE, "")
    return (PROVED, "") if kind == part.kind == "proof" else (NO_COUNTEREXAMPLE, "")


def _decide(evidence: Evidence, profile: str, adjusted: float | None) -> PartVerdict:
    """The word for evidence that can be tested."""
    part = evidence.part
    decide = _direction if part.kind == "direction" else _margin
    word, text = decide(evidence, profile, adjusted)
    mde = evidence.detectable() if word == INCONCLUSIVE else None
    if mde is not None:
        text += f"; 80 % power would have seen {_size(part, mde)}"
        if part.margin is not None:
            text += f" (registered margin {_size(part, part.margin)})"
    return _described(evidence, profile, word, word, text, p_adjusted=adjusted, mde=mde)


def _direction(evidence: Evidence, profile: str, adjusted: float | None) -> tuple[str, str]:
    part = evidence.part
    p = evidence.p if adjusted is None else adjusted
    if p > Q or evidence.gap == 0:
        return INCONCLUSIVE, f"not significant (adjusted p = {p:.3g})"
    if np.sign(evidence.gap) != part.sign:
        return OPPOSITE, f"significant against the claim (adjusted p = {p:.3g})"
    return (SAME if profile in part.matched else SMALLER), f"significant (adjusted p = {p:.3g})"


def _margin(evidence: Evidence, profile: str, adjusted: float | None) -> tuple[str, str]:
    """A value, or an equivalence: the 90 % interval within the margin, or the 95 % one outside."""
    part = evidence.part
    assert part.margin is not None
    p = evidence.p if adjusted is None else adjusted
    narrow, wide = evidence.gap_interval(0.90), evidence.gap_interval(0.95)
    is_value = part.kind == "value"
    other = "the paper's number" if is_value else f"{part.null:g}"
    margin = _size(part, part.margin)
    if -part.margin < narrow.low and narrow.high < part.margin and p <= Q:
        same = SAME if profile in part.matched else SMALLER
        return (REPRODUCED if is_value else same), f"within {margin} of {other} (p = {p:.3g})"
    if (wide.low > part.margin or wide.high < -part.margin) and p <= Q:
        word = CONTRADICTED if is_value else OPPOSITE
        return word, f"farther than {margin} from {other} (p = {p:.3g})"
    return INCONCLUSIVE, f"neither within {margin} of {other} nor outside it (p = {p:.3g})"


def _described(
    evidence: Evidence, profile: str, word: str, label: str, text: str, **extra: Any
) -> PartVerdict:
    """A verdict with the numbers of its evidence; `extra` are further fields."""
    part, interval = evidence.part, evidence.interval()
    if word == SEEN:
        numbers = _value(part, evidence.estimate)
    else:
        low, high = _value(part, interval.low), _value(part, interval.high)
        numbers = f"{_value(part, evidence.estimate)}, 95 % interval {low} to {high}"
    bound = "; robust accuracies are upper bounds" if part.audited else ""
    values = (evidence.values + evidence.reference).tolist()
    return _plain(
        part,
        profile,
        word,
        label,
        f"{numbers}; {text}{bound}",
        estimate=evidence.estimate,
        interval=interval,
        interval_90=evidence.interval(0.90) if part.kind in ("value", "equivalence") else None,
        p=evidence.p if word not in (SEEN, ESTIMATE, RECALLED) else None,
        n_seeds=len(evidence.seeds),
        n_registered=len(part.seeds),
        n_examples=evidence.n_examples,
        per_seed=dict(zip(evidence.seeds, values, strict=True)),
        **extra,
    )


def _plain(part: Part, profile: str, word: str, label: str, text: str, **extra: Any) -> PartVerdict:
    return PartVerdict(part.id, profile, word, label, text, **extra)


def _value(part: Part, value: float) -> str:
    """An estimate as it is printed: a rate in %, a difference of rates in points."""
    if part.scale == "plain":
        return f"{value:.3g}"
    if "mean" in (part.estimand or {}):
        return f"{100 * value:.1f} %"
    return f"{100 * value:+.1f} points"


def _size(part: Part, value: float) -> str:
    shown = f"{value if part.scale == 'plain' else 100 * value:.2g}"
    return shown if part.scale == "plain" else f"{shown} point{'s' if shown != '1' else ''}"


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return value
