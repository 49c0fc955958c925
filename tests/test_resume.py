"""Saved work is taken up again only by the work it is of."""

from __future__ import annotations

import pytest
import torch

from robustnb import resume

FACTS = {"eps": 0.1, "answers": [1.0, -2.0, 0.5], "digest": "a" * 64}


def saved(path, **facts):
    resume.save(path, {"rows": torch.arange(3)}, {**FACTS, **facts}, counts=[1, 2])
    return resume.load(path, what="work")


def test_what_was_saved_comes_back(tmp_path):
    tensors, record = saved(tmp_path / "file")
    assert tensors["rows"].tolist() == [0, 1, 2] and record["counts"] == [1, 2]
    resume.refuse_other(tmp_path / "file", record, FACTS, what="work")
    assert resume.load(tmp_path / "none", what="work") is None


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"eps": 0.2}, r"eps differs \(then 0\.2, now 0\.1\)"),
        ({"digest": "b" * 64}, "digest differs;"),
        ({"answers": [1.0, -2.0, 0.501]}, "answers differs"),
        ({"answers": [1.0, -2.0]}, "answers differs"),
        ({"more": 1}, "more differs"),
    ],
)
def test_other_facts_are_refused_by_name(tmp_path, change, told):
    path = tmp_path / "file"
    _, record = saved(path, **change)
    with pytest.raises(ValueError, match=rf"of another work: .*{told}"):
        resume.refuse_other(path, record, FACTS, what="work")


def test_answers_may_differ_by_rounding(tmp_path):
    path = tmp_path / "file"
    _, record = saved(path, answers=[1.0 + 1e-6, -2.0, 0.5])
    resume.refuse_other(path, record, FACTS, what="work")


def test_a_damaged_file_is_named_with_the_way_out(tmp_path):
    path = tmp_path / "file"
    saved(path)
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(ValueError, match="delete it to begin the work anew"):
        resume.load(path, what="work")


def test_a_checkpoint_is_a_path_in_any_form(tmp_path):
    assert resume.path_of(None) is None
    assert resume.path_of(str(tmp_path)) == resume.path_of(tmp_path) == tmp_path
    for wrong in (True, 3, b"file"):
        with pytest.raises(TypeError, match="checkpoint must be a path"):
            resume.path_of(wrong)
