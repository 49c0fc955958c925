"""Profiles: the four sizes at which a notebook runs (notebooks/profiles.yaml)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from robustnb.errors import UsageError, unknown

NAMES = ("smoke", "laptop", "gpu", "paper")


@dataclass(frozen=True)
class Profile:
    """One size: its budget for one notebook and seed, and each paper's overrides."""

    name: str
    where: str
    purpose: str
    reference_seconds: float
    memory_gb: float
    papers: dict[str, dict[str, Any]]


def load(notebooks: Path) -> dict[str, Profile]:
    """All profiles of `notebooks/profiles.yaml`; UsageError for what the file may not hold."""
    path = notebooks / "profiles.yaml"
    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    sizes, papers = data["profiles"], data["papers"]
    if tuple(sizes) != NAMES:
        raise UsageError(f"{path} must list the profiles {', '.join(NAMES)} in this order")
    for paper, overrides in papers.items():
        for name in overrides:
            if name not in sizes or name == "smoke":
                raise UsageError(
                    f"{path}: {paper} overrides {name!r}; smoke is the notebook's own parameters "
                    f"cell, and the others are {', '.join(NAMES[1:])}"
                )
    return {
        name: Profile(
            name,
            size["where"],
            size["for"],
            float(size["reference_seconds"]),
            float(size["memory_gb"]),
            {paper: overrides.get(name) or {} for paper, overrides in papers.items()},
        )
        for name, size in sizes.items()
    }


def get(notebooks: Path, name: str) -> Profile:
    """One profile by name; UsageError with the nearest match."""
    profiles = load(notebooks)
    if name not in profiles:
        raise unknown("profile", name, profiles)
    return profiles[name]
