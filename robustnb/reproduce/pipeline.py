"""The whole way: runs, ledger, pages, book."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from robustnb.errors import UsageError
from robustnb.reproduce import batch, book, cluster, confirmations, keys, records
from robustnb.reproduce.execute import RECORD
from robustnb.reproduce.files import write_atomically
from robustnb.reproduce.ledger import ledger as judge
from robustnb.reproduce.limits import USUAL, Limits
from robustnb.reproduce.profiles import Profile
from robustnb.reproduce.profiles import load as load_profiles
from robustnb.reproduce.project import Project
from robustnb.reproduce.publish import publish
from robustnb.reproduce.registry import load_all

Report = Callable[[str], None]


def _load(path: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return record


def _local(project: Project) -> list[dict[str, Any]]:
    """Records of the admissible runs of this checkout: only those of today's code and machine."""
    found = []
    for name, profile in load_profiles(project.notebooks).items():
        for paper in project.papers():
            for folder in sorted((project.runs / name / paper).glob("seed*-*")):
                seed = int(folder.name[4:].partition("-")[0])
                run = keys.plan(project, paper, profile, seed)
                if folder == run.folder(project.runs) and (folder / RECORD).is_file():
                    found.append({**_load(folder / RECORD), "origin": "run"})
    return found


def draw_ledger(project: Project, *, committed_only: bool = False) -> dict[str, Any]:
    """The ledger of the registry, the committed records and (unless told otherwise) the runs."""
    found = records.committed(project)
    plan = records.planner(project)
    confirmed = {}
    for record in found:
        standing = records.stand(project, record, plan)
        if standing.confirmation is not None:
            confirmed[standing.name] = confirmations.shown(standing.confirmation)
    if not committed_only:
        found += _local(project)
    names = {(r["paper"], r["profile"], int(r["seed"])) for r in found}
    sources = {name: plan(*name).source for name in sorted(names)}
    return judge(load_all(project.claims), found, sources, confirmed)


def reproduce(
    project: Project,
    papers: Sequence[str],
    profile: Profile,
    seeds: Sequence[int],
    *,
    jobs: int,
    limits: Limits = USUAL,
    fresh: bool = False,
    record: bool = False,
    executor: str = cluster.LOCAL,
    extra: Sequence[str] = (),
    report: Report,
) -> dict[str, Any]:
    """Run `papers` at `profile` over `seeds` and return the ledger drawn after it.

    `executor` is the Snakemake executor that the runs are sent to, `extra` words for Snakemake.
    Seeds that a paper's registry does not list are left out and named, as the ledger would never
    see them; UsageError when no run remains.
    """
    cluster.check(executor, extra)
    with batch.lock(project):
        runs = _registered(project, papers, profile, seeds, report)
        settings = {
            "jobs": jobs, "limits": limits, "fresh": fresh or record, "executor": executor,
            "extra": extra,
        }  # fmt: skip
        _run(project, runs, **settings, report=report)
        if record:
            for run in runs:
                _keep(project, run, report)
        return draw_ledger(project)


def _registered(
    project: Project,
    papers: Sequence[str],
    profile: Profile,
    seeds: Sequence[int],
    report: Report,
) -> list[keys.Run]:
    """The runs that the registry lists."""
    kept: list[keys.Run] = []
    for paper in papers:
        runs = [keys.plan(project, paper, profile, seed) for seed in seeds]
        kept += [run for run in runs if not run.custom]
        left_out = ", ".join(str(run.seed) for run in runs if run.custom)
        if left_out:
            report(
                f"{paper}: left out seeds that no part of its registry lists: {left_out}; "
                f"`robustnb run {paper} --seed N` runs one for a look"
            )
    if not kept:
        raise UsageError("no seed is left to run; `robustnb claims` lists papers and their parts")
    return kept


def _run(project: Project, runs: Sequence[keys.Run], **settings: Any) -> None:
    _fetch_data(project, runs, settings["report"])
    batch.run_all(project, runs, **settings)


def _fetch_data(project: Project, runs: Sequence[keys.Run], report: Report) -> None:
    """Fetch once what the missing runs load, before runs side by side would."""
    from robustnb.data import fetch

    missing = [run for run in runs if not (run.folder(project.runs) / RECORD).is_file()]
    for name in sorted({name for run in missing for name in run.data}):
        fetch(name, report=report)


def _keep(project: Project, run: keys.Run, report: Report) -> None:
    text = (run.folder(project.runs) / RECORD).read_text(encoding="utf-8")
    path = project.records / run.profile / run.paper / f"seed{run.seed}.json"
    write_atomically(path, text)
    report(f"kept {path.relative_to(project.root)}")


def make_book(
    project: Project, profile: Profile, *, jobs: int, limits: Limits = USUAL, report: Report
) -> Path:
    """Run every paper's seed 0 at `profile` where missing, and build the book of it."""
    with batch.lock(project):
        runs = [keys.plan(project, paper, profile, 0) for paper in project.papers()]
        _run(project, runs, jobs=jobs, limits=limits, report=report)
        drawn = draw_ledger(project)
        write_atomically(project.ledger, json.dumps(drawn, indent=1) + "\n")
        source = book.source_root(project)
        papers = source / "book" / "papers"
        for old in papers.glob("*.ipynb"):
            if old.stem not in project.papers():
                old.unlink()
        for run in runs:
            publish(project, run, run.folder(project.runs), drawn, papers)
        return book.build(project, source, report=report)


def write_readme(project: Project, *, check: bool = False) -> bool:
    """Bring README's generated table up to date; with `check` only say whether it is."""
    from robustnb.reproduce.render import readme

    path = project.root / "README.md"
    text = path.read_text(encoding="utf-8")
    wanted = readme(text, draw_ledger(project, committed_only=True))
    if not check:
        write_atomically(path, wanted)
    return not check or text == wanted
