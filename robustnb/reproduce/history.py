"""What git knows of a checkout: its commit, and the code of earlier ones."""

from __future__ import annotations

import io
import subprocess
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from robustnb import provenance
from robustnb.errors import RobustnbError
from robustnb.provenance import source_digest

CODE = ("robustnb", "notebooks")


def _git(root: Path, *words: str) -> str | None:
    """What git prints, or None where there is no git, no history, or it refuses."""
    told = _ask(root, *words)
    return None if told is None else told.decode(errors="replace").strip()


def _ask(root: Path, *words: str, given: Sequence[str] = ()) -> bytes | None:
    """The bytes that git prints when these lines are given."""
    lines = "".join(f"{line}\n" for line in given).encode()
    command = ["git", "-C", str(root), *words]
    try:
        done = subprocess.run(command, input=lines, capture_output=True, check=False)
    except FileNotFoundError:
        return None
    return done.stdout if done.returncode == 0 else None


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


def candidates(
    root: Path, named: str | None, record: Path, modules: Mapping[str, str] = MappingProxyType({})
) -> Iterator[str]:
    """Commits whose code may be that of a record, likeliest first, each code once.

    First the one the record names, then those up to the commit that brought the record (newest
    first), then the others. Of a long history few are left, since `modules` are known: the digest
    that each had for the record. A code with other modules can only be the record's if it
    reckons digests in another way, and comes after those that have them.
    """
    brought = _git(root, "log", "-1", "--format=%H", "--", str(record))
    starts = [["-1", named]] if named else []
    starts += [[start] for start in (brought, "HEAD") if start]
    logs = [_git(root, "log", "--format=%H", *start) or "" for start in starts]
    codes = _codes(root, list(dict.fromkeys(" ".join(logs).split())))
    if not modules:
        yield from codes
        return
    likely = codes
    for module, digest in modules.items():
        if len(likely) < 2:
            break
        likely = _having(root, likely, module, digest)
    yield from likely
    today = source_digest(Path(provenance.__file__).read_text(encoding="utf-8"))
    tried = {*likely, *_having(root, codes, provenance.__name__, today)}
    yield from (name for name in codes if name not in tried)


def _codes(root: Path, names: Sequence[str]) -> list[str]:
    """The first commit of each code, in the order given; commits without a package have none."""
    package, pages = (_objects(root, [f"{name}:{folder}" for name in names]) for folder in CODE)
    first: dict[tuple[str, str], str] = {}
    for name, *code in zip(names, package, pages, strict=True):
        if code[0]:
            first.setdefault((code[0], code[1]), name)
    return list(first.values())


def _having(root: Path, names: Sequence[str], module: str, digest: str) -> list[str]:
    """The commits at which a module has this digest, in the order given."""
    base = module.replace(".", "/")
    places = (f"{base}/__init__.py", f"{base}.py")
    found = (_objects(root, [f"{name}:{place}" for name in names]) for place in places)
    blobs = [a or b for a, b in zip(*found, strict=True)]
    versions = sorted({*blobs} - {""})
    sources = _contents(root, versions)
    right = {b for b, source in zip(versions, sources, strict=True) if _digest(source) == digest}
    return [name for name, blob in zip(names, blobs, strict=True) if blob in right]


def _objects(root: Path, names: Sequence[str]) -> list[str]:
    """What git calls each object, by one command; "" where there is none, or no git."""
    told = _ask(root, "cat-file", "--batch-check=%(objectname)", given=names)
    lines = ["" for _ in names] if told is None else told.decode().splitlines()
    return ["" if line.endswith(" missing") else line for line in lines]


def _contents(root: Path, blobs: Sequence[str]) -> Iterator[bytes]:
    """The content of each blob, by one command."""
    told = io.BytesIO(_ask(root, "cat-file", "--batch=%(objectsize)", given=blobs) or b"")
    for _ in blobs:
        yield told.read(int(told.readline()))
        told.readline()


def _digest(source: bytes) -> str:
    """The digest of a module's source; "" of what today's Python cannot read."""
    try:
        return source_digest(source.decode())
    except (SyntaxError, ValueError):
        return ""


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
