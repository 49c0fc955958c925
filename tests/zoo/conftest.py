"""A zoo of one's own: two tiny recipes, images of ten shades, and folders that a test may fill."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from click.testing import CliRunner

from robustnb import data
from robustnb.attacks import standard_ensemble
from robustnb.reproduce.cli_zoo import zoo_group
from robustnb.zoo import measuring, publishing, recipes

TRAIN, TEST = 72, 40


def shades(count, seed):
    """Images of the class's shade of grey, with noise: a network learns them in a few steps."""
    draw = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 10
    noise = torch.randint(0, 12, (count, 3, 32, 32), generator=draw)
    return (noise + 24 * labels.reshape(-1, 1, 1, 1)).to(torch.uint8), labels


def small(name):
    """The recipe of that name, at a size for tests."""
    return replace(
        recipes.find(name).recipe, widen=1, epochs=2, batch_size=8, held_out=16,
        held_out_steps=2, amp=False,
    )  # fmt: skip


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """The toy zoo: its `folder` of manifest and weights, and the `models` that were trained."""
    kept = {
        "toy_linf": {"recipe": small("cifar10_linf").to_json()},
        "toy_standard": {"recipe": small("cifar10_standard").to_json()},
    }
    folder, models = tmp_path / "zoo", tmp_path / "models"
    folder.mkdir()
    shutil.copyfile(recipes.FOLDER / publishing.DIGESTS, folder / publishing.DIGESTS)
    (folder / recipes.FILE).write_text(json.dumps(kept), encoding="utf-8")
    monkeypatch.setattr(recipes, "FOLDER", folder)
    monkeypatch.setenv("ROBUSTNB_MODELS", str(models))

    def load(name, split, *, limit=None):
        images, labels = shades(TRAIN, 1) if split == "train" else shades(TEST, 2)
        return images[:limit], labels[:limit]

    monkeypatch.setattr(data, "load", load)
    short = partial(standard_ensemble, steps=5, targets=2, queries=20)
    monkeypatch.setattr(measuring, "standard_ensemble", short)
    recipes.manifest.cache_clear()
    yield SimpleNamespace(folder=folder, models=models)
    recipes.manifest.cache_clear()


@pytest.fixture
def zoo():
    """The command: `zoo("list")` gives its output, and raises what it raises."""

    def command(*words):
        done = CliRunner().invoke(zoo_group, [str(word) for word in words])
        if done.exception is not None:
            raise done.exception
        return done.output

    return command
