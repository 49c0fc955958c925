"""`robustnb data`: fetch, verify and list the data sets."""

from __future__ import annotations

import json

import click

from robustnb.errors import DataError, unknown
from robustnb.reproduce.cli_options import OnceGroup, json_option, say


@click.group("data", cls=OnceGroup)
def data_group() -> None:
    """Fetch, verify and list the data sets."""


def _data_names(names: tuple[str, ...], *others: str) -> list[str]:
    """The names given, or all data sets; UsageError for one that is neither these nor `others`."""
    from robustnb.data import catalogue

    for name in names:
        if name not in (*catalogue(), *others):
            raise unknown("data set", name, [*catalogue(), *others])
    return list(names) or sorted(catalogue())


@data_group.command("fetch", short_help="Bring data sets (default: all) into the cache.")
@click.argument("names", nargs=-1)
def data_fetch(names: tuple[str, ...]) -> None:
    """Bring data sets (default: all) into the cache, from the first source that has them.

    A name may also be that of trained weights, such as efficientnet_lite0.
    """
    from robustnb.data import fetch, weights
    from robustnb.data.weight_files import WEIGHTS

    for name in _data_names(names, *WEIGHTS):
        if name in WEIGHTS:
            say(f"{name} is in {weights(name, report=say)}: its digest is right")
        else:
            fetch(name, report=say)


@data_group.command("verify")
@click.argument("names", nargs=-1)
def data_verify(names: tuple[str, ...]) -> None:
    """Check the cached arrays against their known digests."""
    from robustnb.data import verify

    bad = [name for name in _data_names(names) if not verify(name, report=say)]
    if bad:
        raise DataError(f"not as they should be: {', '.join(bad)}; robustnb data fetch mends it")


@data_group.command("list", short_help="Data sets, and which are in the cache.")
@json_option
def data_list(as_json: bool) -> None:
    """Data sets, their sizes, sources and licences, and which are in the cache."""
    from dataclasses import asdict

    from robustnb.data import describe
    from robustnb.reproduce import console

    rows = [asdict(listing) for listing in describe()]
    click.echo(json.dumps(rows, indent=1, default=str) if as_json else console.table(rows))
