"""A folder that cannot be written, told in one line that says which variable names another."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from pathlib import Path

from robustnb.reproduce.project import Project

_FULL = (errno.ENOSPC, errno.EDQUOT)
_REFUSED = (errno.EROFS, errno.EACCES, errno.EPERM)
_NO_FOLDER = (errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP)
_TRIED_BYTES = 1 << 20


def explain(error: OSError, project: Project) -> str:
    """What to do about a full disk, a read-only folder or a lost file; empty if it is none."""
    if error.errno in _FULL:
        path = Path(error.filename) if error.filename else _fullest(project)
        return (
            f"no space left in {path.parent}; free some there, "
            f"or set {_variable(path, project)} to a folder with room"
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
    """OSError, with the path, if the build folder takes not even a little."""
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
