"""Confirm records: run the code they were made with and today's side by side, and compare.

Equal results keep the records: a confirmation is written beside them, which the ledger checks.
Where something differs the records stay stale. Confirmations do not add up: the earlier code is
always the one the records were made with.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import robustnb
from robustnb import unfinished
from robustnb.errors import RobustnbError, RunError, UsageError
from robustnb.reproduce import batch, compare, confirmations, history, profiles, records
from robustnb.reproduce.batch import Report
from robustnb.reproduce.project import Project
from robustnb.reproduce.records import CURRENT, Standing
from robustnb.reproduce.sides import Plan, Side

Pair = tuple[Plan, Plan]  # a run as the earlier code plans it, and as today's does

_TOLD_EVERY = 10  # commits


def confirm(
    project: Project,
    papers: Sequence[str],
    profile: str,
    seed: int,
    *,
    old: Path | None = None,
    report: Report,
) -> None:
    """Confirm the records of `papers` that were made with earlier code.

    The earlier code comes from git, or from `old`, a checkout of it. Both codes run `profile` and
    `seed`; a run that is there is not repeated. After all papers an error names those whose records
    stay stale, and why.
    """
    profiles.get(project.notebooks, profile)
    if old is not None and not (old / "robustnb" / "__init__.py").is_file():
        raise UsageError(f"{old} is no checkout of the book; --old needs the folder of one")
    home = Project(project.root, project.build / "confirm")
    errors: list[RobustnbError] = []
    with batch.lock(home), batch.owned(home) as token:
        work = _Work(project, home, profile, seed, old, token, report)
        for paper in papers:
            try:
                work.paper(paper)
            except RobustnbError as error:
                errors.append(error)
    if errors:
        raise type(errors[0])("\n".join(map(str, errors)))


@dataclass(frozen=True)
class _Work:
    """One call of `confirm`."""

    project: Project
    home: Project
    profile: str
    seed: int
    old: Path | None
    token: Mapping[str, str]
    report: Report

    def paper(self, paper: str) -> None:
        """Confirm one paper's records; RobustnbError names those that stay stale."""
        left = [s for s in records.standings(self.project, [paper]) if s.state != CURRENT]
        if not left:
            self.report(f"{paper}: no record was made with earlier code")
            return
        kept: list[confirmations.Json] = []
        problems: list[str] = []
        tried: set[str] = set()
        for first in tuple(left):
            codes = self._earlier_codes(first, left, tried) if first in left else ()
            for code in codes:
                with code as (earlier, commit):
                    mine = _made_with(earlier, left, given=self.old is not None)
                    if mine:
                        left = [s for s in left if s not in mine]
                        kept += self._confirm(earlier, commit, mine, problems)
                if first not in left:
                    break
        if left:
            problems.append(self._no_code(left))
            kept += _unique(s.confirmation for s in left if s.confirmation is not None)
        path = confirmations.keep(self.project, paper, kept)
        if kept:
            self.report(f"wrote {path.relative_to(self.project.root)}")
        if problems:
            raise RobustnbError("\n".join(problems))

    def _earlier_codes(
        self, first: Standing, left: Sequence[Standing], tried: set[str]
    ) -> Iterator[AbstractContextManager[tuple[Side, str | None]]]:
        """Every code that `first` may have been made with, likeliest first, but those `tried`."""
        if self.old is not None:
            folder = self.old.resolve()
            if str(folder) not in tried:
                tried.add(str(folder))
                yield nullcontext((self._side("the earlier code", folder, folder), None))
            return
        if not history.is_repository(self.project.root):
            return
        paper, profile, seed = first.name
        record = self.project.records / profile / paper / f"seed{seed}.json"
        self.report(f"looking for the code that made {_told(left)}")
        found = history.candidates(
            self.project.root, first.record.get("commit"), record, first.record["closure"]
        )
        for n, commit in enumerate(name for name in found if name not in tried):
            tried.add(commit)
            yield self._unpacked(n, commit)

    @contextmanager
    def _unpacked(self, tried: int, commit: str) -> Iterator[tuple[Side, str | None]]:
        if tried and tried % _TOLD_EVERY == 0:
            self.report(f"  {tried} commits tried, now {commit[:12]}")
        with unfinished.folder(self.home.build / "tmp", commit[:12]) as work:
            code = history.unpack(self.project.root, commit, work / "code")
            yield self._side(f"the code of commit {commit[:12]}", code, code), commit

    def _side(self, name: str, code: Path, root: Path, place: str = "earlier") -> Side:
        return Side(name, code, root, self.home.build / place, self.token)

    def _no_code(self, left: Sequence[Standing]) -> str:
        sources = ", ".join(sorted({s.record["source"] for s in left}))
        if self.old is not None:
            where = f"the code in {self.old} did not make them"
        elif history.is_repository(self.project.root):
            where = "no commit of this history made them (a shallow clone has few)"
        else:
            where = f"{self.project.root} has no git history"
        return (
            f"{_told(left)}: {where}; pass --old FOLDER, a checkout of the code with the digest "
            f"{sources}"
        )

    def _confirm(
        self, earlier: Side, commit: str | None, mine: Sequence[Standing], problems: list[str]
    ) -> list[confirmations.Json]:
        """The confirmation of `mine`, if any; what keeps records from it goes to `problems`."""
        paper = mine[0].run.paper
        code = Path(robustnb.__file__).parents[1]
        sides = (earlier, self._side("today's code", code, self.project.root, "today"))
        names = [*(s.name for s in mine), (paper, self.profile, self.seed)]
        pairs = list(zip(*(side.plans(names) for side in sides), strict=True))
        found = list(zip(mine, pairs[:-1], strict=True))
        fit = [(s, pair) for s, pair in found if not _changed_sizes(pair)]
        resized = [(s, pair) for s, pair in found if _changed_sizes(pair)]
        if resized:
            changed = _changed_sizes(resized[0][1])
            problems.append(_cannot_speak([s for s, _ in resized], f"of the records: {changed}"))
        if not fit:
            return []
        told = _told([s for s, _ in fit])
        if changed := _changed_sizes(pairs[-1]):
            problems.append(_cannot_speak([s for s, _ in fit], f"at {self.profile}: {changed}"))
            return []
        results = [self._result(side, plan) for side, plan in zip(sides, pairs[-1], strict=True)]
        if reason := compare.unequal(*results):
            where = f"{earlier.name} and today's differ at {self.profile}, seed {self.seed}"
            problems.append(f"{told}: {where}: {reason}; these records stay stale")
            return []
        n, outputs = len(results[1].measurements), results[1].n_outputs
        self.report(
            f"{told}: confirmed, all measurements ({n}) and text outputs ({outputs}) are equal"
        )
        return [self._confirmation(commit, fit, pairs[-1], results)]

    def _result(self, side: Side, plan: Plan) -> compare.Result:
        self.report(f"running {side.name} at {self.profile}, seed {self.seed}")
        return compare.read(side.run(plan))

    def _confirmation(
        self,
        commit: str | None,
        fit: Sequence[tuple[Standing, Pair]],
        ran: Pair,
        results: Sequence[compare.Result],
    ) -> confirmations.Json:
        then, now = (
            {"source": plan.source, "key": plan.key, "result": result.digest}
            for plan, result in zip(ran, results, strict=True)
        )
        content = {
            "commit": commit,
            "date": datetime.now(UTC).date().isoformat(),
            "profile": self.profile,
            "seed": self.seed,
            "parameters": ran[1].parameters,
            "changed": records.changed_modules(ran[0].closure, ran[1].closure),
            "earlier": then,
            "today": now,
            "measurements": len(results[1].measurements),
            "outputs": results[1].n_outputs,
            "records": [
                {
                    "profile": s.run.profile,
                    "seed": s.run.seed,
                    "earlier": earlier.source,
                    "today": today.source,
                }
                for s, (earlier, today) in fit
            ],
            "machine": {"processor": processor(), "cores": os.cpu_count()},
            "versions": ran[1].versions,
            "device": ran[1].device,
        }
        return confirmations.sealed(ran[1].paper, content)


def _made_with(earlier: Side, left: Sequence[Standing], *, given: bool) -> list[Standing]:
    """The records whose source this code gives; code that was `given` must know of such runs."""
    try:
        plans = earlier.plans([s.name for s in left])
    except RunError:  # code of the history may be older than a paper or a profile
        if given:
            raise
        return []
    return [s for s, p in zip(left, plans, strict=True) if p.source == s.record["source"]]


def _changed_sizes(pair: Pair) -> str:
    """What differs beside code: names of parameters, or data."""
    then, now = pair
    names = sorted({*then.parameters, *now.parameters})
    changed = [n for n in names if then.parameters.get(n) != now.parameters.get(n)]
    return ", ".join([*changed, *(["data"] if then.data != now.data else [])])


def _cannot_speak(found: Sequence[Standing], sizes: str) -> str:
    return (
        f"{_told(found)}: sizes changed {sizes}; a confirmation speaks for code alone, so "
        "record these runs again"
    )


def _unique(found: Iterable[confirmations.Json]) -> list[confirmations.Json]:
    return list({str(c["seal"]): c for c in found}.values())


def _told(found: Sequence[Standing]) -> str:
    """Records in few words: `zhang2019 laptop seeds 0, 1`."""
    profiles_of: dict[str, list[str]] = {}
    for s in found:
        profiles_of.setdefault(s.run.profile, []).append(str(s.run.seed))
    seeds = "; ".join(f"{name} seeds {', '.join(s)}" for name, s in profiles_of.items())
    return f"{found[0].run.paper} {seeds}"


def processor() -> str:
    """The processor's model, as well as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return next((m for m in models if m), "") or platform.processor() or platform.machine()
