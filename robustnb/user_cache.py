"""Where this user's caches are."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs


def folder(name: str, *, variable: str) -> Path:
    """The folder that the environment's `variable` names, else robustnb/`name` in the user's cache.

    The user's cache is where the system has it: ~/.cache or $XDG_CACHE_HOME on Linux.
    """
    chosen = os.environ.get(variable)
    if chosen:
        return Path(os.path.expanduser(chosen))  # a ~ that names no user stays as it is
    return platformdirs.user_cache_path("robustnb", appauthor=False, opinion=False) / name
