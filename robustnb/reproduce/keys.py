"""What a run is a function of, and the key made of it.

Two runs with equal keys give equal outputs, so a finished run is never repeated; and a change of
anything in the key gives the run another folder, so an old result is never taken for a new one.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from robustnb.errors import UsageError, unknown
from robustnb.provenance import closure, digest, imported_modules, source_digest
from robustnb.reproduce import convert
from robustnb.reproduce.cells import hides_its_value
from robustnb.reproduce.parameters import Parameter, Value, override
from robustnb.reproduce.profiles import Profile
from robustnb.reproduce.project import Project

_PACKAGES = ("torch", "torchvision", "numpy", "scipy", "scikit-learn")
_KEY_LENGTH = 16
_RUN_FOLDER = re.compile(r"seed(\d{1,9})-[0-9a-f]+")


@dataclass(frozen=True)
class RunSpec:
    """One notebook, one profile, one seed, and the two digests that name its result.

    `source` covers what the book's authors decide (code cells, closure, parameters, data); `key`
    adds the machine's side (versions, device, threads).
    """

    paper: str
    profile: str
    seed: int
    overrides: dict[str, Value]
    custom: bool
    closure: dict[str, str]
    data: dict[str, Any]
    versions: dict[str, str]
    device: str
    source: str
    key: str

    @property
    def name(self) -> str:
        """A short name for messages and log files."""
        return f"{self.paper}-{self.profile}-seed{self.seed}"

    def folder(self, runs: Path) -> Path:
        """Where the finished run lies below `build/runs`."""
        profile = "custom" if self.custom else self.profile
        return runs / profile / self.paper / f"seed{self.seed}-{self.key}"


def seed_of(folder: str) -> int | None:
    """The seed in the name of a run's folder, None if it is no such name."""
    named = _RUN_FOLDER.fullmatch(folder)
    return None if named is None else int(named[1])


def versions() -> dict[str, str]:
    """Versions of the packages that can change a number."""
    found = {"python": ".".join(platform.python_version_tuple()[:2])}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "absent"
    return found


def notebook_modules(notebook: Any) -> list[str]:
    """Modules of robustnb that the code cells import themselves."""
    source = "\n".join(c.source for c in convert.code_cells(notebook))
    return list(_modules_of(source, _package_stamps()))


@cache
def _modules_of(source: str, stamps: tuple[int, ...]) -> tuple[str, ...]:
    return tuple(sorted(imported_modules(source)))


def _package_stamps() -> tuple[int, ...]:
    """What changes when a package of robustnb exports another name or gets another module."""
    root = Path(__file__).resolve().parents[1]
    tables = [root / "__init__.py", *sorted(root.glob("*/__init__.py"))]
    return tuple(path.stat().st_mtime_ns for file in tables for path in (file, file.parent))


def data_digests(names: list[str]) -> dict[str, Any]:
    """Known digests of the decoded arrays of the named data sets."""
    from robustnb.data import catalogue

    known = catalogue()
    for name in names:
        if name not in known:
            raise unknown("data set", name, known)
    return {
        name: {split: [s.images, s.labels] for split, s in known[name].splits.items()}
        for name in names
    }


def _cell_digest(source: str) -> str:
    """A cell's code, and whether a semicolon at its end hides its last value."""
    return source_digest(source) + (";" if hides_its_value(source) else "")


def _device(parameters: Mapping[str, Parameter], overrides: Mapping[str, Value]) -> str:
    declared = parameters.get("device")
    chosen = overrides.get("device", declared.default if declared else "cpu")
    return str(chosen).split(":")[0]


def _registered_seeds(project: Project, paper: str) -> frozenset[int]:
    """Seed 0, which every book shows, and those the registry lists for some part."""
    path = project.claims / f"{paper}.yaml"
    if not path.is_file():
        return frozenset({0})
    from robustnb.reproduce.registry import load

    return frozenset({0}).union(*(part.seeds for part in load(path).parts().values()))


def resolve_run(
    project: Project,
    paper: str,
    profile: Profile,
    seed: int,
    *,
    given: Mapping[str, Any] | None = None,
) -> RunSpec:
    """The run of `paper` at `profile` with `seed`.

    Overrides of its own, or a seed that no part of the registry lists, make it a custom run, which
    the ledger never sees.

    Raises UsageError for an unknown paper or parameter, or a value of the wrong type or range.
    """
    path = project.notebook(paper)
    notebook = convert.convert(path)
    declared = convert.parameters(notebook, where=path.name)
    if given and "seed" in given:
        raise UsageError("the seed is an argument of its own; take it out of the overrides")
    listed = profile.papers.get(paper, {})
    override(declared, listed, where=f"profiles.yaml, {paper} at {profile.name}: ")
    overrides = override(declared, {**listed, **(given or {}), "seed": seed})
    modules = closure(notebook_modules(notebook))
    values = {name: p.default for name, p in declared.items()} | overrides
    data = data_digests(convert.datasets(notebook, values))
    source = digest(
        {
            "cells": [_cell_digest(cell.source) for cell in convert.code_cells(notebook)],
            "closure": modules,
            "data": data,
            "parameters": values,
        }
    )
    found, device = versions(), _device(declared, overrides)
    key = digest({"source": source, "versions": found, "device": device, "threads": 1})
    return RunSpec(
        paper,
        profile.name,
        seed,
        overrides,
        bool(given) or seed not in _registered_seeds(project, paper),
        modules,
        data,
        found,
        device,
        source[:_KEY_LENGTH],
        key[:_KEY_LENGTH],
    )
