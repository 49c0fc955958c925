"""`measure`: what a notebook reports. Raw outcomes or checks go out, never a verdict."""

from __future__ import annotations

import html
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from robustnb.lesson.check import Check
from robustnb.lesson.outcomes import Count, Json, arm_words, check_arm, decode_arm, encode_arm

__all__ = ["MIME", "Count", "decode_arm", "encode_arm", "measure", "measurements_of"]

MIME = "application/vnd.robustnb.measurement+json"
SCHEMA = 1
_PART = re.compile(r"[a-z]+[0-9]{4}\.C[0-9]+\.[a-z0-9_]+")
_KEYS = frozenset({"schema", "claim", "part", "arms", "checks", "threat", "audit"})
_VOLATILE = frozenset(
    {"seconds", "time", "date", "hardware", "host", "hostname", "commit", "elapsed"}
)


def measure(
    claim_part: str,
    what: Check | Sequence[Check] | None = None,
    /,
    *,
    arms: Mapping[str, Any] | None = None,
    threat: Mapping[str, Any] | None = None,
    audit: Mapping[str, Any] | None = None,
) -> None:
    """Report the measurement of one part of a claim, as an output of the notebook cell.

    `claim_part` is its id in the registry, such as "zhang2019.C6.robust_up". `what` is a Check, or
    a list of them; `arms` maps the name of each arm to its raw outcomes: per-example booleans
    (N,), per-example floats (N,), or Count(successes, n). `threat` says under which attack (norm,
    eps, attack, step, steps, restarts, data, n), `audit` what the attack audit found, both in JSON
    types. Truth values, finished estimates and values that are not finite are refused.
    """
    measurement = build(claim_part, what, arms=arms, threat=threat, audit=audit)
    _show(_Shown(measurement))


def build(
    claim_part: str,
    what: Check | Sequence[Check] | None = None,
    /,
    *,
    arms: Mapping[str, Any] | None = None,
    threat: Mapping[str, Any] | None = None,
    audit: Mapping[str, Any] | None = None,
) -> Json:
    """The JSON that `measure` displays; the same for the same outcomes, on every machine."""
    if not isinstance(claim_part, str) or not _PART.fullmatch(claim_part):
        raise ValueError(
            f"{claim_part!r} is not the id of a claim's part; write it as in the registry, for "
            "example 'zhang2019.C6.robust_up'"
        )
    claim, _, part = claim_part.rpartition(".")
    checks, encoded = _checks(what), _arms(arms)
    if not checks and not encoded:
        raise ValueError(f"{claim_part}: nothing to measure; pass a Check, or arms={{name: ...}}")
    return {
        "schema": SCHEMA,
        "claim": claim,
        "part": part,
        "arms": encoded,
        "checks": [check.to_json() for check in checks],
        "threat": _threat(threat),
        "audit": None if audit is None else _plain(audit, "audit"),
    }


def measurements_of(notebook: Mapping[str, Any]) -> list[Json]:
    """The measurements in an executed notebook (nbformat 4), in page order, each validated.

    Raises ValueError where one is damaged, or where a part is measured twice.
    """
    found: list[Json] = []
    seen: set[str] = set()
    for data in _outputs(notebook):
        measurement = data[MIME]
        if isinstance(measurement, str):
            measurement = json.loads(measurement)
        validate(measurement)
        part = f"{measurement['claim']}.{measurement['part']}"
        if part in seen:
            raise ValueError(f"{part} is measured twice in this notebook; keep one measure() of it")
        seen.add(part)
        found.append(measurement)
    return found


def validate(measurement: Any) -> None:
    """Raise ValueError, with the reason, unless this is a measurement of the present schema."""
    if not isinstance(measurement, dict) or measurement.get("schema") != SCHEMA:
        raise ValueError(f"not a measurement of schema {SCHEMA}; run the notebook again")
    if set(measurement) != _KEYS:
        wrong = ", ".join(sorted(set(measurement) ^ _KEYS))
        raise ValueError(f"the measurement's fields are not those of schema {SCHEMA}: {wrong}")
    part = f"{measurement['claim']}.{measurement['part']}"
    if not _PART.fullmatch(part):
        raise ValueError(f"{part!r} is not the id of a claim's part")
    if not isinstance(measurement["arms"], dict) or not isinstance(measurement["checks"], list):
        raise ValueError(f"{part}: arms must be an object and checks a list")
    if not measurement["arms"] and not measurement["checks"]:
        raise ValueError(f"{part}: the measurement holds neither arms nor checks")
    for name, arm in measurement["arms"].items():
        check_arm(name, arm)
    try:
        for check in measurement["checks"]:
            Check.from_json(check)
        _threat(measurement["threat"])
        _plain(measurement["audit"], "audit")
    except (TypeError, KeyError) as error:
        raise ValueError(f"{part}: {error}") from error


def _outputs(notebook: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The data of every output that holds a measurement."""
    for cell in notebook.get("cells", ()):
        for output in cell.get("outputs", ()):
            data = output.get("data", {})
            if MIME in data:
                yield data


def _checks(what: Any) -> list[Check]:
    """The checks as a list, with distinct ids."""
    if what is None:
        return []
    checks = list(what) if isinstance(what, list | tuple) else [what]
    for check in checks:
        if isinstance(check, Check):
            continue
        if isinstance(check, bool):
            raise TypeError(
                f"measure got the truth value {check}; pass the Check that derive returns"
            )
        raise TypeError(
            f"measure got a {type(check).__name__}; pass a Check or a list of them first, and "
            "outcomes by name: measure(part, arms={'TRADES': correct})"
        )
    ids = [check.id for check in checks]
    twice = sorted({name for name in ids if ids.count(name) > 1})
    if twice:
        raise ValueError(f"two checks have the id {twice[0]!r}; give each its own")
    return checks


def _arms(arms: Any) -> dict[str, Json]:
    """Every arm encoded, in the order given."""
    if arms is None:
        return {}
    if not isinstance(arms, Mapping):
        raise TypeError(
            f"arms is a {type(arms).__name__}; name each: arms={{'standard': correct, ...}}"
        )
    if not arms:
        raise ValueError("arms is empty; give at least one: arms={'standard': correct}")
    for name in arms:
        if not isinstance(name, str) or not name.strip():
            raise TypeError(f"arm names must be non-empty strings, got {name!r}")
    return {name: encode_arm(name, outcomes) for name, outcomes in arms.items()}


def _threat(threat: Any) -> Json:
    """The threat model in JSON types."""
    if threat is None:
        return {}
    if not isinstance(threat, Mapping):
        raise TypeError("threat must be a dict such as {'norm': 'linf', 'eps': 0.3}")
    plain: Json = _plain(threat, "threat")
    volatile = sorted(_VOLATILE & set(plain))
    if volatile:
        raise ValueError(f"threat has {volatile[0]!r}, which changes between runs; leave it out")
    if plain.get("norm", "linf") not in ("linf", "l2", "l1"):
        raise ValueError(f"threat norm {plain['norm']!r} is not one of 'linf', 'l2', 'l1'")
    eps = plain.get("eps", 0)
    for size in eps if isinstance(eps, list) else [eps]:
        if isinstance(size, bool) or not isinstance(size, int | float) or size < 0:
            raise ValueError(f"threat eps must be numbers >= 0 in pixel units, got {eps!r}")
    return plain


def _plain(value: Any, where: str) -> Any:
    """The value in plain JSON types; refuses what has no fixed order or is not finite."""
    if value is None or isinstance(value, bool | str | int):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{where} is {value}; only finite numbers can be reported")
        return float(f"{value:.9g}")
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"{where} has the key {key!r}; keys must be strings")
        return {key: _plain(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, f"{where}[{k}]") for k, item in enumerate(value)]
    raise TypeError(
        f"{where} is a {type(value).__name__}; use str, int, float, bool, list and dict only "
        "(float(x) for a tensor, sorted(x) for a set)"
    )


class _Shown:
    """What the notebook displays: the measurement, and the same in words."""

    def __init__(self, measurement: Json) -> None:
        self.measurement = measurement
        self.part = f"{measurement['claim']}.{measurement['part']}"
        self.checks = [Check.from_json(check) for check in measurement["checks"]]

    def __repr__(self) -> str:
        arms = [f"{name} {arm_words(arm)}" for name, arm in self.measurement["arms"].items()]
        lines = [", ".join(arms)] if arms else []
        return "\n".join(f"{self.part}: {line}" for line in [*lines, *map(str, self.checks)])

    def to_html(self) -> str:
        """The part's id, a table of the arms, and a block for each check."""
        rows = "".join(
            f'<tr><th scope="row">{html.escape(name)}</th><td>{arm_words(arm)}</td></tr>'
            for name, arm in self.measurement["arms"].items()
        )
        table = f"<table>{rows}</table>" if rows else ""
        checks = "".join(check.to_html() for check in self.checks)
        head = f"<p>measured: <code>{html.escape(self.part)}</code>{self._threat_words()}</p>"
        return f'<div class="rnb-measure">{head}{table}{checks}</div>'

    def _threat_words(self) -> str:
        threat = self.measurement["threat"].items()
        words = ", ".join(f"{name} {value}" for name, value in threat)
        return f" ({html.escape(words)})" if words else ""

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return {MIME: self.measurement, "text/plain": repr(self), "text/html": self.to_html()}


def _show(shown: _Shown) -> None:
    """Display in a notebook; elsewhere the text alone goes to the standard output."""
    try:
        from IPython.display import display
    except ImportError:
        import sys

        sys.stdout.write(f"{shown!r}\n")
        return
    display(shown)
