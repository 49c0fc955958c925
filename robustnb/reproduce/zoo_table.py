"""The zoo's tables, on its page and in the terminal, from its manifest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from robustnb.errors import unknown
from robustnb.reproduce import formatting
from robustnb.stats import clopper_pearson
from robustnb.zoo.accuracy import collapsed, counts, radius
from robustnb.zoo.recipes import Entry, manifest

_SHOWN_DIGITS = 12
_CHECKS = "failed_checks"


def plain_rows() -> list[dict[str, Any]]:
    """A row per network for `robustnb zoo list`."""
    return [_plain(entry) for entry in _entries()]


def _entries() -> list[Entry]:
    return [manifest()[name] for name in sorted(manifest())]


def _plain(entry: Entry) -> dict[str, Any]:
    origin = entry.trained or {}
    shares = counts(entry.accuracy) if entry.accuracy else []
    said = [f"{c.what} {c.share:.1%}" for c in shares if not c.what.endswith("not attacked")]
    return {
        "name": entry.name,
        "training": entry.recipe.title,
        "epochs": entry.recipe.epochs,
        "CPU-seconds": origin.get("cpu_seconds", "-"),
        "MB": f"{origin['bytes'] / 1e6:.1f}" if origin else "-",
        "sha256": origin.get("sha256", "-")[:_SHOWN_DIGITS],
        "accuracy": "; ".join(said) or "not trained yet",
    }


def table(what: str) -> str:
    """One of the page's tables as Markdown; UsageError for another name."""
    if what not in _TABLES:
        raise unknown("table of the zoo", what, _TABLES)
    return _TABLES[what]([entry for entry in _entries() if entry.trained and entry.accuracy])


def _accuracies(entries: Sequence[Entry]) -> str:
    """A column for each network; a row for each way to ask, which some networks may leave empty."""
    found = {entry.name: counts(entry.accuracy or {}) for entry in entries}
    asked = dict.fromkeys((c.what, c.images) for own in found.values() for c in own)
    told = {
        name: {(c.what, c.images): _share(c.right, c.images) for c in own}
        for name, own in found.items()
    }
    rows = [
        [what, f"{images:,}", *(own.get((what, images), "") for own in told.values())]
        for what, images in asked
    ]
    return formatting.table(["test images", "how many", *(f"`{name}`" for name in told)], rows)


def _share(right: int, images: int) -> str:
    bounds = clopper_pearson(right, images)
    return f"{right / images:.1%} [{bounds.low:.1%}, {bounds.high:.1%}]"


def _recipes(entries: Sequence[Entry]) -> str:
    rows = []
    for entry in entries:
        own = entry.recipe
        rows.append(
            [
                f"`{entry.name}`",
                _attack(entry),
                f"{own.epochs}",
                f"{own.batch_size}",
                f"{own.lr:g}, {own.momentum:g}, {own.weight_decay:g}",
                f"{own.held_out:,}",
            ]
        )
    header = ["network", "trained on", "epochs", "batch", "rate, momentum, decay", "held out"]
    return formatting.table(header, rows)


def _attack(entry: Entry) -> str:
    own = entry.recipe.adversary
    if own is None:
        return "clean images"
    steps = "1 step" if own.steps == 1 else f"{own.steps} steps"
    return f"{own.norm} {radius(own.eps)}: {steps} of {radius(own.step)} from a random start"


def _origin(entries: Sequence[Entry]) -> str:
    rows = []
    for entry in entries:
        own = entry.trained or {}
        rows.append(
            [
                f"`{entry.name}`",
                f"{own['bytes'] / 1e6:.1f}",
                f"{own['cpu_seconds']:,}",
                f"{own['machine']}, torch {own['versions']['torch']}",
                f"`{(own['commit'] or 'unknown')[:_SHOWN_DIGITS]}`",
                f"`{own['sha256'][:_SHOWN_DIGITS]}`",
            ]
        )
    return formatting.table(["network", "MB", "CPU-seconds", "on", "commit", "SHA-256"], rows)


def _audit(entries: Sequence[Entry]) -> str:
    rows = []
    for entry in entries:
        own = entry.trained or {}
        scores = own["held_out_scores"]
        fell = collapsed(scores)
        failed = {name for found in (entry.accuracy or {})["attacked"] for name in found[_CHECKS]}
        rows.append(
            [
                f"`{entry.name}`",
                "clean" if entry.recipe.adversary is None else f"PGD-{entry.recipe.held_out_steps}",
                ", ".join(f"{100 * score:.0f}" for score in scores),
                f"{own['kept_epoch']}",
                "no" if fell is None else f"in epoch {fell}",
                ", ".join(sorted(failed)) or "none",
            ]
        )
    header = ["network", "scored", "percent right, by epoch", "kept", "collapsed", "masking"]
    return formatting.table(header, rows)


_TABLES: dict[str, Callable[[Sequence[Entry]], str]] = {
    "accuracies": _accuracies,
    "audit": _audit,
    "origin": _origin,
    "recipes": _recipes,
}
