"""Profiles: the four sizes at which a notebook runs (notebooks/profiles.yaml)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from robustnb.errors import UsageError, unknown
from robustnb.reproduce.yamlfile import Entry, Real, read

Name = Literal["smoke", "laptop", "gpu", "paper"]
NAMES: tuple[str, ...] = get_args(Name)


@dataclass(frozen=True)
class Profile:
    """One size: its budget for one notebook and seed, and each paper's overrides."""

    name: str
    where: str
    purpose: str
    reference_seconds: float
    memory_gb: float
    papers: dict[str, dict[str, Any]]


@dataclass(frozen=True)
class _Size(Entry):
    where: str
    purpose: str
    reference_seconds: Real
    memory_gb: Real


@dataclass(frozen=True)
class _File(Entry):
    profiles: dict[str, _Size]
    papers: dict[str, dict[str, dict[str, Any] | None]]


def load(notebooks: Path) -> dict[str, Profile]:
    """All profiles of `notebooks/profiles.yaml`; UsageError for what the file may not hold."""
    path = notebooks / "profiles.yaml"
    found = read(path, _File)
    if tuple(found.profiles) != NAMES:
        raise UsageError(f"{path.name} must list the profiles {', '.join(NAMES)} in this order")
    for name, size in found.profiles.items():
        if not (size.reference_seconds > 0 and size.memory_gb > 0):
            raise UsageError(f"{path.name}: the sizes of {name} must be more than 0")
    papers = {notebook.stem for notebook in notebooks.glob("*.md")}
    for paper, overrides in found.papers.items():
        if paper not in papers:
            raise UsageError(f"{path.name}: {unknown('paper', paper, papers)}")
        for name, given in overrides.items():
            _check_override(name, given or {}, f"{path.name}: {paper}")
    return {
        name: Profile(
            name, **vars(size), papers={p: dict(o.get(name) or {}) for p, o in found.papers.items()}
        )
        for name, size in found.profiles.items()
    }


def _check_override(name: str, given: dict[str, Any], where: str) -> None:
    if name not in NAMES or name == "smoke":
        raise UsageError(
            f"{where} overrides {name!r}; smoke is the notebook's own parameters cell, and the "
            f"others are {', '.join(NAMES[1:])}"
        )
    if "seed" in given:
        raise UsageError(
            f"{where} sets the seed at {name}; take the line out, --seed and --seeds give it"
        )


def get(notebooks: Path, name: str) -> Profile:
    """One profile by name; UsageError with the nearest match."""
    profiles = load(notebooks)
    if name not in profiles:
        raise unknown("profile", name, profiles)
    return profiles[name]
