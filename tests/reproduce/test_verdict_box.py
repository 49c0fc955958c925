"""A claim on its page: one plain sentence, the rest folded; and the list of all at the top."""

from __future__ import annotations

import re

import pytest
import yaml

from robustnb.reproduce import finding, formatting, verdict_box
from robustnb.reproduce.entries import claim as claim_of
from robustnb.reproduce.ledger import ledger
from robustnb.reproduce.registry import load_all

C1 = "toy2020.C1"
FOLD = "::::{fold} "


@pytest.fixture
def drawn(toy, made):
    """The toy paper after five runs, with a theorem and a claim of two parts beside C1."""
    path = toy.claims / "toy2020.yaml"
    plain = yaml.safe_load(path.read_text())
    more = plain["claims"]["C1"]["parts"]["more"]
    proof = {"by_hand": {"title": "a step", "kind": "proof"}}
    both = {"up": more, "same": {**more, "title": "MNIST the same", "sign": -1}}
    known = {"source": "Section 2", "provenance": "paper"}
    plain["claims"]["C1"]["note"] = "As printed it needs more."
    plain["claims"]["C2"] = {"statement": "$a|b$ is large.", "parts": proof, **known}
    plain["claims"]["C3"] = {"statement": "Both.", "parts": both, **known}
    path.write_text(yaml.safe_dump(plain))
    return ledger(load_all(toy.claims), [made(seed) for seed in range(5)], {}, draws=200)


@pytest.fixture
def box(drawn):
    return verdict_box.box(C1, claim_of(drawn, C1), page_profile="laptop")


def test_a_box_shows_one_badge_and_one_sentence_before_its_fold(drawn, box):
    shown = box.partition(FOLD)[0].strip().splitlines()
    claim = claim_of(drawn, C1)
    assert shown[-1] == f"{formatting.badge(claim)} {finding.sentence(C1, claim)}"
    assert box.count(FOLD) == 1 and "|" not in box.partition(FOLD)[0]


def test_the_fold_has_the_table_the_note_and_the_source(box):
    folded = box.partition(FOLD)[2]
    assert "| treated against control" in folded
    assert "As printed it needs more." in folded
    assert "*Source of the claim: Section 1 (derived here).*" in folded


def test_the_fences_of_a_box_close_what_they_open(box):
    opened = [line for line in box.splitlines() if re.match(r":{3,}\{", line)]
    closed = [line for line in box.splitlines() if re.fullmatch(r":{3,}", line)]
    assert [re.match(":+", line).group() for line in reversed(opened)] == closed


def test_the_class_of_a_box_is_that_of_its_badge(drawn, box):
    group = formatting.badge_class(claim_of(drawn, C1))
    assert f"\n:class: rnb-verdict {group}\n" in box


def test_every_claim_is_in_the_list_with_its_link_statement_and_badge(drawn):
    claims = drawn["papers"]["toy2020"]["claims"]
    rows = verdict_box.claims_list(claims).split(":::{div} rnb-claim\n")[1:]
    assert len(rows) == len(claims) == 3
    for row, (name, claim) in zip(rows, claims.items(), strict=True):
        for told in (f"<toy2020-{name[-2:].lower()}>", claim["statement"], formatting.badge(claim)):
            assert told in row


def test_a_list_of_claims_is_no_table(drawn):
    told = verdict_box.claims_list(drawn["papers"]["toy2020"]["claims"])
    assert not [line for line in told.splitlines() if line.startswith("|")]


def test_a_part_against_the_paper_is_named_in_the_fold(drawn):
    box = verdict_box.box("toy2020.C3", claim_of(drawn, "toy2020.C3"), page_profile="laptop")
    assert "MNIST the same" in box.partition(FOLD)[2]
    assert f"rnb-verdict {formatting.badge_class(claim_of(drawn, 'toy2020.C3'))}" in box
