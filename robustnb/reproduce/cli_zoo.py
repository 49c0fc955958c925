"""`robustnb zoo`: the small networks that more than one page needs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from robustnb.errors import DataError
from robustnb.reproduce.cli_options import OnceGroup, json_option, say

if TYPE_CHECKING:
    from robustnb.zoo.recipes import Entry


@click.group("zoo", cls=OnceGroup)
def zoo_group() -> None:
    """List, verify, train and publish the small networks that more than one page needs."""


def _origin() -> dict[str, str]:
    """The commit whose code is running, where there is one, and the machine."""
    from robustnb.reproduce import history, machine

    commit = history.commit(Path(__file__).resolve().parents[2])
    return {"machine": machine.processor()} | ({"commit": commit} if commit else {})


@zoo_group.command("train", short_help="Train networks again by their recipes.")
@click.argument("names", nargs=-1, required=True)
@click.option(
    "--max-batches", type=click.IntRange(1), help="Cut each epoch short, to try a recipe."
)
def zoo_train(names: tuple[str, ...], max_batches: int | None) -> None:
    """Train networks again by their recipes, on one thread; what is trained already is found.

    Interrupted, the same command goes on after the last epoch.
    """
    from robustnb.zoo.recipes import find

    entries = [find(name) for name in names]
    from robustnb.training import models_folder
    from robustnb.zoo import train

    for entry in entries:
        _, record = train(entry.name, max_batches=max_batches, origin=_origin)
        path = models_folder() / f"{record['key']}.safetensors"
        epochs = record["history"]["epochs"]
        kept = epochs[record["history"]["best"] - 1]
        say(
            f"{entry.name}: {len(epochs)} epochs in {sum(e['seconds'] for e in epochs):.0f} s; "
            f"epoch {kept['epoch']} is kept, {kept['score']:.1%} on held-out images; {path}"
        )


@zoo_group.command("list", short_help="Networks, how they were trained, and their accuracies.")
@json_option
def zoo_list(as_json: bool) -> None:
    """Networks, how they were trained, and their accuracies on test images."""
    from robustnb.reproduce import console, zoo_table

    rows = zoo_table.plain_rows()
    click.echo(json.dumps(rows, indent=1) if as_json else console.table(rows))


@zoo_group.command("verify", short_help="Check digests and, with --images, accuracies.")
@click.argument("names", nargs=-1)
@click.option(
    "--images",
    type=click.IntRange(1),
    help="Measure the accuracies again on the first so many test images.",
)
def zoo_verify(names: tuple[str, ...], images: int | None) -> None:
    """Check the digests of networks (default: all); with --images, their accuracies as well.

    A recorded accuracy must lie in the 99.9 % interval of the one measured again.
    """
    from robustnb.zoo.recipes import find, manifest

    everything = [name for name, entry in manifest().items() if entry.trained]
    entries = [find(name) for name in names or everything]
    bad = [entry.name for entry in entries if not _is_right(entry, images)]
    if bad:
        raise DataError(
            f"not as they should be: {', '.join(bad)}; install robustnb again, check the files "
            "out again, or train them anew: robustnb zoo train"
        )


def _is_right(entry: Entry, images: int | None) -> bool:
    from robustnb.zoo import load
    from robustnb.zoo.loading import answers_as_recorded

    try:
        model = load(entry.name)
    except DataError as error:
        say(str(error))
        return False
    if not answers_as_recorded(entry.name):
        say(f"{entry.name}: its digest is right, but it answers otherwise than it did")
        return False
    say(f"{entry.name}: its digest is right, and it answers as recorded")
    if images is None or entry.accuracy is None:
        return True
    from robustnb.zoo.accuracy import counts
    from robustnb.zoo.measuring import agrees, measure

    against = [(found["norm"], found["eps"]) for found in entry.accuracy["attacked"]]
    again = measure(model, entry.recipe, images=images, clean=images, against=against)
    pairs = list(zip(counts(entry.accuracy), counts(again), strict=True))
    for then, now in pairs:
        say(f"  {now.what}: {now.share:.1%} of {now.images}, recorded {then.share:.1%}")
    return all(agrees(then, now) for then, now in pairs)


@zoo_group.command("publish", short_help="Measure a trained network and put it into the zoo.")
@click.argument("name")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--images", default=500, show_default=True, type=click.IntRange(1))
@click.option("--clean", default=10_000, show_default=True, type=click.IntRange(1))
def zoo_publish(name: str, file: Path, images: int, clean: int) -> None:
    """Measure a network that `zoo train` left in FILE, and write it into this clone's zoo.

    The first `--clean` test images are taken as they are, and the first `--images` attacked.
    """
    from robustnb.zoo.recipes import find

    entry = find(name)
    from robustnb.zoo import publishing
    from robustnb.zoo.measuring import measure, threats

    model, origin = publishing.trained(entry, file)
    against = threats(entry.recipe)
    accuracy = measure(model, entry.recipe, images=images, clean=clean, against=against)
    say(str(publishing.publish(entry, model, origin=origin, accuracy=accuracy)))
