"""The values a parameter may take, as its comment in the parameters cell states them.

    eps: float = 0.1  # radius of the ball; allowed: [0, 1]
    lrs: list[float] = [0.1]  # learning rates; allowed: (0, inf), not empty
    optimizer: str = "adam"  # allowed: adam | sgd

An interval is closed at a square bracket and open at a round one, and its ends are constants or
`inf`. Choices stand between bars, and `*` in one matches anything, as in `cuda:*`. For a list the
rule holds for each item. The statement holds no equals sign, since papermill takes a line with
two of them for no parameter.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from difflib import SequenceMatcher
from fnmatch import fnmatchcase

from robustnb.reproduce.constants import Value, parse

_KEYWORD = re.compile(r"\ballowed:\s*(?P<rule>.*)$")
# A word before a colon, an equals sign, an interval or choices: it may be the keyword, misspelt.
_HEADING = re.compile(
    r"\b(?P<word>[a-z]+)(?:\s+(?:values?|range|choices|interval))?"
    r"\s*(?:[:=]|(?=[\[(][^\[(]*[\])](?:, not empty)?$)|(?=\S+ *\|))",
    re.IGNORECASE,
)
_ALIKE = 0.75
_NOT_EMPTY = re.compile(r"\s*,?\s*not empty$")
_INTERVAL = re.compile(r"(?P<left>[\[(])(?P<low>[^,]+),(?P<high>[^,]+)(?P<right>[\])])")


@dataclass(frozen=True)
class Allowed:
    """An interval or a list of choices, and whether a list may be empty; `text` is as written."""

    text: str
    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False
    choices: tuple[str, ...] = ()
    not_empty: bool = False

    def admits(self, value: Value) -> bool:
        """Whether a value lies within; for a list, each of its items."""
        if isinstance(value, list):
            return bool(value or not self.not_empty) and all(map(self.admits, value))
        if self.choices:
            return any(fnmatchcase(_word(value), choice) for choice in self.choices)
        if isinstance(value, bool | str):
            return self.low == -math.inf and self.high == math.inf
        above = value > self.low if self.open_low else value >= self.low
        return above and (value < self.high if self.open_high else value <= self.high)


def read_allowed(comment: str, annotation: str) -> Allowed | None:
    """The rule in a trailing comment, None where it states none.

    Raises ValueError for a rule that cannot be read, or does not fit the type, and for a keyword
    that is misspelt.
    """
    stated = _KEYWORD.search(comment)
    if stated is None:
        wrong = _misspelt(comment)
        if wrong:
            raise ValueError(f"`{wrong}` states no rule; did you mean `allowed:`?")
        return None
    text = stated["rule"].strip()
    rule = _NOT_EMPTY.sub("", text)
    not_empty = rule != text
    item = annotation.removeprefix("list[").removesuffix("]")
    if not_empty and item == annotation:
        raise ValueError(f"`allowed: {text}`: only a list can be empty")
    if not rule:
        if not_empty:
            return Allowed(text, not_empty=True)
        raise ValueError("nothing follows `allowed:`; write for example `allowed: [0, 1]`")
    interval = _INTERVAL.fullmatch(rule)
    if interval is None:
        return Allowed(text, choices=_choices(rule), not_empty=not_empty)
    if item not in ("int", "float"):
        raise ValueError(f"`allowed: {text}`: {annotation} has no interval; list choices: a | b")
    low, high = _end(interval["low"]), _end(interval["high"])
    if low > high:
        raise ValueError(f"`allowed: {text}`: the interval is empty")
    return Allowed(
        text, low, high, interval["left"] == "(", interval["right"] == ")", not_empty=not_empty
    )


def seems_to_state(comment: str) -> bool:
    """Whether a comment states a rule, or was meant to."""
    return _KEYWORD.search(comment) is not None or bool(_misspelt(comment))


def _misspelt(comment: str) -> str:
    """The first heading of a comment that looks like the keyword; empty if there is none."""
    for heading in _HEADING.finditer(comment):
        word = heading["word"].lower()
        if word[0] in "al" and SequenceMatcher(None, word, "allowed").ratio() >= _ALIKE:
            return heading.group()
    return ""


def _choices(rule: str) -> tuple[str, ...]:
    choices = tuple(word.strip() for word in rule.split("|"))
    if any(not word or " " in word or word[0] in "[(" for word in choices):
        raise ValueError(
            f"`allowed: {rule}` is neither an interval such as [0, 1] or (0, inf) "
            "nor choices such as a | b"
        )
    return choices


def _end(text: str) -> float:
    word = text.strip().lstrip("+")
    if word in ("inf", "-inf"):
        return float(word)
    value = parse(word)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{word} is no end of an interval")
    return value


def _word(value: Value) -> str:
    return value if isinstance(value, str) else repr(value)
