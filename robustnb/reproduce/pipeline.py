"""The whole way: runs, ledger, pages, book."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from robustnb.errors import RobustnbError, RunError, UsageError
from robustnb.reproduce import batch, book, cluster, confirmations, keys, pages, parts, records
from robustnb.reproduce.atomic import write_atomically
from robustnb.reproduce.choice import choose
from robustnb.reproduce.finished import is_finished, record_of
from robustnb.reproduce.ledger import ledger as judge
from robustnb.reproduce.limits import USUAL, Limits
from robustnb.reproduce.profiles import Profile
from robustnb.reproduce.profiles import get as get_profile
from robustnb.reproduce.profiles import load as load_profiles
from robustnb.reproduce.project import Project
from robustnb.reproduce.publish import publish
from robustnb.reproduce.registry import load_all

Report = Callable[[str], None]


def _local(project: Project) -> list[dict[str, Any]]:
    """Records of the admissible runs of this checkout: only those of today's code and machine."""
    found = []
    for name, profile in load_profiles(project.notebooks).items():
        for paper in project.papers():
            for folder in sorted((project.runs / name / paper).glob("seed*-*")):
                if (seed := keys.seed_of(folder.name)) is None:
                    continue
                run = keys.resolve_run(project, paper, profile, seed)
                here = folder == run.folder(project.runs)
                record = record_of(run, project.runs) if here else None
                if record is not None:
                    found.append({**record, "origin": "run"})
    return found


def build_ledger(project: Project, *, committed_only: bool = False) -> dict[str, Any]:
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
    see them; UsageError when no run remains. With `record`, RobustnbError after all is kept names
    each page that was too large to keep.
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
            refused = [why for run in runs if (why := _keep(project, run, report))]
            if refused:
                raise RobustnbError("\n".join(refused))
        return build_ledger(project)


def planned(
    project: Project,
    papers: Sequence[str],
    profile: Profile,
    seeds: Sequence[int],
    *,
    fresh: bool = False,
    report: Report,
) -> list[dict[str, str]]:
    """What `reproduce` would do, run by run, without a lock and without starting anything."""
    runs = _registered(project, papers, profile, seeds, report)
    there = {run.name for run in runs if is_finished(run, project.runs) and not fresh}
    return [{"run": r.name, "is": "there" if r.name in there else "to do"} for r in runs]


def _registered(
    project: Project,
    papers: Sequence[str],
    profile: Profile,
    seeds: Sequence[int],
    report: Report,
) -> list[keys.RunSpec]:
    """The runs that the registry lists."""
    kept: list[keys.RunSpec] = []
    for paper in papers:
        runs = [keys.resolve_run(project, paper, profile, seed) for seed in seeds]
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


def _run(project: Project, runs: Sequence[keys.RunSpec], **settings: Any) -> None:
    fresh = settings.get("fresh", False)
    missing = [run for run in runs if fresh or not is_finished(run, project.runs)]
    _fetch_data(missing, settings["report"])
    batch.run_all(project, runs, **settings)


def _fetch_data(missing: Sequence[keys.RunSpec], report: Report) -> None:
    """Fetch once what the missing runs load, before runs side by side would."""
    from robustnb.data import fetch

    for name in sorted({name for run in missing for name in run.data}):
        fetch(name, report=report)


def _keep(project: Project, run: keys.RunSpec, report: Report) -> str:
    """Copy a run's record to those of the book, with its page for seed 0; why not the page."""
    record, refused = record_of(run, project.runs), ""
    if record is None:
        raise RunError(f"{run.folder(project.runs)} is damaged; run it again")
    home = project.records / run.profile / run.paper
    if run.seed == 0 and run.profile != "smoke":
        try:
            record["page"] = pages.keep(pages.of_run(run.folder(project.runs)), home / pages.FOLDER)
        except RobustnbError as error:
            refused = str(error)
            shutil.rmtree(home / pages.FOLDER, ignore_errors=True)
    path = home / f"seed{run.seed}.json"
    write_atomically(path, json.dumps(record, indent=1, sort_keys=True) + "\n")
    report(f"kept {path.relative_to(project.root)}{' with its page' if 'page' in record else ''}")
    return refused


def make_book(
    project: Project,
    profile: Profile | None,
    *,
    jobs: int,
    limits: Limits = USUAL,
    report: Report,
) -> Path:
    """Run every paper's seed 0 where missing, and build the book; returns its first page.

    At a `profile` the book shows those runs. Without one the runs are smoke, the check of this
    machine, and each page shows the best run at hand (see `choice`).
    """
    with batch.lock(project):
        book.check(project)
        size = profile or get_profile(project.notebooks, "smoke")
        runs = [keys.resolve_run(project, paper, size, 0) for paper in project.papers()]
        report(f"step 1 of 3: run the notebooks at {size.name}, {jobs} at a time")
        _run(project, runs, jobs=jobs, limits=limits, report=report)
        report("step 2 of 3: judge the claims and write the pages")
        drawn = build_ledger(project)
        write_atomically(project.ledger, json.dumps(drawn, indent=1) + "\n")
        source = book.source_root(project)
        _publish_all(project, profile, drawn, source / "book" / "papers", report)
        report("step 3 of 3: build the book")
        return book.build(project, source, report=report)


def _publish_all(
    project: Project,
    profile: Profile | None,
    drawn: dict[str, Any],
    folder: Path,
    report: Report,
) -> None:
    papers = project.papers()
    for old in folder.glob("*.ipynb"):
        if old.stem not in papers:
            old.unlink()
    for count, paper in enumerate(papers, 1):
        chosen = choose(project, paper, profile, report=report)
        publish(project, chosen, drawn, folder)
        why = f", because {chosen.instead}" if chosen.instead else ""
        report(f"page {count} of {len(papers)}: {paper} shows {chosen.what}{why}")


def write_readme(project: Project, *, check: bool = False) -> bool:
    """Bring README's generated table up to date; with `check` only say whether it is."""
    from robustnb.reproduce.scoreboard import readme

    path = project.root / "README.md"
    text = path.read_text(encoding="utf-8")
    drawn = build_ledger(project, committed_only=True)
    wanted = readme(text, drawn, order=parts.in_order(drawn["papers"], project.root))
    if not check:
        write_atomically(path, wanted)
    return not check or text == wanted
