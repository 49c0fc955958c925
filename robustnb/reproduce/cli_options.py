"""What the groups of commands share: options, completions, and where messages go."""

from __future__ import annotations

import click

from robustnb.reproduce.profiles import NAMES
from robustnb.reproduce.project import find


def say(line: str) -> None:
    """A message beside the command's output."""
    click.echo(line, err=True)


def complete_papers(_ctx: click.Context, _param: click.Parameter, start: str) -> list[str]:
    """Papers whose name starts with `start`, for the shell."""
    return [name for name in find().papers() if name.startswith(start)]


paper_argument = click.argument("paper", shell_complete=complete_papers)
profile_option = click.option(
    "--profile",
    default="laptop",
    show_default=True,
    shell_complete=lambda *_: list(NAMES),
    help="Size of the run: smoke, laptop, gpu or paper.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
