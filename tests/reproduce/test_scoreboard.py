from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from robustnb.errors import UsageError
from robustnb.reproduce.ledger import ledger
from robustnb.reproduce.registry import load_all
from robustnb.reproduce.render import Page, substitute
from robustnb.reproduce.words import REPAIRED

HERO = {
    "label": 3, "eps": 0.25, "steps": 7, "train_size": 2000, "test_size": 50,
    "networks": {
        "standard": {
            "clean": {"answer": 3, "probability": 0.987}, "natural": 0.96, "robust": 0.02,
            "attacked": {"answer": 8, "probability": 0.654},
        },
        "trades": {
            "clean": {"answer": 3, "probability": 0.876}, "natural": 0.94, "robust": 0.9,
            "attacked": {"answer": 3, "probability": 0.765},
        },
    },
}  # fmt: skip


@pytest.fixture
def drawn(toy, made):
    return ledger(load_all(toy.claims), [made(seed) for seed in range(5)], {}, draws=200)


@pytest.fixture
def show(toy, drawn):
    return lambda text: substitute(text, drawn, page=Page(toy.root))


def test_tiles_count_every_claim_once_and_leave_empty_groups_out(show, drawn):
    tiles = dict(re.findall(r'rnb-(\w+)"><strong>(\d+)</strong>', show("{{ tiles }}")))
    assert sum(map(int, tiles.values())) == drawn["totals"]["overall"]["n"]
    assert "0" not in tiles.values()


def test_a_finding_has_its_number_its_verdict_and_a_link_to_its_page(show):
    line = show("{{ findings }}")
    assert line.startswith("- [Toy 2020](papers/toy2020.ipynb): The effect is +")
    assert " points. [<span" in line and line.endswith("](#toy2020-c1)")
    assert line.endswith(show("{{ badge toy2020.C1 }}"))


def test_a_paper_with_a_page_has_a_card_with_its_counts_and_one_to_come_says_so(show):
    to_come, there = show("{{ cards }}").split("grid-item-card}")[1:]
    assert to_come.startswith(" A later paper\n") and ">to come<" in to_come
    assert ":link:" not in to_come
    assert ":link: papers/toy2020\n" in there
    assert re.search(r">1 of \d claims hold", there)


def test_cards_of_a_part_leave_its_title_to_the_page(show):
    assert show("{{ cards toys }}") in show("{{ cards }}")
    assert "### " not in show("{{ cards toys }}")
    with pytest.raises(UsageError, match="unknown part of the book 'toy'; did you mean 'toys'"):
        show("{{ cards toy }}")


def test_what_is_false_as_printed_is_named(show, toy, drawn):
    assert show("{{ repaired }}") == "No claim so far."
    drawn["papers"]["toy2020"]["claims"]["toy2020.C1"]["label"] = REPAIRED
    assert show("{{ repaired }}").startswith("- {ref}`toy2020 C1 <toy2020-c1>`: ")


def test_the_hero_says_what_each_network_reads_and_how_often_it_is_right(toy, show):
    path = toy.root / "book" / "_static" / "hero.json"
    path.parent.mkdir()
    path.write_text(json.dumps(HERO))
    text = show("{{ hero }}")
    read = re.findall(r'rnb-hero-(right|wrong)">reads <strong>(\d)', text)
    assert read == [("right", "3"), ("wrong", "8"), ("right", "3"), ("right", "3")]
    assert "98.7&nbsp;% sure" in text and "65.4&nbsp;% sure" in text
    assert "reads 96.0 % correctly as they are and 2.0 % under attack" in text
    assert "reads 94.0 % and 90.0 %." in text
    assert re.findall(r'alt="([^"]+)"', text)[0].endswith("which it takes for a 8.")


def test_without_the_hero_the_way_to_make_it_is_told(show):
    with pytest.raises(UsageError, match="make hero"):
        show("{{ hero }}")


def test_the_page_of_a_paper_and_the_page_of_the_book_show_the_same_scorecard(toy, drawn):
    page = Page(toy.root)
    named = substitute("{{ scorecard toy2020 }}", drawn, page=page)
    assert substitute("{{ scorecard }}", drawn, page=replace(page, paper="toy2020")) == named
