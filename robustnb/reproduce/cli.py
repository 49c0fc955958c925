"""The `robustnb` command.

Exit codes: 0 done, 1 failed, 2 wrong name or value, 4 data not to be had, 5 a notebook did not
run to its end, 6 another command holds the checkout, 130 interrupted.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

import click

from robustnb import __version__
from robustnb.errors import RobustnbError, UsageError, unknown
from robustnb.reproduce import profiles as profile_table
from robustnb.reproduce.cli_data import data_group
from robustnb.reproduce.cli_options import (
    OnceGroup,
    all_papers,
    json_option,
    paper_argument,
    profile_option,
)
from robustnb.reproduce.cli_options import complete_papers as _complete_papers
from robustnb.reproduce.cli_options import say as _say
from robustnb.reproduce.cli_records import records_group
from robustnb.reproduce.cli_registry import power_command, register_command
from robustnb.reproduce.cli_zoo import zoo_group
from robustnb.reproduce.limits import SILENCE_SECONDS, Limits
from robustnb.reproduce.project import Project, find

_INTERRUPTED = 130
_MOST_SEEDS = 10_000


def _complete_claims(_ctx: click.Context, _param: click.Parameter, start: str) -> list[str]:
    from robustnb.reproduce.registry import load_all

    registry = load_all(find().claims)
    return [c.id for paper in registry.values() for c in paper.claims if c.id.startswith(start)]


class _Seeds(click.ParamType[list[int]]):
    name = "seeds"

    def convert(self, value: Any, param: Any, ctx: Any) -> list[int]:
        if isinstance(value, list):
            return value
        seeds: set[int] = set()
        for part in str(value).split(","):
            first, dash, last = part.partition("-")
            try:
                low, high = int(first), int(last if dash else first)
            except ValueError:
                self.fail(f"{value!r} is not a list of seeds; write 0-4 or 0,2,5", param, ctx)
            if high < low:
                self.fail(f"{part!r} counts backwards; write {high}-{low}", param, ctx)
            if high - low >= _MOST_SEEDS:
                self.fail(f"{part!r} is more than {_MOST_SEEDS:,} seeds", param, ctx)
            seeds.update(range(low, high + 1))
        return sorted(seeds)


jobs_option = click.option(
    "--jobs",
    type=click.IntRange(1),
    help="Runs at a time; by default one a core, as far as the free memory holds them.",
)
silence_option = click.option(
    "--silence",
    type=click.FloatRange(0, min_open=True),
    default=SILENCE_SECONDS,
    show_default=True,
    metavar="SECONDS",
    help="End a run of which nothing has moved for so long.",
)
timeout_option = click.option(
    "--timeout",
    type=click.FloatRange(0, min_open=True),
    metavar="SECONDS",
    help="End a run after so long in all; without it a run takes the time it needs.",
)


def _limited(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the two options that bound its runs."""
    return silence_option(timeout_option(command))


_EXIT_CODES = (__doc__ or "").partition("\n\n")[2]


@click.group(
    cls=OnceGroup, context_settings={"help_option_names": ["-h", "--help"]}, epilog=_EXIT_CODES
)
@click.version_option(__version__, prog_name="robustnb")
def cli() -> None:
    """Re-run and re-check the papers of the book.

    To begin with: `robustnb list` names the papers, `robustnb run zhang2019 --profile smoke` runs
    one at its smallest size, `robustnb claims zhang2019` tells what came of its claims, and
    `robustnb book` builds all pages. Sizes are smoke (a check), laptop (minutes of one core), gpu
    and paper (the paper's own).
    """


for _command in (records_group, register_command, power_command, data_group, zoo_group):
    cli.add_command(_command)


@cli.command("list")
@json_option
def list_command(as_json: bool) -> None:
    """Papers, claims, profiles and budgets.

    The names in its first column are what other commands call PAPER.
    """
    from robustnb.reproduce import console

    project = find()
    all_papers(project)
    click.echo(console.overview(project, as_json=as_json))


@cli.command("run")
@paper_argument
@profile_option
@click.option(
    "--seed",
    default=0,
    show_default=True,
    type=click.IntRange(0),
    help="Seed of all that is drawn.",
)
@click.option(
    "-p",
    "assignments",
    multiple=True,
    metavar="NAME=VALUE",
    help="Set a parameter, as eps=0.2.",
)
@click.option("--fresh", is_flag=True, help="Ignore a finished run and stored models.")
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
@_limited
def run_command(
    paper: str,
    profile: str,
    seed: int,
    assignments: tuple[str, ...],
    fresh: bool,
    quiet: bool,
    silence: float,
    timeout: float | None,
) -> None:
    """Run one notebook with papermill and say where the result is.

    A run that is there already is not repeated.
    """
    project = find()
    project.notebook(paper)
    size = profile_table.get(project.notebooks, profile)
    from robustnb.reproduce.single import run_one

    folder = run_one(
        project,
        paper,
        size,
        seed,
        assignments,
        limits=Limits(silence, timeout),
        fresh=fresh,
        report=_silent if quiet else _say,
    )
    click.echo(folder / "x.ipynb")


def _silent(_line: str) -> None:
    return None


@cli.command("reproduce", short_help="Run papers over seeds, then print their verdicts.")
@click.argument("papers", nargs=-1, shell_complete=_complete_papers)
@profile_option
@click.option("--seeds", type=_Seeds(), default="0", show_default=True, help="For example 0-4.")
@jobs_option
@click.option("--fresh", is_flag=True, help="Run again what is there.")
@click.option("--record", is_flag=True, help="Fresh runs, kept under book/records/.")
@click.option("--dry-run", is_flag=True, help="Say which runs are to do, and start nothing.")
@click.option(
    "--executor",
    default="local",
    show_default=True,
    help="Snakemake executor the runs are sent to, as slurm.",
)
@click.option("--snakemake", "extra", multiple=True, help="A word passed on to Snakemake.")
@_limited
def reproduce_command(
    papers: tuple[str, ...],
    profile: str,
    seeds: list[int],
    jobs: int | None,
    fresh: bool,
    record: bool,
    dry_run: bool,
    executor: str,
    extra: tuple[str, ...],
    silence: float,
    timeout: float | None,
) -> None:
    """Run papers (default: all) over seeds, then print what became of their claims."""
    project, size = _checked(papers, profile)
    from robustnb.reproduce import cluster, console, machine, pipeline

    chosen, limits = list(dict.fromkeys(papers)) or all_papers(project), Limits(silence, timeout)
    if dry_run:
        cluster.check(executor, extra)
        plan = pipeline.planned(project, chosen, size, seeds, fresh=fresh or record, report=_say)
        click.echo(console.table(plan))
        return
    ledger = pipeline.reproduce(
        project, chosen, size, seeds, jobs=jobs or machine.jobs(size.memory_gb), limits=limits,
        fresh=fresh, record=record, executor=executor, extra=extra, report=_say,
    )  # fmt: skip
    click.echo(console.claims(ledger, chosen, as_json=False))


def _checked(papers: tuple[str, ...], profile: str) -> tuple[Project, profile_table.Profile]:
    project = find()
    for paper in papers:
        project.notebook(paper)
    return project, profile_table.get(project.notebooks, profile)


@cli.command("book")
@click.option(
    "--profile",
    shell_complete=lambda *_: list(profile_table.NAMES),
    help="Run the notebooks at this size and show these runs.",
)
@jobs_option
@_limited
def book_command(
    profile: str | None, jobs: int | None, silence: float, timeout: float | None
) -> None:
    """Run what is missing, draw the ledger and build the book.

    Without --profile the notebooks run at smoke, to check this machine, and each page shows the
    best run at hand: a local one of a larger profile, else one kept with the book.
    """
    project, size = _checked((), profile or "smoke")
    all_papers(project)
    from robustnb.reproduce import machine
    from robustnb.reproduce.pipeline import make_book

    page = make_book(
        project,
        size if profile else None,
        jobs=jobs or machine.jobs(size.memory_gb),
        limits=Limits(silence, timeout),
        report=_say,
    )
    click.echo(f"open {page}")


@cli.command("claims")
@click.argument("paper", required=False, shell_complete=_complete_papers)
@json_option
def claims_command(paper: str | None, as_json: bool) -> None:
    """Verdict on each claim, from the runs and records there are."""
    project = find()
    papers = [project.notebook(paper).stem] if paper else all_papers(project)
    from robustnb.reproduce import console
    from robustnb.reproduce.pipeline import build_ledger

    click.echo(console.claims(build_ledger(project), papers, as_json=as_json))


@cli.command("why", short_help="From a verdict down to its runs, code and data.")
@click.argument("claim", shell_complete=_complete_claims)
@json_option
def why_command(claim: str, as_json: bool) -> None:
    """From a claim's verdict down to its runs, their parameters, code and data.

    CLAIM may also be one part of a claim, as zhang2019.C6.robust_up.
    """
    project = find()
    from robustnb.reproduce.registry import load_all

    claims = [c for paper in load_all(project.claims).values() for c in paper.claims]
    parts = [part.id for c in claims for part in c.parts]
    known = [c.id for c in claims]
    if claim not in known + parts:
        siblings = [p for p in parts if p.rpartition(".")[0] == claim.rpartition(".")[0]]
        raise unknown("claim", claim, known + siblings)
    from robustnb.reproduce import console
    from robustnb.reproduce.pipeline import build_ledger

    click.echo(console.why(build_ledger(project), claim, as_json=as_json))


@cli.command("readme", hidden=True)
@click.option("--check", is_flag=True, help="Only say whether README.md is up to date.")
def readme_command(check: bool) -> None:
    """Write README's verdict table from the committed records."""
    from robustnb.reproduce.pipeline import write_readme

    if not write_readme(find(), check=check):
        raise RobustnbError("README.md is not what book/records gives; run `make readme`")


@cli.command("picture", hidden=True)
@paper_argument
@click.option("--figure", default=1, show_default=True, type=click.IntRange(1))
def picture_command(paper: str, figure: int) -> None:
    """Copy a figure of a paper's page, from the best run at hand, to where README shows it."""
    from robustnb.reproduce.picture import write_picture

    project = find()
    project.notebook(paper)
    click.echo(write_picture(project, paper, figure, report=_say))


@cli.command("hero", hidden=True)
def hero_command() -> None:
    """Draw the picture of the book's first screen again, training its two networks if need be."""
    from robustnb.reproduce import hero

    folder = find().root / "book" / "_static"
    hero.write(folder, report=_say)
    click.echo(folder / "hero.json")


def run() -> None:
    """Run the command and turn errors into one line and an exit code."""
    # a batch system or `kill` asks as Ctrl-C does, and gets the same orderly end
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        cli.main(standalone_mode=False)
    except click.exceptions.Exit as error:
        raise SystemExit(error.exit_code) from None
    except click.ClickException as error:
        error.show()
        raise SystemExit(UsageError.exit_code) from None
    except RobustnbError as error:
        click.echo(f"robustnb: {error}", err=True)
        raise SystemExit(error.exit_code) from None
    except OSError as error:
        from robustnb.reproduce import disk

        told = disk.explain(error, find())
        if not told:
            raise
        click.echo(f"robustnb: {told}", err=True)
        raise SystemExit(RobustnbError.exit_code) from None
    except (KeyboardInterrupt, click.Abort):
        click.echo("robustnb: interrupted; the same command goes on from here", err=True)
        raise SystemExit(_INTERRUPTED) from None
