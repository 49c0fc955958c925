"""What one pitfall is: a wrong form, a right form, and one measure of the error of both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

Form = Callable[..., Any]


@dataclass(frozen=True)
class Pitfall:
    """A mistake that a few lines show.

    `measure(form)` is the size of a form's error, 0 for a form that does what it says; the right
    form stays within `limit`, which is rounding, and the wrong one does not. `shown` says how the
    page prints the error: as a share or a number.
    """

    name: str
    wrong: Form
    right: Form
    measure: Callable[[Form], float]
    limit: float = 0.0
    shown: Literal["share", "number"] = "number"

    def errors(self) -> dict[str, float]:
        """The measured error of either form."""
        return {"wrong": self.measure(self.wrong), "right": self.measure(self.right)}

    def holds(self, form: Form) -> bool:
        """Whether `form` does what it says, up to rounding."""
        return self.measure(form) <= self.limit
