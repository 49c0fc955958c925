"""Take a few named members out of a tar archive, in memory, trusting nothing in it."""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from robustnb.data.decode import Array

MAX_BYTES = 400_000_000
MAX_MEMBERS = 20_000


def refuse_web_page(path: Path) -> None:
    """Raise ValueError if `path` holds a web page: a login or error page served as a file."""
    with path.open("rb") as stream:
        head = stream.read(512).lstrip().lower()
    if head.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        raise ValueError("answered with a web page instead of the package")


def _clean_name(member: tarfile.TarInfo) -> str:
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts or "\\" in member.name:
        raise ValueError(f"archive member {member.name!r} points outside the archive")
    return str(path)


def _read(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    stream = archive.extractfile(member) if member.isreg() else None
    if stream is None:
        raise ValueError(f"archive member {member.name!r} is not a plain file")
    data = stream.read()
    if len(data) != member.size:
        raise ValueError("truncated archive")
    return data


def _members(archive: tarfile.TarFile, limit: int) -> Iterator[tuple[str, tarfile.TarInfo]]:
    size = 0
    seen: set[str] = set()
    for count, member in enumerate(archive, start=1):
        name = _clean_name(member)
        size += member.size
        if size > limit or count > MAX_MEMBERS:
            raise ValueError(f"archive unpacks to more than {limit} bytes or {MAX_MEMBERS} files")
        if name in seen:
            raise ValueError(f"archive holds {name!r} twice")
        seen.add(name)
        yield name, member


def _walk(
    archive: tarfile.TarFile, wanted: Mapping[str, Callable[[bytes], Array]], limit: int
) -> dict[str, Array]:
    found: dict[str, Array] = {}
    for name, member in _members(archive, limit):
        if name in wanted:
            found[name] = wanted[name](_read(archive, member))
        if len(found) == len(wanted):
            break
    return found


def take(
    stream: IO[bytes],
    wanted: Mapping[str, Callable[[bytes], Array]],
    *,
    mode: Literal["r|gz", "r|"],
    limit: int = MAX_BYTES,
) -> dict[str, Array]:
    """Decode the `wanted` members (name -> decoder) of the tar archive in `stream`.

    Nothing is written to disk. Raises ValueError for a truncated archive, a missing member, a
    wanted member that is a link, a name that is absolute or climbs out, or more than `limit` bytes.
    """
    try:
        with tarfile.open(fileobj=stream, mode=mode) as archive:
            found = _walk(archive, wanted, limit)
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise ValueError(f"not a whole tar archive ({error})") from error
    missing = sorted(set(wanted) - set(found))
    if missing:
        raise ValueError(f"archive lacks {missing[0]!r}: truncated, or not the right package")
    return found


def take_matching(
    stream: IO[bytes], pattern: str, *, mode: Literal["r|gz", "r|"], limit: int = MAX_BYTES
) -> dict[str, bytes]:
    """The members whose names match `pattern`, such as `package/data/*.txt`, as they are.

    Refuses what `take` refuses, and an archive without such members.
    """
    try:
        with tarfile.open(fileobj=stream, mode=mode) as archive:
            found = {
                name: _read(archive, member)
                for name, member in _members(archive, limit)
                if fnmatchcase(name, pattern)
            }
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise ValueError(f"not a whole tar archive ({error})") from error
    if not found:
        raise ValueError(f"archive has no member {pattern}: not the right package")
    return found
