"""The words of verdicts, weakest first, and the group that each counts in.

Theorems have words of their own; what is measured says a direction, an equality or a value; a
result that decides nothing says which of several reasons it has.
"""

from __future__ import annotations

COUNTEREXAMPLE = "counterexample found"
MISSES = "misses too often"
CONTRADICTED = "contradicted"
OPPOSITE = "opposite at this scale"
UNEQUAL = "unequal at this scale"
AGAINST = "against"
NOT_RUN = "not run"
RAN = "machinery ran"
NOT_AT = "not at this scale"
SEEN = "seen in one run"
UNDECIDED = "check undecided"
AUDIT = "audit failed"
NO_HEADROOM = "no headroom in this setting"
NOT_COMPARABLE = "not comparable"
TOO_SMALL = "too small to see"
EXCLUDED = "the paper's effect is excluded here"
PARTLY = "holds in part"
SMALLER = "same direction, smaller setting"
EQUAL_SMALLER = "equal within the margin, smaller setting"
HOLDS_SMALLER = "holds, smaller setting"
SAME = "same direction"
EQUAL = "equal within the margin"
CHECKED = "checked only"
COVERED = "covered"
REPRODUCED = "reproduced"
HOLDS = "holds"
PROVED_BY_MACHINE = "proved by machine"
PROVED_HERE = "proved on this page"
REPAIRED = "false as printed, repaired and proved"
RECALLED = "recalled, not judged"
ESTIMATE = "estimate, not judged"

_HOLDING = (
    SMALLER, EQUAL_SMALLER, HOLDS_SMALLER, SAME, EQUAL, CHECKED, COVERED, REPRODUCED, HOLDS,
    PROVED_BY_MACHINE, PROVED_HERE, REPAIRED,
)  # fmt: skip
_UNDECIDING = (UNDECIDED, AUDIT, NO_HEADROOM, NOT_COMPARABLE, TOO_SMALL, EXCLUDED)
GROUPS = {
    **dict.fromkeys((COUNTEREXAMPLE, MISSES, CONTRADICTED, OPPOSITE, UNEQUAL, AGAINST), "against"),
    **dict.fromkeys((NOT_RUN, RAN, NOT_AT, SEEN), "open"),
    **dict.fromkeys(_UNDECIDING, "inconclusive"),
    PARTLY: "partly",
    **dict.fromkeys(_HOLDING, "holds"),
    **dict.fromkeys((RECALLED, ESTIMATE), "unjudged"),
}
WORDS = tuple(GROUPS)  # weakest first
JUDGED = ("holds", "partly", "against", "inconclusive")
THEOREMS = {
    "proved": PROVED_HERE,
    "by machine": PROVED_BY_MACHINE,
    "checked": CHECKED,
    "repaired": REPAIRED,
}
IN_SMALLER_SETTING = (SMALLER, EQUAL_SMALLER)
MEANINGS = {
    REPAIRED: "The printed statement is false; the page repairs it and proves the repaired one.",
    PROVED_HERE: "The proof on this page is complete.",
    PROVED_BY_MACHINE: "It was shown exactly, by algebra or by counting every case.",
    CHECKED: "There is no proof here; a search found nothing that breaks it.",
    COVERED: "The bound fails no more often than it may.",
    SMALLER: "The sign is the paper's, in a smaller setting.",
    SAME: "The sign is the paper's.",
    EQUAL: "No difference beyond the margin.",
    EQUAL_SMALLER: "No difference beyond the margin, in a smaller setting.",
    HOLDS: "Every part holds.",
    HOLDS_SMALLER: "Every part holds, in a smaller setting than the paper's.",
    OPPOSITE: "The sign is the opposite of the paper's, in our setting.",
    UNEQUAL: "The difference lies beyond the margin, in our setting.",
    EXCLUDED: "An effect of the paper's size is excluded in our setting.",
    NO_HEADROOM: "The control, which must show the effect, shows none in our setting.",
    TOO_SMALL: "The effect, if there is one, is too small for our runs to see.",
    AUDIT: "The attack did not pass its audit, so that this decides nothing.",
    NOT_COMPARABLE: "The condition of the claim does not hold in our runs.",
    NOT_AT: "Our size cannot speak to it.",
    NOT_RUN: "It has not been run.",
    RECALLED: "The paper's number is quoted from memory and is not judged.",
    ESTIMATE: "It is bounded from one side only and gets no verdict.",
}
