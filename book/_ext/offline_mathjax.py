"""Serve formulas without a network: one MathJax file, taken from an installed package."""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

BUNDLE = "tex-svg-full.js"  # all TeX extensions and SVG glyphs inside, so nothing is loaded later
PACKAGE = "sphinx-mathjax-offline"


def bundle() -> Path:
    """Where the installed package keeps the MathJax file."""
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise ExtensionError(f"{PACKAGE} is not installed; run `pip install -e .[book]`")
    return Path(spec.origin).parent / "static" / "mathjax" / BUNDLE


def copy_bundle(app: Sphinx) -> None:
    """Put the MathJax file beside the pages."""
    if app.builder.format != "html":
        return
    target = Path(app.outdir) / "_static" / "mathjax" / BUNDLE
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(bundle(), target)


def setup(app: Sphinx) -> dict[str, Any]:
    app.config.mathjax_path = f"mathjax/{BUNDLE}"
    app.connect("builder-inited", copy_bundle)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
