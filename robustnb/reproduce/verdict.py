"""From evidence to a word: the rules by which a part is judged.

Significance of a direction, and of a value, is decided by the p-value after Benjamini and
Hochberg's correction at q = 0.05 over all direction and value parts of a profile. A direction
whose attack audit failed is tested after the worst that the audit could explain is taken off. A
part whose positive control shows no effect is not judged at all.
The words are those of `words`; `claim_verdict` joins the parts of a claim.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from robustnb.reproduce.attack_audits import failed_audit
from robustnb.reproduce.check_verdict import judge_checks
from robustnb.reproduce.control import look
from robustnb.reproduce.estimand_forms import arms_of
from robustnb.reproduce.estimands import REACH
from robustnb.reproduce.evidence import Evidence, RunData, compute_evidence
from robustnb.reproduce.formatting import in_units
from robustnb.reproduce.part_verdict import PartVerdict, plain_verdict
from robustnb.reproduce.registry_types import EXACT, Part
from robustnb.reproduce.words import (
    AUDIT,
    CHECKED,
    CONTRADICTED,
    EQUAL,
    EQUAL_SMALLER,
    ESTIMATE,
    EXCLUDED,
    NO_HEADROOM,
    NOT_AT,
    NOT_COMPARABLE,
    NOT_RUN,
    OPPOSITE,
    RAN,
    RECALLED,
    REPRODUCED,
    SAME,
    SEEN,
    SMALLER,
    TOO_SMALL,
    UNEQUAL,
)
from robustnb.stats import DRAWS, benjamini_hochberg

Q = 0.05


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


def _weigh(part: Part, runs: Sequence[RunData], profile: str, draws: int) -> PartVerdict | Evidence:
    """The evidence on a part, or its verdict where there is nothing to test."""
    if part.kind in EXACT:
        return judge_checks(part, runs, profile)
    used = _replicates(part, runs)
    early = _unjudged(part, profile) or _before_testing(part, used, profile)
    seen = early is not None and early[0] == NOT_AT and _planned_in_full(part, used)
    if early is not None and not (seen or early[0] in (RECALLED, ESTIMATE, SEEN, AUDIT)):
        word, label, text = early
        counts = {"n_seeds": len(used), "n_registered": len(part.seeds)}
        return plain_verdict(part, profile, word, text, label=label, **counts)
    if not used or profile == "smoke":
        assert early is not None
        return plain_verdict(part, profile, early[0], early[2], label=early[1])
    evidence = compute_evidence(part, used, draws=draws)
    if early is not None:
        return _described(evidence, profile, early[0], early[2])
    if part.control is not None:
        control = look(part, used, level=Q, draws=draws)
        evidence = replace(evidence, control=control.text)
        if not control.effect:
            text = "where the control shows nothing, this part cannot speak"
            return _described(evidence, profile, NO_HEADROOM, text)
    if evidence.beyond > REACH:
        return _incomparable(evidence, used, profile, draws)
    return _after_audit(evidence, used, profile, draws)


def _after_audit(
    evidence: Evidence, used: Sequence[RunData], profile: str, draws: int
) -> PartVerdict | Evidence:
    """The evidence; after a failed audit, a direction's less the worst the audit could explain."""
    part, failed = evidence.part, failed_audit(used)
    if failed is None:
        return evidence
    if part.kind != "direction" or failed.worst is None:
        return _described(evidence, profile, AUDIT, f"the attack audit failed: {failed.why}")
    assert part.sign is not None
    lowered = replace(part, null=part.null + part.sign * failed.worst)
    tested = compute_evidence(lowered, used, draws=draws)
    found = (
        f"the attack audit found: {failed.why}; tested as if more effort took "
        f"{_value(part, failed.worst).lstrip('+')} off the effect, as much as the whole curve fell"
    )
    return replace(tested, part=part, audit=found, control=evidence.control)


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
    if part.audited and not all(run.audits for run in used):
        return AUDIT, AUDIT, "the attack was not audited in every run"
    return None


def _incomparable(
    evidence: Evidence, used: Sequence[RunData], profile: str, draws: int
) -> PartVerdict:
    """A point off the curve's range is not compared; the nearest fair comparison is exploratory."""
    text = (
        f"the point's natural accuracy lies {100 * evidence.beyond:.1f} points off the curve, "
        "so that the two were never compared at equal natural accuracy"
    )
    nearest = evidence.part.nearest
    if nearest is not None:
        asked = replace(evidence.part, estimand=nearest.estimand, null=0.0)
        shown = compute_evidence(asked, used, draws=draws)
        positive = int((shown.values > 0).sum())
        low, high = (_value(asked, end) for end in (shown.interval().low, shown.interval().high))
        text += (
            f"; exploratory, {nearest.title}: {_value(asked, shown.estimate)}, 95 % interval "
            f"{low} to {high}, positive for {positive} of {len(used)} seeds"
        )
    return _described(evidence, profile, NOT_COMPARABLE, text)


def _decide(evidence: Evidence, profile: str, adjusted: float | None) -> PartVerdict:
    """The word for evidence that can be tested."""
    part = evidence.part
    decide = _direction if part.kind == "direction" else _margin
    word, text = decide(evidence, profile, adjusted)
    mde = None
    if evidence.audit:
        word = AUDIT if word in (TOO_SMALL, OPPOSITE) else word
        text += f"; {evidence.audit}"
    elif word == TOO_SMALL:
        word, mde, text = _why_not(evidence, text)
    extra = {"p_adjusted": adjusted, "mde": mde, "caveat": evidence.audit}
    return _described(evidence, profile, word, text, **extra)


def _why_not(evidence: Evidence, text: str) -> tuple[str, float, str]:
    """What an undecided part did see: that the paper's size is excluded, or how little it could."""
    part, mde = evidence.part, evidence.detectable()
    text += f"; 80 % power would have seen {_size(part, mde)}"
    if part.margin is not None:
        text += f" (registered margin {_size(part, part.margin)})"
    plan = part.planned
    if part.kind != "direction" or plan is None or not plan.papers:
        return TOO_SMALL, mde, text
    assert part.sign is not None
    less = evidence.less_than(part.sign * plan.effect, plan.error)
    if max(part.sign * less.low, part.sign * less.high) >= 0:
        return TOO_SMALL, mde, text
    low, high = _value(part, less.low), _value(part, less.high)
    size = _value(part, plan.effect).lstrip("+")
    return EXCLUDED, mde, f"{text}; ours minus the paper's {size}: 95 % interval {low} to {high}"


def _direction(evidence: Evidence, profile: str, adjusted: float | None) -> tuple[str, str]:
    part = evidence.part
    p = evidence.p if adjusted is None else adjusted
    if p > Q or evidence.gap == 0:
        return TOO_SMALL, f"not significant (adjusted p = {p:.3g})"
    if np.sign(evidence.gap) != part.sign:
        return OPPOSITE, f"significant against the claim (adjusted p = {p:.3g})"
    same = SAME if profile in part.matched else SMALLER
    word = CHECKED if part.theorem == "checked" else same
    return word, f"significant (adjusted p = {p:.3g})"


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
        same = EQUAL if profile in part.matched else EQUAL_SMALLER
        return (REPRODUCED if is_value else same), f"within {margin} of {other} (p = {p:.3g})"
    if (wide.low > part.margin or wide.high < -part.margin) and p <= Q:
        word = CONTRADICTED if is_value else UNEQUAL
        return word, f"farther than {margin} from {other} (p = {p:.3g})"
    return TOO_SMALL, f"neither within {margin} of {other} nor outside it (p = {p:.3g})"


def _described(evidence: Evidence, profile: str, word: str, text: str, **extra: Any) -> PartVerdict:
    """A verdict with the numbers of its evidence; `extra` are further fields."""
    part, interval = evidence.part, evidence.interval()
    if word == SEEN:
        numbers = _value(part, evidence.estimate)
    else:
        low, high = _value(part, interval.low), _value(part, interval.high)
        numbers = f"{_value(part, evidence.estimate)}, 95 % interval {low} to {high}"
    bound = "; robust accuracies are upper bounds" if part.audited else ""
    values = (evidence.values + evidence.reference).tolist()
    return plain_verdict(
        part,
        profile,
        word,
        f"{numbers}; {text}{bound}",
        estimate=evidence.estimate,
        interval=interval,
        interval_90=evidence.interval(0.90) if part.kind in ("value", "equivalence") else None,
        p=evidence.p if word not in (SEEN, ESTIMATE, RECALLED) else None,
        n_seeds=len(evidence.seeds),
        n_registered=len(part.seeds),
        n_examples=evidence.n_examples,
        per_seed=dict(zip(evidence.seeds, values, strict=True)),
        control=evidence.control,
        **extra,
    )


def _value(part: Part, value: float) -> str:
    """An estimate as it is printed."""
    return in_units(part.estimand or {}, part.scale, value)


def _size(part: Part, value: float) -> str:
    shown = f"{value if part.scale == 'plain' else 100 * value:.2g}"
    return shown if part.scale == "plain" else f"{shown} point{'s' if shown != '1' else ''}"
