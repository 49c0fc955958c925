"""`robustnb register` and `robustnb power`: what the author of a registry needs."""

from __future__ import annotations

import json

import click

from robustnb.errors import RobustnbError
from robustnb.reproduce import profiles
from robustnb.reproduce.cli_options import (
    OnceCommand,
    json_option,
    paper_argument,
    profile_option,
    say,
)
from robustnb.reproduce.project import find


@click.command("register", cls=OnceCommand, short_help="Print what registers a paper, to paste.")
@paper_argument
def register_command(paper: str) -> None:
    """Print the block `registered` of a paper's registry, ready to paste.

    The exit code is 1 if a part has changed since it was registered and no amendment says so.
    """
    project = find()
    from robustnb.reproduce.registry import load, registered_block, unregistered_changes

    registry = load(paper, folder=project.claims)
    click.echo(registered_block(registry))
    changed = unregistered_changes(registry) if registry.registered.digests else []
    if changed:
        raise RobustnbError(
            f"changed without an amendment: {', '.join(changed)}; "
            f"add an entry for each under `amendments` in {paper}.yaml"
        )


@click.command("power", cls=OnceCommand, short_help="Power of each planned part of a paper.")
@paper_argument
@profile_option
@json_option
def power_command(paper: str, profile: str, as_json: bool) -> None:
    """Power of each planned part of a paper, from runs of seeds that no part registers.

    It takes as many as a part has seeds, made by `robustnb run PAPER --profile laptop --seed 100`
    and so on. The powers at laptop are kept in benchmarks/results/power.json.
    """
    project = find()
    project.notebook(paper)
    size = profiles.get(project.notebooks, profile)
    from robustnb.reproduce import console, power

    found = power.powers(project, paper, size)
    rows = [{"part": name, **row} for name, row in found.items()]
    click.echo(json.dumps(rows, indent=1) if as_json else console.table(rows))
    if size.name == power.PLANNED_AT:
        say(f"kept in {power.keep(project, found)}")
