"""Raw outcomes as JSON and back: one arm of a measurement is one list of outcomes."""

from __future__ import annotations

import base64
import math
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]
_DIGITS = 9  # enough for every float32 to come back exactly


@dataclass(frozen=True)
class Count:
    """That many successes among n independent draws, where the draws themselves are not kept."""

    successes: int
    n: int

    def __post_init__(self) -> None:
        """Refuse counts that no experiment gives."""
        for name, value in (("successes", self.successes), ("n", self.n)):
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(f"Count.{name} must be an int, got {value!r}; use int(...)")
        if not 0 <= self.successes <= self.n or self.n < 1:
            raise ValueError(f"Count needs 0 <= successes <= n and n >= 1, got {self}")


def encode_arm(name: str, outcomes: Any) -> Json:
    """One arm as JSON: bits for truth values, 9 significant digits for real values, or a count.

    `outcomes` is a Count, or a one-dimensional tensor, array or list of booleans or of floats, one
    per example. Raises TypeError or ValueError, with the fix, for anything else.
    """
    if isinstance(outcomes, Count):
        return {"kind": "count", "n": outcomes.n, "successes": outcomes.successes}
    values = _array(name, outcomes)
    if values.dtype == bool:
        import numpy as np

        bits = base64.b64encode(np.packbits(values).tobytes()).decode("ascii")
        return {"kind": "binary", "n": int(values.size), "bits": bits}
    numbers = [float(f"{value:.{_DIGITS}g}") + 0.0 for value in values.tolist()]
    wrong = [k for k, number in enumerate(numbers) if not math.isfinite(number)]
    if wrong:
        raise ValueError(
            f"arm {name!r} has {len(wrong)} values that are NaN or infinite, the first at index "
            f"{wrong[0]}; find out why, and leave such examples out explicitly"
        )
    return {"kind": "real", "n": len(numbers), "values": numbers}


def decode_arm(arm: Json) -> Any:
    """The outcomes of an arm: a bool array, or a float64 array.

    A count comes back as its successes followed by its failures.
    """
    import numpy as np

    kind, n = arm["kind"], arm["n"]
    if kind == "real":
        return np.asarray(arm["values"], dtype=np.float64)
    if kind == "count":
        return np.arange(n) < arm["successes"]
    packed = np.frombuffer(base64.b64decode(arm["bits"]), dtype=np.uint8)
    return np.unpackbits(packed, count=n).astype(bool)


def check_arm(name: str, arm: Any) -> None:
    """Raise ValueError unless `arm` is what `encode_arm` writes."""
    if not isinstance(name, str) or not name or not isinstance(arm, dict):
        raise ValueError(f"arm {name!r} is not a named JSON object")
    n, kind = arm.get("n"), arm.get("kind")
    if not isinstance(n, int) or isinstance(n, bool) or n < 1:
        sound = False
    elif kind == "binary":
        try:
            size = len(base64.b64decode(arm.get("bits", ""), validate=True))
        except (ValueError, TypeError):
            size = -1
        sound = size == (n + 7) // 8
    elif kind == "real":
        values = arm.get("values")
        sound = isinstance(values, list) and len(values) == n and all(map(_is_finite, values))
    elif kind == "count":
        successes = arm.get("successes")
        sound = isinstance(successes, int) and 0 <= successes <= n
    else:
        sound = False
    if not sound:
        raise ValueError(f"arm {name!r} is damaged: kind {kind!r}, n {n!r}; run the notebook again")


def arm_words(arm: Json) -> str:
    """An arm in few characters: `412/500`, or the mean of real values."""
    if arm["kind"] == "real":
        mean = math.fsum(arm["values"]) / arm["n"]
        return f"mean {mean:.3g} (n={arm['n']:,})"
    hits = arm["successes"] if arm["kind"] == "count" else int(decode_arm(arm).sum())
    return f"{hits:,}/{arm['n']:,}"


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _array(name: str, outcomes: Any) -> Any:
    """The outcomes as a one-dimensional array of booleans or floats."""
    import numpy as np

    _refuse_estimates(name, outcomes)
    if hasattr(outcomes, "detach"):  # a torch tensor, without importing torch
        outcomes = outcomes.detach().cpu()
        if "bfloat16" in str(outcomes.dtype):
            outcomes = outcomes.float()
        outcomes = outcomes.numpy()
    if not isinstance(outcomes, np.ndarray | list | tuple):
        raise TypeError(
            f"arm {name!r} is a {type(outcomes).__name__}; pass a tensor, an array or a list with "
            "one outcome per example, in a fixed order"
        )
    values = np.asarray(outcomes)
    if values.ndim == 0:
        raise TypeError(_estimate(name, values.item()))
    if values.ndim != 1:
        raise ValueError(
            f"arm {name!r} has shape {values.shape}; give one outcome per example, shape (N,)"
        )
    if values.size == 0:
        raise ValueError(f"arm {name!r} is empty; a measurement needs at least one example")
    if values.dtype != bool and values.dtype.kind != "f":
        raise TypeError(
            f"arm {name!r} holds {values.dtype}; use booleans for outcomes (correct == True) or "
            "floats for values: .astype(bool) or .astype(float)"
        )
    return values


def _refuse_estimates(name: str, outcomes: Any) -> None:
    """Refuse a lone number, truth value, text or interval: an estimate is the ledger's to make."""
    import numpy as np

    if isinstance(outcomes, bool | np.bool_):
        raise TypeError(
            f"arm {name!r} is the single truth value {outcomes}; pass the per-example outcomes it "
            "was computed from, or a Check from robustnb.lesson.derive"
        )
    if isinstance(outcomes, int | float | complex | np.number) or hasattr(outcomes, "low"):
        raise TypeError(_estimate(name, outcomes))
    if isinstance(outcomes, str | bytes):
        raise TypeError(f"arm {name!r} is text; pass one outcome per example")


def _estimate(name: str, value: Any) -> str:
    return (
        f"arm {name!r} is the finished estimate {value!r}; pass the per-example outcomes (a bool "
        "or float array of shape (N,)) or Count(successes, n): means and intervals are made from "
        "them later, in one place"
    )
