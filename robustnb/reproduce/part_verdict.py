"""`PartVerdict`: the verdict on one part of a claim at one profile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from robustnb.reproduce.registry_types import Part
from robustnb.reproduce.words import GROUPS
from robustnb.stats import Interval


@dataclass(frozen=True)
class PartVerdict:
    """The verdict on one part at one profile: `word` is one of WORDS, `label` is what is shown.

    `caveat` is what a reader must know of even where the part holds, as the worst of an audit;
    `control` is what its positive control gave, if it has one.
    """

    part: str
    profile: str
    word: str
    label: str
    text: str
    caveat: str = ""
    control: str = ""
    estimate: float | None = None
    interval: Interval | None = None
    interval_90: Interval | None = None
    p: float | None = None
    p_adjusted: float | None = None
    mde: float | None = None
    n_seeds: int = 0
    n_registered: int = 0
    n_examples: int = 0
    per_seed: Mapping[int, float] = field(default_factory=dict)

    @property
    def group(self) -> str:
        """Holds, against, inconclusive, open or unjudged."""
        return GROUPS[self.word]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types; numbers to six significant digits, so that machines agree."""
        plain = {**self.__dict__, "group": self.group}
        for name in ("interval", "interval_90"):
            plain[name] = plain[name] and plain[name].to_json()
        plain["per_seed"] = {str(seed): value for seed, value in self.per_seed.items()}
        rounded: dict[str, Any] = _rounded(plain)
        return rounded


def plain_verdict(
    part: Part, profile: str, word: str, text: str, *, label: str = "", **extra: Any
) -> PartVerdict:
    """A verdict without an estimate; `extra` are further fields."""
    return PartVerdict(part.id, profile, word, label or word, text, **extra)


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return value
