"""Records of runs, opened: which arms, checks and audits a run holds for a part."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, Literal

import numpy as np

from robustnb.errors import RunError
from robustnb.lesson.outcomes import decode_arm
from robustnb.reproduce.estimand_forms import arms_of
from robustnb.reproduce.estimands import Arm
from robustnb.reproduce.evidence import RunData
from robustnb.reproduce.registry_types import Part

Json = Mapping[str, Any]
State = Literal["current", "stale"]


def state(record: Json, source: str | None) -> State:
    """What a record is to today's code: stale if today's `source` digest is another one."""
    return "current" if source is None or source == record.get("source") else "stale"


def confirmation_behind(records: Iterable[RunRecord]) -> Json | None:
    """The oldest confirmation among the records; None if none needed one."""
    found = [record.confirmed for record in records if record.confirmed is not None]
    return min(found, key=lambda confirmed: str(confirmed["date"]), default=None)


class RunRecord:
    """One finished run as its record tells it; origin is "record" (committed) or "run" (local)."""

    def __init__(self, plain: Json, source: str | None, confirmed: Json | None = None) -> None:
        """Open a JSON record; today's `source` digest decides its state.

        `confirmed` says how a committed record of earlier code was confirmed, which keeps it.
        """
        self.plain = plain
        self.paper, self.profile = str(plain["paper"]), str(plain["profile"])
        self.seed, self.origin = int(plain["seed"]), str(plain.get("origin", "record"))
        earlier = state(plain, source) == "stale"
        self.confirmed = confirmed if earlier and self.origin == "record" else None
        self.stale = earlier and self.confirmed is None
        self.id = f"{self.paper}/{self.profile}/seed{self.seed}/{self.origin}"

    @cached_property
    def by_part(self) -> dict[str, Json]:
        """The measurements by the full name of their part."""
        return {f"{m['claim']}.{m['part']}": m for m in self.plain["measurements"]}

    def run(self, part: Part) -> RunData | None:
        """What the run holds for a part, or None if nothing.

        An arm is looked for in the part's own measurement, then in those of its claim, then in the
        whole run, so that parts that share arms need not store them twice. Raises RunError where
        two measurements equally near disagree about an arm.
        """
        own = self.by_part.get(part.id)
        checks = tuple(own["checks"]) if own else ()
        if part.estimand is None:
            return RunData(self.seed, checks=checks) if checks else None
        arms, used = {}, {part.id: own} if own else {}
        control = () if part.control is None else arms_of(part.control.estimand)
        for name in dict.fromkeys((*arms_of(part.estimand), *control)):
            home = self._home(part, name)
            if home is None:
                return None
            used[home] = self.by_part[home]
            arms[name] = self._arm(home, name)
        audits = tuple(m["audit"] for m in used.values() if m and m.get("audit") is not None)
        return RunData(self.seed, arms, checks, audits)

    def _home(self, part: Part, name: str) -> str | None:
        claim = part.id.rpartition(".")[0]
        circles: tuple[Iterable[str], ...] = (
            [part.id],
            [p for p in self.by_part if p.rpartition(".")[0] == claim],
            self.by_part,
        )
        for circle in circles:
            homes = [p for p in circle if p in self.by_part and name in self.by_part[p]["arms"]]
            if any(
                self.by_part[p]["arms"][name] != self.by_part[homes[0]]["arms"][name] for p in homes
            ):
                raise RunError(
                    f"{self.id}: arm {name!r} differs between {' and '.join(homes)}; "
                    f"give {part.id} its own measurement"
                )
            if homes:
                return homes[0]
        return None

    @cached_property
    def _decoded(self) -> dict[tuple[str, str], Arm]:
        return {}

    def _arm(self, home: str, name: str) -> Arm:
        if (home, name) not in self._decoded:
            plain = self.by_part[home]["arms"][name]
            values = np.asarray(decode_arm(plain), dtype=np.float64)
            counted = plain["kind"] == "count"
            arm = Arm(int(plain["n"]), float(values.mean()), None if counted else values)
            self._decoded[home, name] = arm
        return self._decoded[home, name]

    def why(self, part: Part) -> dict[str, Any]:
        """Where a part's numbers in this run come from: the run, its arms and their means."""
        run = self.run(part)
        arms = {} if run is None else run.arms
        return {
            "run": self.id,
            "arms": {k: {"n": arm.n, "mean": float(f"{arm.mean:.6g}")} for k, arm in arms.items()},
        }

    def facts(self) -> dict[str, Any]:
        """The run's key, code, parameters, data and machine, and the mean of every arm."""
        names = ("key", "source", "parameters", "data", "versions", "device", "cost", "warnings")
        facts = {name: self.plain[name] for name in names if name in self.plain}
        standing = {"stale": self.stale, "confirmed": self.confirmed}
        means = {
            name: float(f"{self._arm(part, name).mean:.6g}")
            for part, measured in self.by_part.items()
            for name in measured["arms"]
        }
        return {**facts, **standing, "origin": self.origin, "seed": self.seed, "means": means}


def open_records(
    records: Sequence[Json],
    sources: Mapping[tuple[str, str, int], str],
    confirmed: Mapping[tuple[str, str, int], Json],
) -> list[RunRecord]:
    """The admissible records in a fixed order; custom runs never count.

    Raises RunError if two records of one origin are for the same paper, profile and seed.
    """
    found: dict[str, RunRecord] = {}
    for plain in records:
        if plain.get("custom"):
            continue
        name = (str(plain["paper"]), str(plain["profile"]), int(plain["seed"]))
        record = RunRecord(plain, sources.get(name), confirmed.get(name))
        if record.id in found:
            raise RunError(f"two records for {record.id}; remove one")
        found[record.id] = record
    return [found[name] for name in sorted(found)]


def speaking(records: Sequence[RunRecord], paper: str, profile: str) -> list[RunRecord]:
    """The records that give the verdicts: committed ones if there are any, else local runs.

    At smoke it is the other way round, since a smoke run is made afresh wherever the book is.
    """
    here = [r for r in records if (r.paper, r.profile) == (paper, profile)]
    first = "run" if profile == "smoke" else "record"
    chosen = [r for r in here if r.origin == first] or here
    return sorted(chosen, key=lambda r: r.seed)
