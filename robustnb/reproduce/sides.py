"""Code of one day, run beside code of another: each in processes of its own, on one machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robustnb.errors import RobustnbError, RunError
from robustnb.reproduce import convert
from robustnb.reproduce.finished import RECORD

_ENTRY = "robustnb.reproduce.main:main"
_PLAN = """
import json, sys
import robustnb
from robustnb.reproduce import keys, profiles, project
home = project.find()
sizes = profiles.load(home.notebooks)
resolve = getattr(keys, "resolve_run", None) or keys.plan  # as earlier code called it
runs = [resolve(home, paper, sizes[size], seed) for paper, size, seed in json.loads(sys.argv[1])]
names = ["paper", "profile", "seed", "source", "key", "closure", "data", "versions", "device"]
facts = [{name: getattr(run, name) for name in [*names, "overrides"]} for run in runs]
print(json.dumps({"package": robustnb.__file__, "runs": facts}))
"""
_KERNEL = """
import nbformat
from nbclient import NotebookClient
cell = nbformat.v4.new_code_cell("import robustnb; print(robustnb.__file__)")
page = nbformat.v4.new_notebook(cells=[cell])
NotebookClient(page, kernel_name="python3", timeout=None, startup_timeout=10**8).execute()
print("".join(output["text"] for output in cell.outputs if output.get("name") == "stdout"))
"""


@dataclass(frozen=True)
class Plan:
    """What a side's own `keys.resolve_run` says of a run, and the values of all its parameters."""

    paper: str
    profile: str
    seed: int
    source: str
    key: str
    closure: dict[str, str]
    data: dict[str, Any]
    versions: dict[str, str]
    device: str
    parameters: dict[str, Any]


@dataclass(frozen=True)
class Side:
    """One of two codes: the folder of its package, its checkout, and the folder for its runs."""

    name: str
    code: Path
    root: Path
    build: Path
    token: Mapping[str, str]

    def _python(self, *words: str) -> subprocess.CompletedProcess[str]:
        before = os.environ.get("PYTHONPATH")
        environment = {
            **os.environ,
            **self.token,
            "PYTHONPATH": os.pathsep.join([str(self.code), *([before] if before else [])]),
            "ROBUSTNB_ROOT": str(self.root),
            "ROBUSTNB_BUILD": str(self.build),
        }
        return subprocess.run(
            [sys.executable, *words],
            cwd=self.code,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    def _check_package(self, file: str) -> None:
        """RobustnbError unless `file` is of this side's package."""
        if not Path(file).resolve().is_relative_to(self.code.resolve()):
            raise RobustnbError(
                f"{self.name} is in {self.code}, but Python took robustnb from {file}; "
                "let PYTHONPATH win (no -I or -E, and no .pth file that puts a path first)"
            )

    def plans(self, names: Sequence[tuple[str, str, int]]) -> list[Plan]:
        """This code's own plans of runs (paper, profile, seed); RunError if it knows no such."""
        done = self._python("-c", _PLAN, json.dumps(names))
        if done.returncode:
            raise RunError(f"{self.name} cannot plan these runs: {_end_of(done.stderr)}")
        told = json.loads(done.stdout)
        self._check_package(told["package"])
        return [
            Plan(**{k: v for k, v in run.items() if k != "overrides"}, parameters=values)
            for (paper, _, _), run in zip(names, told["runs"], strict=True)
            for values in [self._defaults(paper) | run["overrides"]]
        ]

    def _defaults(self, paper: str) -> dict[str, Any]:
        path = self.root / "notebooks" / f"{paper}.md"
        declared = convert.parameters(convert.convert(path), where=path.name)
        return {name: parameter.default for name, parameter in declared.items()}

    def run(self, plan: Plan) -> Path:
        """Run a notebook unless it has been, and return the folder of the finished run.

        Raises RunError when it does not run to its end, RobustnbError when it was not run by this
        code.
        """
        there = self.build.glob(f"runs/*/{plan.paper}/seed{plan.seed}-{plan.key}/{RECORD}")
        if (found := next(there, None)) is not None:
            return found.parent
        kernel = self._python("-c", _KERNEL)
        if kernel.returncode == 0:  # else the run tells itself why its kernel does not start
            self._check_package(kernel.stdout.strip())
        module, _, function = self._entry().partition(":")
        start = f"from {module} import {function}; {function}()"
        size = ("--profile", plan.profile, "--seed", str(plan.seed))
        done = self._python("-c", start, "run", plan.paper, *size)
        if done.returncode:
            raise RunError(f"{self.name} did not run {plan.paper}: {_end_of(done.stderr)}")
        folder = Path(done.stdout.strip().splitlines()[-1]).parent
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        if record["source"] != plan.source:
            raise RobustnbError(f"{self.name} changed while it ran; say the command again")
        return folder

    def _entry(self) -> str:
        """The function behind this code's `robustnb` command, as its own project file names it."""
        try:
            project = tomllib.loads((self.code / "pyproject.toml").read_text(encoding="utf-8"))
            return str(project["project"]["scripts"]["robustnb"])
        except (FileNotFoundError, KeyError):
            return _ENTRY


def _end_of(text: str) -> str:
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return " / ".join(lines[-2:]) or "it said nothing"
