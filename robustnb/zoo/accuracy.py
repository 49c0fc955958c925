"""What the manifest's numbers say, without torch: shares, radii, and a training that collapsed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

_COLLAPSE = 0.5  # of the best score so far


class Count(NamedTuple):
    """How many of the first `images` test images were classified as labelled, and when."""

    what: str
    right: int
    images: int

    @property
    def share(self) -> float:
        """right / images."""
        return self.right / self.images


def counts(accuracy: Mapping[str, Any]) -> list[Count]:
    """The counts of an accuracy that `robustnb.zoo.measure` found, as rows of a table."""
    rows = [Count("clean", accuracy["clean"]["right"], accuracy["clean"]["images"])]
    for found in accuracy["attacked"]:
        threat, images = f"{found['norm']} {radius(found['eps'])}", found["images"]
        rows += [
            Count(f"{threat}, not attacked", found["natural"], images),
            Count(f"{threat}, {found['pgd']['name']}", found["pgd"]["right"], images),
            Count(f"{threat}, ensemble", found["ensemble"]["right"], images),
        ]
    return rows


def radius(eps: float) -> str:
    """A radius as papers write it.

    >>> radius(8 / 255), radius(0.5)
    ('8/255', '0.5')
    """
    levels = round(eps * 255)
    return f"{levels}/255" if math.isclose(eps * 255, levels) else f"{eps:g}"


def collapsed(scores: Sequence[float]) -> int | None:
    """The first epoch, from 1, that scored less than half of the best before; None if none did.

    Of scores under PGD this is catastrophic overfitting (Wong 2020, section 5): the network then
    resists the one step it is trained against, and nothing else.

    >>> collapsed([0.2, 0.3, 0.25]), collapsed([0.2, 0.3, 0.0])
    (None, 3)
    """
    best = -math.inf
    for epoch, score in enumerate(scores, start=1):
        if score < _COLLAPSE * best:
            return epoch
        best = max(best, score)
    return None
