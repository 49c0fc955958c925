"""The placeholders that show means of arms: in a sentence, and as a page's headline figure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from robustnb.reproduce import headline as figure
from robustnb.reproduce.measured import mean_of_arm

if TYPE_CHECKING:
    from robustnb.reproduce.render import Page

Json = Mapping[str, Any]


def headline(ledger: Json, page: Page) -> str:
    """The figure at the top of a page; `publish` writes its file beside the page."""
    return figure.block(page.paper, gathered(ledger, page))


def gathered(ledger: Json, page: Page) -> figure.Drawing:
    """What the headline of a page shows."""
    return figure.gather(
        ledger, root=page.root, paper=page.paper, profile=page.profile, run=page.run
    )


def mean_of(ledger: Json, _page: Page, paper: str, arm: str) -> str:
    """The mean of an arm over the seeds of the records."""
    return mean_of_arm(ledger, paper, arm)
