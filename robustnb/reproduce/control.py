"""Positive controls: whether the arm that must show an effect does show one in these runs.

True labels must help before pseudo-labels can; a plain attack must get through before a change to
it can. A part whose control shows nothing has no headroom in its setting, whatever it measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from robustnb.reproduce.evidence import RunData, compute_evidence
from robustnb.reproduce.formatting import in_units
from robustnb.reproduce.registry_types import Part


@dataclass(frozen=True)
class Found:
    """Whether the control shows its effect, and what it gave, in words."""

    effect: bool
    text: str


def look(part: Part, runs: Sequence[RunData], *, level: float, draws: int) -> Found:
    """Test the control of a part, which has one, as a direction of its own at that level.

    Its p-value is not corrected for other parts: it is no claim, and to be strict with it would
    excuse claims.
    """
    control = part.control
    assert control is not None
    asked = replace(
        part, kind="direction", estimand=control.estimand, null=control.null, sign=control.sign,
        margin=None, paper=None,
    )  # fmt: skip
    evidence = compute_evidence(asked, runs, draws=draws)
    effect = evidence.p <= level and bool(np.sign(evidence.gap) == control.sign)
    interval = evidence.interval()
    value, low, high = (
        in_units(control.estimand, part.scale, x)
        for x in (evidence.estimate, interval.low, interval.high)
    )
    tail = "" if effect else ", no effect"
    return Found(effect, f"control, {control.title}: {value}, 95 % interval {low} to {high}{tail}")
