"""A headline figure stands in its HTML page as SVG, and as an image elsewhere."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from docutils import nodes
from docutils.utils import new_document

ROOT = Path(__file__).resolve().parents[2]
DRAWN = '<svg role="img" aria-label="A line."></svg>'


@pytest.fixture
def inline():
    sys.path.insert(0, str(ROOT / "book" / "_ext"))
    try:
        import inline_svg
    finally:
        sys.path.pop(0)
    return inline_svg.inline


@pytest.fixture
def doctree(tmp_path):
    (tmp_path / "papers").mkdir()
    (tmp_path / "papers" / "a.svg").write_text(DRAWN, encoding="utf-8")
    document = new_document("page")
    figure = nodes.figure()
    figure += nodes.image(uri="papers/a.svg", classes=["rnb-inline"])
    document += [figure, nodes.image(uri="papers/other.svg")]
    return document


def build(folder, kind):
    return SimpleNamespace(srcdir=folder, builder=SimpleNamespace(format=kind))


def test_only_the_marked_image_becomes_the_svg_of_its_file(inline, doctree, tmp_path):
    inline(build(tmp_path, "html"), doctree, "papers/a")
    (raw,) = doctree.findall(nodes.raw)
    assert (
        raw.astext() == DRAWN and raw["format"] == "html" and isinstance(raw.parent, nodes.figure)
    )
    assert [image["uri"] for image in doctree.findall(nodes.image)] == ["papers/other.svg"]


def test_another_builder_keeps_the_image(inline, doctree, tmp_path):
    inline(build(tmp_path, "latex"), doctree, "papers/a")
    assert len(list(doctree.findall(nodes.image))) == 2
