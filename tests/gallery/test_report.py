"""The measurement that the page reads."""

from __future__ import annotations

import json
import math

from robustnb.gallery import pitfalls
from robustnb.gallery.report import write


def test_the_file_holds_a_finite_error_of_every_pitfall_and_all_masked_models(tmp_path):
    write(str(tmp_path / "gallery.json"))
    found = json.loads((tmp_path / "gallery.json").read_text(encoding="utf-8"))
    assert list(found["pitfalls"]) == [e.name for e in pitfalls()]
    for entry in found["pitfalls"].values():
        assert math.isfinite(entry["wrong"]) and entry["right"] <= entry["limit"] < entry["wrong"]
    assert len(found["masked"]) == 4
