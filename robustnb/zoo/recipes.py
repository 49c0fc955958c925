"""The manifest: of each network its recipe, where its weights came from, and what was measured.

Reading it needs no torch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, get_args

from robustnb.errors import UsageError, unknown
from robustnb.scalars import finite, whole

FOLDER = Path(__file__).parent  # of the manifest and the weights
FILE = "manifest.json"
Threat = Literal["linf", "l2"]


@dataclass(frozen=True)
class Adversary:
    """The attack of adversarial training: `steps` of length `step` in a ball, from a random start.

    One step of 1.25 eps is fast adversarial training (Wong 2020, Algorithm 3).
    """

    norm: Threat
    eps: float
    step: float
    steps: int

    def __post_init__(self) -> None:
        """Refuse settings that no attack can have."""
        if self.norm not in get_args(Threat):
            raise unknown("norm", self.norm, get_args(Threat))
        finite("eps", self.eps, above=0)
        finite("step", self.step, above=0)
        whole("steps", self.steps)


@dataclass(frozen=True)
class Recipe:
    """All that decides a training, on one kind of machine: nothing is chosen beside it.

    The network is `wide_resnet(depth, widen)` on blocks of 2 x 2 pixels; `held_out` training
    images are kept back, and the epoch with the best score on them is kept. The learning rate
    rises to `lr` in the share `peak` of the training and falls to 0. `adversary` is None for
    training on clean images. `amp`: bfloat16 where autocast computes in it.
    """

    title: str
    dataset: str
    depth: int
    widen: int
    adversary: Adversary | None
    epochs: int
    batch_size: int
    lr: float
    peak: float
    momentum: float
    weight_decay: float
    held_out: int
    held_out_steps: int
    seed: int
    threads: int
    amp: bool

    def __post_init__(self) -> None:
        """Refuse settings that no training can have."""
        counts = ("depth", "widen", "epochs", "batch_size", "held_out", "held_out_steps", "threads")
        for what in counts:
            whole(what, getattr(self, what))
        whole("seed", self.seed, least=0)
        finite("lr", self.lr, above=0)
        for what in ("momentum", "weight_decay"):
            finite(what, getattr(self, what), least=0)

    def to_json(self) -> dict[str, Any]:
        """The recipe as JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Entry:
    """A network of the manifest; `trained` and `accuracy` are None until there are weights.

    `trained` says how the weights came about: commit, digests, seconds, machine, versions, and the
    scores on held-out images by epoch. `accuracy` holds counts of test images.
    """

    name: str
    recipe: Recipe
    trained: Mapping[str, Any] | None = None
    accuracy: Mapping[str, Any] | None = None


def _entry(name: str, found: Mapping[str, Any]) -> Entry:
    try:
        settings = dict(found["recipe"])
        adversary = settings.pop("adversary")
        recipe = Recipe(**settings, adversary=adversary and Adversary(**adversary))
        return Entry(name, recipe, found.get("trained"), found.get("accuracy"))
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{FILE} of the zoo: {name} is not as it should be: {error}") from error


@cache
def manifest() -> Mapping[str, Entry]:
    """All networks by name, read from `manifest.json`."""
    text = (FOLDER / FILE).read_text(encoding="utf-8")
    return MappingProxyType({name: _entry(name, found) for name, found in json.loads(text).items()})


def names() -> list[str]:
    """The networks of the zoo, sorted."""
    return sorted(manifest())


def find(name: str) -> Entry:
    """The network called `name`; UsageError with the nearest match if there is none."""
    if name not in manifest():
        raise unknown("network of the zoo", name, manifest())
    return manifest()[name]
