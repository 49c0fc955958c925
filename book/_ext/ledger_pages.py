"""Replace the {{ placeholders }} of the book's own pages by what the ledger says.

The papers' pages are notebooks and were published with their numbers in place; these pages are
not. The ledger's path is `$ROBUSTNB_LEDGER`, or `build/ledger.json` beside `_config.yml`.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.errors import SphinxError

PAGES = "book/"
PUBLISHED = "book/papers/"
PLACEHOLDER = re.compile(r"\{\{\s*([a-z_]+(?:[ \t]+[^{}\s]+)*)\s*\}\}")


class LedgerError(SphinxError):
    """The book's own pages cannot say what they must."""

    category = "The ledger of claims"


def ledger_path(app: Sphinx) -> Path:
    """The ledger this build shows."""
    named = os.environ.get("ROBUSTNB_LEDGER")
    return Path(named).absolute() if named else Path(app.confdir) / "build" / "ledger.json"


@cache
def read_ledger(path: Path) -> dict[str, Any]:
    """The ledger at `path`; a missing or broken one ends the build with the way to make it."""
    try:
        ledger = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise LedgerError(f"{path} does not exist; run `make book`, which writes it") from None
    except json.JSONDecodeError as error:
        raise LedgerError(f"{path} is not JSON ({error}); run `make book` again") from error
    if not isinstance(ledger, dict):
        raise LedgerError(f"{path} does not hold a ledger; run `make book` again")
    return ledger


def renderer() -> Callable[..., str]:
    """The function that turns placeholders into Markdown."""
    try:
        return import_module("robustnb.reproduce.render").substitute  # type: ignore[no-any-return]
    except ImportError as error:
        raise LedgerError(f"{error}; run `pip install -e .[book]`") from error


def is_own_page(docname: str) -> bool:
    """Whether `docname` is a page of the book that is not a published notebook."""
    return docname.startswith(PAGES) and not docname.startswith(PUBLISHED)


def check_ledger(app: Sphinx) -> None:
    """Fail before any page is read if there is no ledger."""
    read_ledger.cache_clear()
    read_ledger(ledger_path(app))


def substitute(app: Sphinx, docname: str, source: list[str]) -> None:
    """Fill in one page, and remember that it depends on the ledger."""
    if not is_own_page(docname) or not PLACEHOLDER.search(source[0]):
        return
    path = ledger_path(app)
    try:
        source[0] = renderer()(source[0], read_ledger(path), page=docname)
    except (KeyError, ValueError, TypeError) as error:
        raise LedgerError(f"{docname}.md: {error!r}") from error
    left = PLACEHOLDER.search(source[0])
    if left is not None:
        raise LedgerError(f"{docname}.md: nothing replaces {left.group()}; is it misspelt?")
    app.env.note_dependency(str(path))


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("builder-inited", check_ledger)
    app.connect("source-read", substitute)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
