"""Where things are in a checkout of the book."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from robustnb.errors import UsageError, unknown

_MARK = Path("notebooks") / "profiles.yaml"
_NAME = re.compile(r"[a-z][a-z0-9]*")  # it stands in claims, paths, links and targets of runs
_NO_PAPERS = ("README", "CONTRIBUTING")


@dataclass(frozen=True)
class Project:
    """A checkout and the folder its generated files go to (`build/`, or a test's own)."""

    root: Path
    build: Path

    @property
    def notebooks(self) -> Path:
        """Folder of the jupytext sources."""
        return self.root / "notebooks"

    @property
    def claims(self) -> Path:
        """Folder of the claim registries."""
        return self.notebooks / "claims"

    @property
    def runs(self) -> Path:
        """Folder of finished runs."""
        return self.build / "runs"

    @property
    def work(self) -> Path:
        """Folder of the runs under way."""
        return self.build / "tmp"

    @property
    def records(self) -> Path:
        """Folder of committed records."""
        return self.root / "book" / "records"

    @property
    def ledger(self) -> Path:
        """The ledger's file."""
        return self.build / "ledger.json"

    @property
    def models(self) -> Path:
        """The store of trained models."""
        return self.build / "models"

    def papers(self) -> list[str]:
        """Names of the papers that have a notebook."""
        return sorted(name for name in self._sources() if is_name(name))

    def misnamed(self) -> list[str]:
        """Files among the notebooks that look like one, but bear a name that no paper can have."""
        return sorted(f"{name}.md" for name in self._sources() if not is_name(name))

    def _sources(self) -> list[str]:
        names = [path.stem for path in self.notebooks.glob("*.md")]
        return [name for name in names if name[0] != "." and name.upper() not in _NO_PAPERS]

    def notebook(self, paper: str) -> Path:
        """Source of one paper's notebook; UsageError for an unknown paper."""
        if f"{paper}.md" in self.misnamed():
            raise UsageError(misnamed(f"{paper}.md"))
        if paper not in self.papers():
            raise unknown("paper", paper, self.papers())
        return self.notebooks / f"{paper}.md"


def is_name(name: str) -> bool:
    """Whether a paper can be called so: lower-case letters and digits, as doe2020."""
    return _NAME.fullmatch(name) is not None


def misnamed(file: str) -> str:
    """What to do about a file of `Project.misnamed`."""
    plain = re.sub("[^a-z0-9]", "", Path(file).stem.lower())
    better = plain if is_name(plain) else "doe2020"
    return (
        f"notebooks/{file} is left out: a paper's name is lower-case letters and digits; "
        f"rename it, for example to {better}.md"
    )


def find(start: Path | None = None) -> Project:
    """The checkout around `start`, else $ROBUSTNB_ROOT, the working folder or the installed code.

    Raises UsageError when there is none.
    """
    named = os.environ.get("ROBUSTNB_ROOT")
    package = Path(__file__).resolve().parents[2]
    try:
        here = _named(named) if named else (start or Path.cwd())
        around = (here, *here.resolve().parents, *(() if named else (package,)))
        for folder in around:
            if (folder / _MARK).is_file():
                root = folder.resolve()
                build = os.environ.get("ROBUSTNB_BUILD")
                return Project(root, _named(build).resolve() if build else root / "build")
    except (OSError, RuntimeError) as error:  # no working folder, a name too long, a loop of links
        raise UsageError(
            f"a folder cannot be found ({error}); cd to another, or set ROBUSTNB_ROOT and "
            "ROBUSTNB_BUILD to others"
        ) from None
    raise UsageError(
        f"no checkout of the book around {here} (looked for {_MARK}); "
        "cd into the clone, or set ROBUSTNB_ROOT to it"
    )


def _named(folder: str) -> Path:
    """A folder that a variable names; a leading ~ is the user's home where there is such a user."""
    return Path(os.path.expanduser(folder))


def run_environment(project: Project, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Environment of a notebook's kernel: one thread, the checkout's models, no user's settings."""
    from robustnb.reproduce.isolation import isolated

    threads = dict.fromkeys(
        ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS"), "1"
    )
    fixed = {
        "ROBUSTNB_ROOT": str(project.root),
        "ROBUSTNB_BUILD": str(project.build),
        "ROBUSTNB_MODELS": str(project.models),
        "ROBUSTNB_LAYOUT": "keep",  # a choice by timing would change last bits
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    }
    settings = isolated(os.environ, project.build / "settings")
    return {**settings, **threads, **fixed, **(extra or {})}
