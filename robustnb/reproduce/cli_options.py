"""What the groups of commands share: options, completions, and where messages go."""

from __future__ import annotations

import click

from robustnb.reproduce.profiles import NAMES
from robustnb.reproduce.project import Project, find, misnamed


class OnceCommand(click.Command):
    """A command that refuses an option given twice, of which click takes the last in silence."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the words as click does; UsageError for an option that stands there twice."""
        given = self.make_parser(ctx).parse_args(args=list(args))[2]
        for option in given:
            once = isinstance(option, click.Option) and not (option.multiple or option.is_flag)
            if once and given.count(option) > 1:
                raise click.UsageError(f"{option.opts[0]} is given twice; give it once", ctx)
        return super().parse_args(ctx, args)


class OnceGroup(click.Group):
    """A group whose commands refuse an option given twice."""

    command_class = OnceCommand
    group_class = type


def say(line: str) -> None:
    """A message beside the command's output."""
    click.echo(line, err=True)


def all_papers(project: Project) -> list[str]:
    """The papers of the checkout; notebooks that cannot be one are told."""
    for file in project.misnamed():
        say(misnamed(file))
    return project.papers()


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
