"""What a failed attack audit could explain at the worst, beside the reason it gives."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from robustnb.reproduce.evidence import RunData

Json = Mapping[str, Any]
_CURVES = ("steps", "restarts")  # robust accuracy against effort, which had not become flat


@dataclass(frozen=True)
class FailedAudit:
    """Why an audit failed, and by how much more effort may lower a robust accuracy, if known.

    `worst` is None where a finding has no such size, as one of masked gradients.
    """

    why: str
    worst: float | None


def failed_audit(runs: Sequence[RunData]) -> FailedAudit | None:
    """The gravest failure among the runs' audits, one without a size first; None if all held.

    Where a curve over the attack's effort still falls, more effort is taken to lower the robust
    accuracy by as much again as the whole curve fell, in every network of the run that failed.
    """
    failed = [audit for run in runs for audit in run.audits if not audit.get("ok")]
    if not failed:
        return None
    losses = [_loss(audit.get("value")) for audit in failed]
    gravest = max(range(len(failed)), key=lambda i: math.inf if (x := losses[i]) is None else x)
    why = failed[gravest].get("why") or failed[gravest].get("detail") or "no reason given"
    return FailedAudit(str(why), losses[gravest])


def _loss(models: Any) -> float | None:
    """The sum over the networks of one audit; None if a failed check of any has no size."""
    if not isinstance(models, Mapping):
        return None
    total = 0.0
    for findings in models.values():
        failed = {name: found for name, found in findings.items() if not found["ok"]}
        if not failed.keys() <= set(_CURVES):
            return None
        falls = (found["value"].values() for found in failed.values())
        total += max((max(curve) - min(curve) for curve in map(list, falls)), default=0.0)
    return total
