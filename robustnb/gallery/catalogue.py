"""All exhibits, in the order of the page."""

from __future__ import annotations

from robustnb.gallery import ball, influence, keeping, loop, objective, skips
from robustnb.gallery.exhibit import Exhibit


def exhibits() -> tuple[Exhibit, ...]:
    """Every exhibit of the gallery.

    >>> [exhibit.name for exhibit in exhibits()][:2]
    ['byte-mask', 'last-iterate']
    """
    rooms = (loop, ball, objective, skips, influence, keeping)
    return tuple(exhibit for room in rooms for exhibit in room.EXHIBITS)
