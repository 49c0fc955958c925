"""Profiles: the four sizes at which a notebook runs (notebooks/profiles.yaml)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robustnb.errors import UsageError, unknown
from robustnb.reproduce.yamlfile import read_mapping

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
    data = read_mapping(path)
    sizes, papers = _mapping(data, "profiles", path), _mapping(data, "papers", path)
    if tuple(sizes) != NAMES:
        raise UsageError(f"{path} must list the profiles {', '.join(NAMES)} in this order")
    overrides = {paper: _overrides(papers, str(paper), path) for paper in papers}
    return {name: _profile(name, sizes, overrides, path) for name in NAMES}


def _mapping(data: Mapping[str, Any], key: str, path: Path) -> dict[str, Any]:
    value = data.get(key)
    if not isinstance(value, dict):
        raise UsageError(f"{path}: {key!r} must hold a mapping, not {value!r}")
    return value


def _overrides(papers: Mapping[str, Any], paper: str, path: Path) -> dict[str, dict[str, Any]]:
    """One paper's overrides by profile, those of smoke being none."""
    found = _mapping(papers, paper, path)
    for name in found:
        if name not in NAMES or name == "smoke":
            raise UsageError(
                f"{path}: {paper} overrides {name!r}; smoke is the notebook's own parameters "
                f"cell, and the others are {', '.join(NAMES[1:])}"
            )
    kept = {name: _mapping(found, name, path) for name, given in found.items() if given is not None}
    for name, given in kept.items():
        if "seed" in given:
            raise UsageError(
                f"{path}: {paper} sets the seed at {name}; take the line out, "
                "--seed and --seeds give it"
            )
    return kept


def _profile(
    name: str, sizes: Mapping[str, Any], papers: Mapping[str, Mapping[str, Any]], path: Path
) -> Profile:
    size = _mapping(sizes, name, path)
    for key in ("where", "for", "reference_seconds", "memory_gb"):
        kind = str if key in ("where", "for") else int | float
        value = size.get(key)
        if not isinstance(value, kind) or isinstance(value, bool):
            wanted = "text" if kind is str else "a number"
            raise UsageError(f"{path}: {key} of profile {name} must be {wanted}, got {value!r}")
    return Profile(
        name,
        size["where"],
        size["for"],
        float(size["reference_seconds"]),
        float(size["memory_gb"]),
        {paper: dict(overrides.get(name, {})) for paper, overrides in papers.items()},
    )


def get(notebooks: Path, name: str) -> Profile:
    """One profile by name; UsageError with the nearest match."""
    profiles = load(notebooks)
    if name not in profiles:
        raise unknown("profile", name, profiles)
    return profiles[name]
