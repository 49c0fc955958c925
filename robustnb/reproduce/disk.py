"""What the system refuses a command: room, folders, open files; told in one line with the fix."""

from __future__ import annotations

import errno
import os
import shutil
import sys
import tempfile
from pathlib import Path

from robustnb.reproduce.project import Project

_FULL = (errno.ENOSPC, errno.EDQUOT)
_REFUSED = (errno.EROFS, errno.EACCES, errno.EPERM)
_TOO_MANY = (errno.EMFILE, errno.ENFILE)
_NO_FOLDER = (errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP)
_TRIED_BYTES = 1 << 20
_OPEN_FILES = 128  # a run's kernel, its channels, its data and its log


def explain(error: OSError, project: Project) -> str:
    """What to do about a full disk, a read-only folder or a lost file; empty if it is none."""
    if error.errno in _FULL and not error.filename and _output_full():
        return "no space left where standard output goes; free some there, or send it elsewhere"
    if error.errno in _FULL:
        path = Path(error.filename) if error.filename else _fullest(project)
        return (
            f"no space left in {path.parent}; free some there, "
            f"or set {_variable(path, project)} to a folder with room"
        )
    if error.errno in _TOO_MANY:
        return (
            "this process may not open as many files as it needs; raise the limit "
            f"(ulimit -n {8 * _OPEN_FILES}, or the batch system's)"
        )
    if error.errno == errno.EFBIG:
        path = Path(error.filename or project.build / "x")
        return (
            f"a file in {path.parent} would be larger than this process may write; raise the "
            "limit (ulimit -f, or the batch system's)"
        )
    if error.errno == errno.ENOENT and error.filename:
        path = Path(error.filename)
        if project.build.is_relative_to(path):
            return f"{path} cannot be made; set {_variable(path, project)} to a folder that can"
        if path.is_relative_to(project.root) and not path.is_relative_to(project.build):
            return (
                f"{path} is missing; restore it: git checkout -- {path.relative_to(project.root)}"
            )
        return ""
    if error.errno == errno.EISDIR and error.filename:
        path = Path(error.filename2 or error.filename)
        return f"{path} is a folder where a file belongs; move it away, or remove it"
    if error.errno in _NO_FOLDER and error.filename:
        path = Path(error.filename)
        return f"{path} is no folder and cannot be one; set {_variable(path, project)} to another"
    if error.errno in _REFUSED and error.filename:
        path = Path(error.filename)
        return (
            f"{path.parent} cannot be written ({os.strerror(error.errno)}); make it writable, "
            f"or set {_variable(path, project)} to a folder that is"
        )
    return ""


def check_room(project: Project) -> None:
    """OSError if a run may not open enough files, or its build folder takes not even a little."""
    _check_files()
    try:
        _try(project.build)
    except OSError as error:
        error.filename = error.filename or str(project.build / "x")
        raise


def trouble(project: Project) -> str:
    """The same for the build folder as it is now, found out by writing a little there."""
    try:
        check_room(project)
    except OSError as error:
        return explain(error, project)
    return ""


def writable(folder: Path) -> bool:
    """Whether something can be written to a folder, which is made if it is not there."""
    try:
        _try(folder)
    except OSError:
        return False
    return True


def _output_full() -> bool:
    """Whether standard output takes not even the end of a line."""
    try:
        os.write(sys.__stdout__.fileno() if sys.__stdout__ else 1, b"\n")
    except OSError as error:
        return error.errno in _FULL
    return False


def _check_files() -> None:
    """OSError if fewer files may be open than a run needs, and the limit cannot be raised."""
    try:
        import resource
    except ImportError:  # not on this system
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= _OPEN_FILES:
        return
    if hard != resource.RLIM_INFINITY and hard < _OPEN_FILES:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    resource.setrlimit(resource.RLIMIT_NOFILE, (_OPEN_FILES, hard))


def _try(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as stream:
        stream.write(bytes(_TRIED_BYTES))


def _variable(path: Path, project: Project) -> str:
    """The environment variable that moves what is written to `path`."""
    from robustnb.data import cache

    folders = {
        "ROBUSTNB_BUILD": project.build,
        "ROBUSTNB_DATA": cache.root(),
        "TMPDIR": Path(tempfile.gettempdir()),
        "XDG_CACHE_HOME, XDG_DATA_HOME and XDG_CONFIG_HOME": Path(os.path.expanduser("~")),
    }
    around = {name: len(f.parts) for name, f in folders.items() if path.is_relative_to(f)}
    return max(around, key=around.__getitem__, default="ROBUSTNB_BUILD")


def _fullest(project: Project) -> Path:
    """A path in the folder that has least room, of those the commands write to."""
    folders = [project.build, Path(tempfile.gettempdir())]
    free = {shutil.disk_usage(folder).free: folder for folder in folders if folder.exists()}
    return free[min(free)] / "x"
