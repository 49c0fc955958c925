"""Trained models by content: the same recipe and code give the same file, trained once."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from robustnb import __version__, tensorfile, user_cache
from robustnb.identity import settings
from robustnb.models.ask import place_of
from robustnb.provenance import closure_digest, digest
from robustnb.training.beginning import begun, ended

M = TypeVar("M", bound=nn.Module)
# The loop and every objective there is.
SOURCES = (
    "robustnb.training.training_loop",
    "robustnb.training.objectives",
    "robustnb.training.free",
    "robustnb.training.selftraining",
    "robustnb.training.stability",
)


def models_folder() -> Path:
    """$ROBUSTNB_MODELS, or `robustnb/models` in the user's cache folder."""
    return user_cache.folder("models", variable="ROBUSTNB_MODELS")


def train_or_load(
    recipe: Mapping[str, Any],
    build: Callable[[], M],
    train: Callable[[M, Path], Any],
    *,
    sources: Sequence[str] = SOURCES,
) -> tuple[M, dict[str, Any]]:
    """The model that `recipe` describes, from the store or trained now, and its record.

    `recipe` holds, as JSON values, all that decides the result: the data (their `fingerprint`),
    seed, objective, sizes. `build()` makes the untrained model on its device. `train(model,
    checkpoint)` trains it in place and may hand `checkpoint` to `fit`, so that an interrupted
    training goes on next time. What train returns (a History or JSON values) enters the record.

    The key covers the recipe, the untrained model (its attributes and weights), the code of `train`
    with what it closes over (what was set on functions included), the code that `sources` and the
    model's own modules reach, the torch version, the device type and, on a CPU, the number of
    threads. What `train` itself changes, such as a count, is taken as it was before. Of what cannot
    be read (an open file that `train` closes over) the class counts; what it decides belongs into
    the recipe.
    A damaged file is trained again, with a line in record["warnings"]. $ROBUSTNB_FRESH=1 trains
    whatever is there.
    """
    model = build()
    trainer = begun(train, settings(train, opaque=True))
    facts = _facts(recipe, model, digest(trainer.before), sources)
    key = digest(facts)
    path = models_folder() / f"{key}.safetensors"
    checkpoint = path.with_suffix(".checkpoint")
    warnings = []
    if os.environ.get("ROBUSTNB_FRESH", "") not in ("", "0"):
        checkpoint.unlink(missing_ok=True)
    elif path.exists():
        try:
            return _load(path, model)
        except (tensorfile.DamagedFile, RuntimeError) as error:
            warnings.append(f"trained again: {error}")
            model = build()
    wall, cpu = time.perf_counter(), time.process_time()
    try:
        history = train(model, checkpoint)
    finally:
        ended(train, trainer, settings(train, opaque=True))
    record = {
        **facts,
        "schema": 1,
        "key": key,
        "weights": tensorfile.weights_digest(model.state_dict()),
        "history": history.to_json() if hasattr(history, "to_json") else history,
        "seconds": time.perf_counter() - wall,
        "cpu_seconds": time.process_time() - cpu,
        "versions": {
            **facts["versions"],
            "python": platform.python_version(),
            "robustnb": __version__,
        },
        "warnings": warnings,
    }
    tensorfile.write(path, model.state_dict(), record)
    checkpoint.unlink(missing_ok=True)
    return model, record


def _facts(
    recipe: Mapping[str, Any],
    model: nn.Module,
    train: str,
    sources: Sequence[str],
) -> dict[str, Any]:
    try:
        plain = json.loads(json.dumps(dict(recipe), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"recipe must hold JSON values only ({error}); name objects by their settings"
        ) from error
    device, _ = place_of(model, torch.empty(0))
    own = {type(module).__module__ for module in model.modules()}
    modules = {name for name in own if name.partition(".")[0] == "robustnb"} | set(sources)
    return {
        "recipe": plain,
        "code": closure_digest(modules),
        "train": train,
        "model": digest(settings(model)),
        "untrained": tensorfile.weights_digest(model.state_dict()),
        "versions": {"torch": torch.__version__},
        "device": device.type,
        "threads": torch.get_num_threads() if device.type == "cpu" else None,
    }


def _load(path: Path, model: M) -> tuple[M, dict[str, Any]]:
    tensors, record = tensorfile.read(path)
    model.load_state_dict(tensors)
    return model, record
