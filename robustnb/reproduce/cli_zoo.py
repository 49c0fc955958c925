"""`robustnb zoo`: list, verify and train the small networks that more than one page needs."""

from __future__ import annotations

from pathlib import Path

import click

from robustnb.reproduce.cli_options import OnceGroup, say


@click.group("zoo", cls=OnceGroup)
def zoo_group() -> None:
    """List, verify and train the small networks that more than one page needs."""


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
    from robustnb.training import models_folder
    from robustnb.zoo import train
    from robustnb.zoo.manifest import find

    for entry in [find(name) for name in names]:
        _, record = train(entry.name, max_batches=max_batches, origin=_origin)
        path = models_folder() / f"{record['key']}.safetensors"
        epochs = record["history"]["epochs"]
        kept = epochs[record["history"]["best"] - 1]
        say(
            f"{entry.name}: {len(epochs)} epochs in {sum(e['seconds'] for e in epochs):.0f} s; "
            f"epoch {kept['epoch']} is kept, {kept['score']:.1%} on held-out images; {path}"
        )
