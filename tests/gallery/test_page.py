"""The page of known mistakes: every pitfall once, and numbers that come from a measurement."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import gallery_pages as pages
from robustnb.gallery import pitfalls

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "book" / "known-wrong.md").read_text(encoding="utf-8")
NAMES = [pitfall.name for pitfall in pitfalls()]


def entries() -> dict[str, str]:
    parts = re.split(r"^\(known-([a-z-]+)\)=$", PAGE, flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_the_page_shows_every_pitfall_once_in_the_order_of_the_catalogue():
    assert re.findall(r"^:::\{robustnb-pitfall\} (\S+)$", PAGE, flags=re.M) == NAMES
    assert list(entries()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_an_entry_names_symptom_mechanism_and_a_public_source(name):
    text = entries()[name]
    assert all(f"**{word}.**" in text for word in ("Symptom", "Mechanism", "Where"))
    assert re.search(r"\]\(https://github\.com/[\w.-]+/[\w.-]+/(blob/[0-9a-f]{40}|issues|pull)/",
                     text)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_code_is_shown_without_docstring_and_marks_for_tools(name):
    for form in ("wrong", "right"):
        shown = pages.code(*pages.function(name, form))
        assert shown.startswith("def ") and '"""' not in shown
        assert "# fmt" not in shown and "# type" not in shown
        assert max(map(len, shown.splitlines())) <= 78


@pytest.mark.parametrize("name", NAMES)
def test_the_functions_shown_are_the_functions_measured(name):
    (pitfall,) = [e for e in pitfalls() if e.name == name]
    for form in ("wrong", "right"):
        path, node = pages.function(name, form)
        measured = getattr(pitfall, form)
        assert (measured.__name__, measured.__module__) == (
            node.name,
            f"robustnb.gallery.{path.stem}",
        )
    assert pitfall.measure.__name__ == pages.function(name, "error")[1].name


@pytest.mark.parametrize(
    ("value", "shown", "text"),
    [(0.0, "share", "0"), (0.4242, "share", "42.4 %"), (9.0, "number", "9"),
     (21.201, "number", "21.2"), (6.1e-8, "share", "6 · 10⁻⁸"), (1.0, "share", "100.0 %")],
)  # fmt: skip
def test_an_error_is_printed_so_that_rounding_shows(value, shown, text):
    assert pages.number(value, shown) == text


def test_a_measurement_is_kept_until_code_changes(tmp_path, monkeypatch):
    pages.forget(None)
    (tmp_path / f"{pages.key()}.json").write_text(json.dumps({"masked": [], "pitfalls": {}}))
    monkeypatch.setattr(pages.subprocess, "run", lambda *_, **__: pytest.fail("measured again"))
    assert pages.measured(tmp_path) == {"masked": [], "pitfalls": {}}


def test_another_version_of_torch_or_other_code_asks_for_a_new_measurement(monkeypatch):
    before = pages.key()
    assert pages.key() == before
    monkeypatch.setattr(pages, "version", lambda package: "0.0")
    changed = pages.key()
    monkeypatch.setattr(pages.provenance, "closure", lambda modules: {"robustnb.gallery": "x"})
    assert len({before, changed, pages.key()}) == 3


def test_the_key_covers_the_attacks_that_the_pitfalls_call():
    reached = pages.provenance.closure(["robustnb.gallery.report"])
    assert {
        "robustnb.gallery.attack_loop",
        "robustnb.gallery.gradient_masking",
        "robustnb.attacks.audit",
        "robustnb.attacks.projections",
        "robustnb.training.training_loop",
    } <= set(reached)


def test_a_measurement_that_fails_ends_the_build_with_its_reason(tmp_path, monkeypatch):
    pages.forget(None)
    monkeypatch.setattr(pages, "key", lambda: "key")
    monkeypatch.setattr(pages, "ROOM", "robustnb.no_such_room")
    with pytest.raises(pages.GalleryError, match="no_such_room"):
        pages.measured(tmp_path)
    assert list(tmp_path.glob("*.json")) == []


def test_an_unknown_pitfall_is_named():
    with pytest.raises(pages.GalleryError, match="no-such-thing"):
        pages.function("no-such-thing", "wrong")
