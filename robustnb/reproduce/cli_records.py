"""`robustnb records`: which records speak for today's code, and confirming those that may."""

from __future__ import annotations

import json
from pathlib import Path

import click

from robustnb.reproduce.cli_options import OnceGroup, all_papers, complete_papers, json_option, say
from robustnb.reproduce.profiles import NAMES
from robustnb.reproduce.project import Project, find

papers_argument = click.argument("papers", nargs=-1, shell_complete=complete_papers)


@click.group("records", cls=OnceGroup)
def records_group() -> None:
    """List the committed records, and confirm those of earlier code."""


def _chosen(project: Project, papers: tuple[str, ...]) -> list[str]:
    return [project.notebook(paper).stem for paper in papers] or all_papers(project)


@records_group.command("list", short_help="Which are current, confirmed or stale, and why.")
@papers_argument
@json_option
def list_command(papers: tuple[str, ...], as_json: bool) -> None:
    """Which records are current, confirmed or stale, and why (default: all papers).

    Current: today's code made them. Confirmed: earlier code made them, which gave the same results
    as today's. Stale: neither.
    """
    project = find()
    chosen = _chosen(project, papers)
    from robustnb.reproduce import console, records

    rows = records.rows(records.standings(project, chosen))
    click.echo(json.dumps(rows, indent=1) if as_json else console.table(rows))


@records_group.command("confirm", short_help="Compare the code that made them with today's.")
@papers_argument
@click.option(
    "--profile",
    default="smoke",
    show_default=True,
    shell_complete=lambda *_: list(NAMES),
    help="Size at which the two codes are compared.",
)
@click.option(
    "--seed", default=0, show_default=True, type=click.IntRange(0), help="Seed of both runs."
)
@click.option(
    "--old",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A checkout of the code that made the records, where git has no history.",
)
def confirm_command(papers: tuple[str, ...], profile: str, seed: int, old: Path | None) -> None:
    """Run the code that made the records and today's, and keep the records if both are equal.

    Every measurement and every text output is compared bit for bit, on this machine.
    """
    project = find()
    chosen = _chosen(project, papers)
    from robustnb.reproduce.confirm import confirm

    confirm(project, chosen, profile, seed, old=old, report=say)
