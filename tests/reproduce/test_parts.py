from __future__ import annotations

import pytest
import yaml

from robustnb.errors import UsageError
from robustnb.reproduce import parts
from robustnb.reproduce.project import Project


def test_papers_stand_in_the_order_of_the_file_and_others_after_them_by_name(toy):
    names = ["zeta2022", "toy2020", "alpha2022", "later2021"]
    assert parts.in_order(names, toy.root) == ["later2021", "toy2020", "alpha2022", "zeta2022"]
    assert next(iter(parts.ordered(dict.fromkeys(names, 0), toy.root))) == "later2021"


def test_without_the_file_papers_stand_by_name(tmp_path):
    assert parts.in_order(["b2020", "a2020"], tmp_path) == ["a2020", "b2020"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"lines": "x"}, "parts.toys.papers.toy2020: .*unknown key 'lines'.* did you mean 'line'"),
        ({"figure": "first"}, r"parts.toys.papers.toy2020.figure"),
    ],
)
def test_what_does_not_belong_into_the_file_is_named(toy, change, told):
    path = toy.root / parts.FILE
    raw = yaml.safe_load(path.read_text())
    raw["parts"]["toys"]["papers"]["toy2020"] |= change
    path.write_text(yaml.safe_dump(raw, sort_keys=False))
    with pytest.raises(UsageError, match=told):
        parts.load(toy.root)


def test_every_notebook_of_the_book_is_in_a_part_with_what_its_card_needs(root):
    listed = parts.papers(root)
    notebooks = Project(root, root / "build").papers()
    assert set(notebooks) <= set(listed)
    for name in notebooks:
        assert listed[name].finding and listed[name].needs and listed[name].figure


def test_papers_to_come_have_a_title(root):
    notebooks = Project(root, root / "build").papers()
    to_come = [p for name, p in parts.papers(root).items() if name not in notebooks]
    assert all(paper.title for paper in to_come)
