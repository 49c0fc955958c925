"""Write trained weights and what was measured into the package, for the next version of the zoo."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from robustnb import tensorfile, unfinished
from robustnb.errors import UsageError
from robustnb.zoo import recipes
from robustnb.zoo.loading import file_of, probe
from robustnb.zoo.recipes import Entry
from robustnb.zoo.trainer import build

DIGESTS = "digests.py"
_TABLE = "SHA256: dict[str, str] = "


def trained(entry: Entry, path: Path) -> tuple[nn.Module, dict[str, Any]]:
    """The network in a file that `train` left in the store, and how it came about.

    Raises UsageError if the file is damaged, of another recipe, or of epochs that were cut short.
    """
    try:
        tensors, record = tensorfile.read(path)
    except tensorfile.DamagedFile as error:
        raise UsageError(f"{error}; name a file that `robustnb zoo train` wrote") from error
    wanted = {"zoo": entry.name, **entry.recipe.to_json(), "max_batches": None}
    found = {name: record.get("recipe", {}).get(name) for name in wanted}
    other = sorted(name for name, value in wanted.items() if found[name] != value)
    if other:
        raise UsageError(f"{path} is not of the recipe of {entry.name}: {', '.join(other)} differs")
    model = build(entry.recipe)
    model.load_state_dict(tensors)
    history = record["history"]
    return model.eval(), {
        "commit": history.get("commit"),
        "machine": history.get("machine"),
        "versions": record["versions"],
        "data": history["data"],
        "weights": record["weights"],
        "seconds": round(record["seconds"]),
        "cpu_seconds": round(record["cpu_seconds"]),
        "kept_epoch": history["best"],
        "held_out_scores": [epoch["score"] for epoch in history["epochs"]],
        "probe": probe(model, entry.recipe.dataset),
        "losses": [round(epoch["loss"], 4) for epoch in history["epochs"]],
    }


def publish(
    entry: Entry,
    model: nn.Module,
    *,
    origin: Mapping[str, Any],
    accuracy: Mapping[str, Any],
) -> Path:
    """Write weights, manifest and table of digests into the package; returns the weights' file."""
    folder, path = recipes.FOLDER, file_of(entry.name)
    tensorfile.write(
        path, model.state_dict(), {"zoo": entry.name, "recipe": entry.recipe.to_json()}
    )
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    known = json.loads((folder / recipes.FILE).read_text(encoding="utf-8"))
    size = path.stat().st_size
    known[entry.name] = {
        "recipe": entry.recipe.to_json(),
        "trained": {"sha256": digest, "bytes": size, **origin},
        "accuracy": dict(accuracy),
    }
    _replace(folder / recipes.FILE, json.dumps(known, indent=1, sort_keys=True) + "\n")
    digests = {
        name: found["trained"]["sha256"] for name, found in known.items() if found.get("trained")
    }
    head, _, _ = (folder / DIGESTS).read_text(encoding="utf-8").partition(_TABLE)
    lines = "".join(f'    "{name}": "{value}",\n' for name, value in sorted(digests.items()))
    _replace(folder / DIGESTS, f"{head}{_TABLE}{{\n{lines}}}\n")
    return path


def _replace(path: Path, text: str) -> None:
    with unfinished.file(path) as stream:
        stream.write(text.encode())
