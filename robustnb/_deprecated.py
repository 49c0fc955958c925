"""Names of the release before, which still work and warn."""

from __future__ import annotations

import warnings
from typing import Any


def warn(old: str, new: str) -> None:
    """Tell the caller's caller that a name is going."""
    warnings.warn(
        f"{old} is called {new} now; the old name goes with the next release",
        DeprecationWarning,
        stacklevel=3,
    )


def renamed(new: str) -> Any:
    """A property under an old name that gives the attribute of the new one."""

    class Renamed:
        def __set_name__(self, owner: type, name: str) -> None:
            self.name = f"{owner.__name__}.{name}"

        def __get__(self, instance: Any, owner: type) -> Any:
            if instance is None:
                return self
            warn(self.name, new)
            return getattr(instance, new)

    return Renamed()
