"""All pitfalls, in the order of the page."""

from __future__ import annotations

from robustnb.gallery import (
    attack_loop,
    black_box,
    feature_transfer,
    influence,
    objective,
    pictures,
    projection,
    skip_connections,
    storage_and_rates,
)
from robustnb.gallery.pitfall import Pitfall


def pitfalls() -> tuple[Pitfall, ...]:
    """Every pitfall of the gallery.

    >>> [pitfall.name for pitfall in pitfalls()][:2]
    ['byte-mask', 'last-iterate']
    """
    rooms = (
        attack_loop, projection, objective, skip_connections, feature_transfer, influence,
        pictures, storage_and_rates, black_box,
    )  # fmt: skip
    return tuple(pitfall for room in rooms for pitfall in room.PITFALLS)
