"""Put the SVG of an image of class `rnb-inline` into its HTML page, to take the page's colours.

In an `<img>` a figure could not follow the reader's choice of a light or a dark page. Other
builders keep the image.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

CLASS = "rnb-inline"


def inline(app: Sphinx, doctree: nodes.document, _docname: str) -> None:
    """Replace the images by their SVG; the text for who cannot see one is in the SVG."""
    if app.builder.format != "html":
        return
    for image in list(doctree.findall(nodes.image)):
        if CLASS in image["classes"]:
            drawn = (Path(app.srcdir) / image["uri"]).read_text(encoding="utf-8")
            image.replace_self(nodes.raw("", drawn, format="html"))


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("doctree-resolved", inline)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
