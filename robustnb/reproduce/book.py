"""Build the static book with jupyter-book; the old one stays until the new one is whole."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

from robustnb.errors import RobustnbError
from robustnb.reproduce import disk
from robustnb.reproduce.atomic import replace_folder
from robustnb.reproduce.isolation import isolated
from robustnb.reproduce.parts import load as load_parts
from robustnb.reproduce.project import Project
from robustnb.reproduce.registry import load_all
from robustnb.reproduce.yamlfile import read_mapping

_CONFIGURATION = ("_config.yml", "_toc.yml")
_JUPYTER_BOOK = "from jupyter_book.cli.main import main; main()"
_STAMP = ".inputs"
_REPORT_SECONDS = 5.0
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_STEP = re.compile(r"^(reading sources|writing output)\.\.\. \[ *(\d+)%\] (\S+)", re.MULTILINE)
_TAIL_LINES = 30
_TOOLS = ("jupyter-book", "sphinx", "myst-nb", "sphinx-book-theme")


def source_root(project: Project) -> Path:
    """Folder jupyter-book builds from: the checkout, or a copy of its pages for a build elsewhere.

    Tests build elsewhere, so that they never touch the user's `book/papers` and `_build`. A copy
    serves also where the checkout's path holds `[`, `*` or `?`: jupyter-book takes them for
    patterns and then cannot leave out the files that are no pages.
    """
    if _builds_at_home(project) and glob.escape(str(project.root)) == str(project.root):
        return project.root
    stage = project.build / "stage"
    stage.mkdir(parents=True, exist_ok=True)
    for name in _CONFIGURATION:
        shutil.copyfile(project.root / name, stage / name)
    kept = stage / "book" / "papers"
    for old in (stage / "book").glob("*"):
        if old != kept:
            shutil.rmtree(old) if old.is_dir() else old.unlink()
    ignore = shutil.ignore_patterns("papers", "records", "__pycache__")
    shutil.copytree(project.root / "book", stage / "book", ignore=ignore, dirs_exist_ok=True)
    return stage


def _builds_at_home(project: Project) -> bool:
    return project.build == project.root / "build"


def _inputs(source: Path, ledger: Path, package: Path) -> Iterator[Path]:
    yield ledger
    for name in _CONFIGURATION:
        yield source / name
    for folder in (source / "book", package):
        for path in sorted(folder.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                yield path


def _digest(source: Path, ledger: Path, package: Path) -> str:
    found = hashlib.sha256(repr([(tool, version(tool)) for tool in _TOOLS]).encode())
    for path in _inputs(source, ledger, package):
        found.update(str(path).encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()


def _run(
    command: list[str], environment: dict[str, str], log: Path, report: Callable[[str], None]
) -> int:
    """Run the build with its words going to `log`, tell how far it is, return its exit status."""
    told = ""
    with (
        log.open("w", encoding="utf-8") as stream,
        subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        try:
            while True:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    return process.wait(_REPORT_SECONDS)
                now = progress(log.read_text(encoding="utf-8", errors="replace"))
                if now != told:
                    report(f"  {now}")
                told = now
        except BaseException:
            process.kill()
            raise


def progress(log: str) -> str:
    """How far the build is, from its words so far: `reading sources 62 %, book/notation`."""
    steps = _STEP.findall(_COLOUR.sub("", log))
    return "{} {} %, {}".format(*steps[-1]) if steps else "starting"


def check(project: Project) -> None:
    """UsageError or OSError, naming the file, for one that would end the build after the runs."""
    for name in _CONFIGURATION:
        (project.root / name).stat()  # one that is lost is told as such
        read_mapping(project.root / name)
    load_parts(project.root)
    load_all(project.claims)


def build(project: Project, source: Path, *, report: Callable[[str], None]) -> Path:
    """Build the book of `source` unless nothing changed, and return its first page.

    A warning is an error. Raises RobustnbError with the end of the log when the build fails;
    the book that was there before stays.
    """
    html = (project.root if _builds_at_home(project) else project.build) / "_build" / "html"
    page = html / "book" / "intro.html"
    digest = _digest(source, project.ledger, project.root / "robustnb")
    stamp = html / _STAMP
    if page.is_file() and stamp.is_file() and stamp.read_text(encoding="utf-8") == digest:
        report("the book is up to date")
        return page
    output = project.build / "book"
    shutil.rmtree(output, ignore_errors=True)
    log = project.build / "logs" / "book.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    command = ["build", str(source), "-W", "-n", "--keep-going", "--path-output", str(output)]
    environment = isolated(os.environ, project.build / "settings")
    environment |= {"ROBUSTNB_LEDGER": str(project.ledger)}
    failed = _run([sys.executable, "-P", "-c", _JUPYTER_BOOK, *command], environment, log, report)
    built = output / "_build" / "html"
    if failed or not (built / "book" / "intro.html").is_file():
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        shown = [line for line in lines if "WARNING" in line or "ERROR" in line]
        tail = "\n".join((shown or lines)[-_TAIL_LINES:])
        why = disk.trouble(project) or f"{log} says:\n{tail}"
        raise RobustnbError(f"the book did not build; {why}")
    (built / _STAMP).write_text(digest, encoding="utf-8")
    html.parent.mkdir(parents=True, exist_ok=True)
    replace_folder(built, html)
    return page
