"""The means of arms that a ledger's runs hold: by seed, and inside a sentence."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import mean
from typing import Any

import numpy as np

from robustnb.errors import UsageError, unknown
from robustnb.reproduce.estimand_forms import arms_of
from robustnb.reproduce.estimands import statistic
from robustnb.reproduce.profiles import NAMES as PROFILES

Json = Mapping[str, Any]


def recorded(ledger: Json, paper: str) -> tuple[str, dict[int, Json]]:
    """The largest profile of which a paper has runs, and these by seed.

    Committed runs are taken where there are any, else those of this machine; a smoke run counts
    only if there is nothing larger. Raises UsageError if nothing ran.
    """
    for profile in reversed(PROFILES):
        for origin in ("record", "run"):
            found = {
                run["seed"]: run
                for name, run in ledger["runs"].items()
                if name.startswith(f"{paper}/{profile}/") and run["origin"] == origin
            }
            if found:
                return profile, dict(sorted(found.items()))
    raise UsageError(f"{paper} has no run; `make book` makes one")


def holds(run: Json, estimand: Json) -> bool:
    """Whether a run of the ledger holds every arm of an estimand."""
    return all(arm in run["means"] for arm in arms_of(estimand))


def value(run: Json, estimand: Json) -> float:
    """An estimand in one run of the ledger."""
    means = np.array([[run["means"][arm] for arm in arms_of(estimand)]])
    return float(statistic(estimand)(means)[0])


def mean_of_arm(ledger: Json, paper: str, arm: str) -> str:
    """The mean of an arm over the seeds of `recorded`, as `37.7 %`."""
    _, runs = recorded(ledger, paper)
    known = {name for run in runs.values() for name in run["means"]}
    if arm not in known:
        raise unknown(f"arm in the runs of {paper}", arm, known)
    share = mean(run["means"][arm] for run in runs.values() if arm in run["means"])
    return f"{100 * share:.1f} %"
