"""What git knows of a checkout: its commit, and the code of earlier ones."""

from __future__ import annotations

import io
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path

from robustnb.errors import RobustnbError

CODE = ("robustnb", "notebooks")


def _git(root: Path, *words: str) -> str | None:
    """What git prints, or None where there is no git, no history, or it refuses."""
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *words], capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def is_repository(root: Path) -> bool:
    """Whether `root` is the top of a git repository, not merely a folder inside another one."""
    top = _git(root, "rev-parse", "--show-toplevel")
    return top is not None and Path(top).resolve() == root.resolve()


def commit(root: Path) -> str | None:
    """The commit whose code is in `root`, and is running; None if it was edited, or without git."""
    running = Path(__file__).resolve().parents[2] == root.resolve()
    if (
        not running
        or not is_repository(root)
        or _git(root, "status", "--porcelain", "--", *CODE) != ""
    ):
        return None
    return _git(root, "rev-parse", "HEAD")


def candidates(root: Path, named: str | None, record: Path) -> Iterator[str]:
    """Commits whose code may be that of a record, likeliest first, each code once.

    First the one the record names, then those up to the commit that brought the record (newest
    first), then the others.
    """
    brought = _git(root, "log", "-1", "--format=%H", "--", str(record))
    starts = [["-1", named]] if named else []
    starts += [[start] for start in (brought, "HEAD") if start]
    seen: set[str] = set()
    for start in starts:
        for name in (_git(root, "log", "--format=%H", *start) or "").split():
            code = _code_of(root, name)
            if code not in seen:
                seen.add(code)
                yield name


def _code_of(root: Path, name: str) -> str:
    """What identifies the code of a commit: the names of its trees."""
    trees = _git(root, "ls-tree", name, *CODE)
    return name if trees is None else trees


def unpack(root: Path, name: str, folder: Path) -> Path:
    """The files of commit `name` below `folder`, which is made; git itself is left as it is."""
    command = ["git", "-C", str(root), "archive", "--format=zip", name]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        problem = done.stderr.decode(errors="replace").strip()
        raise RobustnbError(
            f"git could not give the files of commit {name[:12]}: {problem}; "
            "check them out yourself and pass the folder with --old"
        )
    with zipfile.ZipFile(io.BytesIO(done.stdout)) as archive:
        archive.extractall(folder)
    return folder
