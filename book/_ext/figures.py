"""Figures: numbered within their page; two panels stand one above the other on a narrow screen.

`robustnb.lesson.plot` draws both panels into one PNG that they halve. On a narrow screen the style
sheet shows its left half, and under it a second copy of its right half; nothing is loaded twice.
"""

from __future__ import annotations

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.transforms.post_transforms import SphinxPostTransform

PANELS = "rnb-panels-2"
CHART = ("rnb-chart", "rnb-panels-1")


class panels(nodes.General, nodes.Element):
    """A picture of two panels and its copy; `half` is width over height of one panel."""


def visit_panels(self: Any, node: panels) -> None:
    self.body.append(f'<div class="rnb-panels" style="--rnb-half: {node["half"]:.4f}">')


def depart_panels(self: Any, node: panels) -> None:
    self.body.append("</div>")


class TellGlued(SphinxPostTransform):
    """Gives a glued picture the form that myst-nb loses: its `:figclass:`, else one panel's."""

    default_priority = 5
    formats = ("html",)

    def run(self, **kwargs: Any) -> None:
        if not self.env.docname.startswith("book/papers/"):
            return
        for figure in self.document.findall(nodes.figure):
            for image in figure.findall(nodes.image):
                if not image["classes"]:
                    told = [name for name in figure["classes"] if name.startswith("rnb-")]
                    image["classes"] = told or list(CHART)


class PairPanels(SphinxPostTransform):
    """Puts the copy beside each picture of two panels."""

    default_priority = 6
    formats = ("html",)

    def run(self, **kwargs: Any) -> None:
        for image in list(self.document.findall(nodes.image)):
            if PANELS not in image["classes"] or "width" not in image or "height" not in image:
                continue
            second = image.deepcopy()
            second["classes"] = [*image["classes"], "rnb-second", "no-scaled-link"]
            second["ids"], second["names"] = [], []
            half = _pixels(image["width"]) / 2 / _pixels(image["height"])
            parent = image.parent
            at = parent.index(image)
            parent.remove(image)
            parent.insert(at, panels("", image, second, half=half))


def _pixels(length: Any) -> float:
    """A length as Sphinx holds it: `960`, or `960px`."""
    return float(str(length).removesuffix("px"))


def number_by_page(_app: Sphinx, env: BuildEnvironment) -> list[str]:
    """Let the figures of each page count from one, where Sphinx counts through the book.

    Returns the pages to write again for it: none.
    """
    for numbers in env.toc_fignumbers.values():
        figures = numbers.get("figure", {})
        for place, name in enumerate(sorted(figures, key=figures.__getitem__), 1):
            figures[name] = (place,)
    return []


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_node(panels, html=(visit_panels, depart_panels))
    app.add_post_transform(TellGlued)
    app.add_post_transform(PairPanels)
    app.connect("env-get-updated", number_by_page, priority=900)  # after Sphinx has counted
    return {"parallel_read_safe": True, "parallel_write_safe": True}
