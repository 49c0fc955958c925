"""Lazy package exports (PEP 562): importing a package costs nothing until a name is used."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any

from robustnb._deprecated import warn


def lazy(
    package: str, exports: Mapping[str, str], renamed: Mapping[str, str] = {}
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Return `(__getattr__, __dir__, __all__)` for a package whose names live in other modules.

    `exports` maps a public name to the module that defines it; `renamed` maps names of the release
    before to those of today, and such a name warns. `robustnb.provenance` reads the
    same literal from the source, so it must stay a plain dict of strings.
    """

    def __getattr__(name: str) -> Any:
        if name in renamed:
            warn(f"{package}.{name}", renamed[name])
            return __getattr__(renamed[name])
        if name not in exports:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(exports[name]), name)
        setattr(sys.modules[package], name, value)
        return value

    def __dir__() -> list[str]:
        return sorted(exports)

    return __getattr__, __dir__, sorted(exports)
