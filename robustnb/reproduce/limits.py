"""When a run is ended before its end."""

from __future__ import annotations

import math
from dataclasses import dataclass

from robustnb.errors import UsageError

SILENCE_SECONDS = 900.0


@dataclass(frozen=True)
class Limits:
    """How long nothing may move, and how long the whole may take (None: as long as it needs)."""

    silence: float = SILENCE_SECONDS
    total: float | None = None

    def __post_init__(self) -> None:
        """Raise UsageError for a limit that would end every run at once."""
        if not (self.silence > 0 and (self.total is None or self.total > 0)):  # nor NaN
            raise UsageError("a limit in seconds must be more than 0")
        if self.total is not None and math.isinf(self.total):
            raise UsageError("a total must be finite; leave --timeout out for none")


USUAL = Limits()
