"""What the runs say about one part: estimate, interval, p-value and power, before any verdict.

The interval is the hull of the bootstrap (over seeds crossed with examples) and of Student's t over
seeds. Where one run is judged by its examples it is that of the bootstrap and the exact binomial
forms; so, too, where all examples of all seeds agree, which leaves the first two without width. A
p-value is the larger of the same methods', so that a test rejects exactly when the interval does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from scipy import stats as st

from robustnb.reproduce.estimand_forms import arms_of
from robustnb.reproduce.estimands import (
    Arm,
    Floats,
    beyond,
    bootstrap,
    bootstrap_means,
    per_seed,
)
from robustnb.reproduce.estimands import arm_means as means_of
from robustnb.reproduce.registry_types import Part
from robustnb.stats import (
    DRAWS,
    Interval,
    clopper_pearson,
    mean_over_seeds,
    minimal_detectable,
    percentile_interval,
    percentile_test,
    sign_test,
    t_test,
    tost,
    wilson,
)

_HALVINGS = 40


@dataclass(frozen=True)
class RunData:
    """What one finished run holds for a part: its arms, its checks and its attack audits.

    An audit is {"ok": bool, "why": str} with whatever else it found; without "ok" it failed.
    """

    seed: int
    arms: Mapping[str, Arm] = field(default_factory=dict)
    checks: tuple[Mapping[str, Any], ...] = ()
    audits: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True)
class Evidence:
    """The estimand's values per seed and its bootstrap draws, both minus `reference`.

    `reference` is the null, or the paper's number, whose own standard error `error` is already in
    the draws. `audit` says what a failed attack audit found, whose worst case is then part of the
    reference; `control` says what the part's positive control gave.
    """

    part: Part
    seeds: tuple[int, ...]
    values: Floats
    draws: Floats
    reference: float
    error: float
    n_examples: int
    p: float
    beyond: float
    limits: tuple[float, float] = (-math.inf, math.inf)
    binomial: tuple[Arm, ...] = ()
    audit: str = ""
    control: str = ""

    @property
    def estimate(self) -> float:
        """Mean over seeds of the estimand itself."""
        return float(self.values.mean()) + self.reference

    @property
    def gap(self) -> float:
        """Estimate minus reference."""
        return float(self.values.mean())

    @property
    def over_seeds(self) -> bool:
        """Whether seeds are replicates here, two or more of them."""
        return self.part.unit == "seeds" and len(self.values) > 1

    @property
    def seed_error(self) -> float:
        """Standard error from seeds and from the paper's own number; 0 for a single run."""
        if not self.over_seeds:
            return 0.0
        return math.hypot(float(self.values.std(ddof=1)) / math.sqrt(len(self.values)), self.error)

    @property
    def freedom(self) -> float:
        """Degrees of freedom of the seeds' standard error."""
        return len(self.values) - 1 if self.over_seeds else math.inf

    def gap_interval(self, level: float = 0.95) -> Interval:
        """Interval of estimate minus reference."""
        covers = "seeds and test examples" if self.over_seeds else f"{self.part.unit} of one run"
        interval = percentile_interval(self.draws, level=level, covers=covers)
        if self.over_seeds:
            half = float(st.t.ppf((1 + level) / 2, self.freedom)) * self.seed_error
            interval = interval.hull(Interval(self.gap - half, self.gap + half, level))
        for low, high in filter(None, [_binomial_interval(self.binomial, level)]):
            base = self.reference
            interval = interval.hull(Interval(low - base, high - base, level))
        return interval

    def interval(self, level: float = 0.95) -> Interval:
        """Interval of the estimand itself, within the values it can take."""
        gap, (least, most) = self.gap_interval(level), self.limits
        low, high = (min(max(x + self.reference, least), most) for x in (gap.low, gap.high))
        return Interval(low, high, level, gap.covers)

    def less_than(self, size: float, error: float, level: float = 0.95) -> Interval:
        """Interval of the gap minus a reported size, whose own standard error widens it."""
        gap, spread = self.gap_interval(level), float(st.norm.ppf((1 + level) / 2)) * error
        low, high = (math.hypot(end - self.gap, spread) for end in (gap.low, gap.high))
        return Interval(self.gap - size - low, self.gap - size + high, level, gap.covers)

    @property
    def standard_error(self) -> float:
        """Of the estimate: from the bootstrap or from the seeds, whichever is larger."""
        return max(float(self.draws.std()), self.seed_error, 1 / self.n_examples / 3)

    def detectable(self) -> float:
        """The smallest difference from the reference that 80 % power at the 5 % level could see."""
        return minimal_detectable(self.standard_error, df=self.freedom)


def compute_evidence(part: Part, runs: Sequence[RunData], *, draws: int = DRAWS) -> Evidence:
    """The evidence of runs, one per seed, about a part that has an estimand."""
    assert part.estimand is not None
    arms = [run.arms for run in runs]
    reference, error = part.null, 0.0
    if part.kind == "value" and part.paper is not None:
        reference, error = part.paper.value, part.paper.error or 0.0
    boot = bootstrap(part.estimand, arms, draws=draws) - reference
    if error:
        boot = boot + error * np.random.default_rng(1).standard_normal(len(boot))
    binomial = _binomial_arms(part, arms, spread=float(np.ptp(boot)))
    values = per_seed(part.estimand, arms) - reference
    found = Evidence(
        part=part,
        seeds=tuple(run.seed for run in runs),
        values=values,
        draws=boot,
        reference=reference,
        error=error,
        n_examples=min(run[name].n for run in arms for name in arms_of(part.estimand)),
        p=1.0,
        beyond=beyond(part.estimand, means_of(part.estimand, arms)),
        limits=_limits(part, arms),
        binomial=binomial,
    )
    p = _p_value(found, arms, draws)
    return replace(found, p=p)


def _limits(part: Part, arms: Sequence[Mapping[str, Arm]]) -> tuple[float, float]:
    """The values the estimand can take, from those of an outcome: yes or no, registered, or any."""
    estimand = part.estimand or {}
    if "spearman" in estimand:
        return -1.0, 1.0
    binary = all(run[name].binary for run in arms for name in arms_of(estimand))
    least, most = part.outcomes or ((0.0, 1.0) if binary else (-math.inf, math.inf))
    return (least, most) if "mean" in estimand else (least - most, most - least)


def _p_value(found: Evidence, arms: Sequence[Mapping[str, Arm]], draws: int) -> float:
    """Two-sided for a difference from the null; for a value or an equivalence of the side it is on.

    A largest step is biased upwards, so its being positive counts only as the best single step
    does after Bonferroni's correction for the number of steps.
    """
    part = found.part
    if part.kind in ("value", "equivalence"):
        margin = part.margin
        return 1.0 if margin is None else _margin_test(found, margin)
    if "max_step" in (part.estimand or {}) and found.gap > 0:
        return _best_step(found, arms, draws)
    return _two_sided(found)


def _best_step(found: Evidence, arms: Sequence[Mapping[str, Arm]], draws: int) -> float:
    order = (found.part.estimand or {})["max_step"]
    means = np.array([[run[name].mean for name in order] for run in arms])
    values = np.diff(means, axis=-1) - found.reference
    boot = np.diff(bootstrap_means(order, arms, draws=draws), axis=-1) - found.reference
    generator = np.random.default_rng(len(arms))
    tests = [1.0]
    for k in range(values.shape[1]):
        if values[:, k].mean() > 0:
            spread = mean_over_seeds(boot[..., k], generator=generator)
            step = replace(found, values=values[:, k], draws=spread)
            tests.append(values.shape[1] * _two_sided(step))
    return min(tests)


def _two_sided(found: Evidence) -> float:
    tests = [percentile_test(found.draws)]
    if found.over_seeds:
        tests.append(t_test(found.values))
    if found.binomial:
        tests.append(_binomial_test(found.binomial, found.reference))
    return max(tests)


def _margin_test(found: Evidence, margin: float) -> float:
    """TOST's p inside the margin; outside it, two-sided for being farther off than the margin."""
    size, draws = abs(found.gap), found.draws
    if size < margin:
        beyond_it = max(int((draws >= margin).sum()), int((draws <= -margin).sum()))
        tail = (beyond_it + 1) / (draws.size + 1)
        seeds = tost(found.gap, found.seed_error, margin, df=found.freedom)
        return max(tail, seeds, _binomial_margin_test(found, margin))
    toward = draws if found.gap > 0 else -draws
    tail = (int((toward <= margin).sum()) + 1) / (draws.size + 1)
    error = found.seed_error
    seeds = float(st.t.sf((size - margin) / error, found.freedom)) if error else 0.0
    return min(1.0, 2 * max(tail, seeds))


def _binomial_margin_test(found: Evidence, margin: float) -> float:
    """The least alpha whose exact 1 - 2 alpha interval lies within the margin; 0 without one."""

    def outside(alpha: float) -> bool:
        ends = _binomial_interval(found.binomial, 1 - 2 * alpha)
        assert ends is not None
        return max(abs(end - found.reference) for end in ends) >= margin

    if not found.binomial:
        return 0.0
    low, high = 0.0, 0.5
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if outside(middle) else (low, middle)
    return high


def _binomial_arms(
    part: Part, arms: Sequence[Mapping[str, Arm]], *, spread: float
) -> tuple[Arm, ...]:
    """The arms of a mean or a difference of yes-or-no outcomes judged by the examples of one run.

    Over seeds that is so where nothing spreads: seeds may share their examples, so that those of
    one run are all that is known to be independent.
    """
    estimand = part.estimand or {}
    over_seeds = part.unit == "seeds" and spread > 0
    if over_seeds or not ({"mean", "difference"} & set(estimand)):
        return ()
    picked = tuple(arms[0][name] for name in arms_of(estimand))
    return picked if all(arm.binary for arm in picked) else ()


def _changed(a: Arm, b: Arm) -> tuple[int, int] | None:
    """Examples right only in a, and only in b; None if the arms are not the same examples."""
    if a.values is None or b.values is None or a.n != b.n:
        return None
    return int((a.values > b.values).sum()), int((b.values > a.values).sum())


def _binomial_interval(arms: tuple[Arm, ...], level: float) -> tuple[float, float] | None:
    """Clopper-Pearson of a rate; of a paired difference given its changes; else Newcombe's."""
    if not arms:
        return None
    if len(arms) == 1:
        rate = clopper_pearson(round(arms[0].mean * arms[0].n), arms[0].n, level=level)
        return rate.low, rate.high
    a, b = arms
    changed = _changed(a, b)
    if changed is not None:
        total = sum(changed)
        if not total:
            bound = clopper_pearson(0, a.n, level=level).high
            return -bound, bound
        share = clopper_pearson(changed[0], total, level=level)
        return (2 * share.low - 1) * total / a.n, (2 * share.high - 1) * total / a.n
    left, right = (wilson(round(arm.mean * arm.n), arm.n, level=level) for arm in arms)
    gap = a.mean - b.mean
    low = gap - math.hypot(a.mean - left.low, right.high - b.mean)
    return low, gap + math.hypot(left.high - a.mean, b.mean - right.low)


def _binomial_test(arms: tuple[Arm, ...], null: float) -> float:
    """Exact p-value: binomial for a rate; McNemar's or Fisher's for a difference from 0."""
    if len(arms) == 1:
        arm = arms[0]
        if not 0 <= null <= 1:
            return 0.0
        return float(st.binomtest(round(arm.mean * arm.n), arm.n, null).pvalue)
    if null:
        return 0.0  # these two tests know no other null; the bootstrap's p-value stands
    changed = _changed(*arms)
    if changed is not None:
        return sign_test(*changed)
    table = [[round(arm.mean * arm.n), arm.n - round(arm.mean * arm.n)] for arm in arms]
    return float(st.fisher_exact(np.array(table)).pvalue)
