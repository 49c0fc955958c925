"""The sentence of a verdict: the author's only where it was written for, else the book's."""

from __future__ import annotations

import pytest
import yaml

from robustnb.reproduce import finding, words
from robustnb.reproduce.entries import claim as claim_of
from robustnb.reproduce.ledger import ledger
from robustnb.reproduce.registry import load_all
from robustnb.reproduce.render import Page, substitute

SEEDS = range(5)
C1 = "toy2020.C1"
OWN = "It gains {{ size more }}, the sign as told in {{ runs more }} ({{ value more }})."


@pytest.fixture
def judged(toy, made):
    """C1 of the toy paper, whose author wrote a finding for one group, after five runs."""

    def judge(treated=0.9, control=0.1, *, group="holds", sign=1):
        path = toy.claims / "toy2020.yaml"
        plain = yaml.safe_load(path.read_text())
        plain["claims"]["C1"]["finding"] = {group: OWN}
        plain["claims"]["C1"]["parts"]["more"]["sign"] = sign
        path.write_text(yaml.safe_dump(plain))
        runs = [made(seed, treated, control) for seed in SEEDS]
        return ledger(load_all(toy.claims), runs, {}, draws=200)

    return judge


@pytest.fixture
def said(toy):
    """The sentence of C1 as its page shows it."""

    def show(drawn):
        told = finding.sentence(C1, claim_of(drawn, C1))
        return substitute(told, drawn, page=Page(toy.root, "toy2020"))

    return show


@pytest.fixture
def more(judged):
    def part(treated, control, **how):
        return claim_of(judged(treated, control, **how), C1)["parts"][f"{C1}.more"]

    return part


def test_the_authors_sentence_is_shown_for_the_group_it_was_written_for(judged, said):
    assert said(judged()).startswith("It gains ")


def test_a_claim_that_came_out_otherwise_gets_the_books_sentence(judged, said):
    told = said(judged(0.1, 0.9))
    assert "It gains" not in told
    assert told.startswith("Treated against control: −")
    assert told.endswith(words.MEANINGS[words.OPPOSITE])


def test_placeholders_of_a_part_take_its_numbers(judged, said):
    drawn = judged()
    value = substitute(f"{{{{ value {C1}.more }}}}", drawn, page="")
    size = substitute(f"{{{{ size {C1}.more }}}}", drawn, page="")
    runs = substitute(f"{{{{ runs {C1}.more }}}}", drawn, page="")
    assert said(drawn) == f"It gains {size}, the sign as told in {runs} ({value})."


def test_a_size_is_told_without_signs(more):
    told = finding.size(more(0.1, 0.9))
    assert told[0].isdigit() and " points [" in told
    assert not set("+−-") & set(told)
    low, high = map(float, told.partition("[")[2].rstrip("]").split(", "))
    assert low < high


def test_a_size_whose_interval_crosses_zero_keeps_its_signs(more):
    told = finding.size(more(0.5, 0.5))
    assert "[−" in told and ", +" in told


def test_a_size_that_was_not_measured_is_its_word(toy):
    drawn = ledger(load_all(toy.claims), [], {}, draws=200)
    assert finding.size(claim_of(drawn, C1)["parts"][f"{C1}.more"]) == "*not run*"


@pytest.mark.parametrize(
    ("treated", "sign", "right"), [(0.9, 1, 5), (0.05, 1, 0), (0.9, -1, 0), (0.05, -1, 5)]
)
def test_runs_counts_those_on_the_claimed_side(more, treated, sign, right):
    control = 0.1 if treated > 0.5 else 0.9
    assert finding.runs(more(treated, control, sign=sign)) == f"{right} of 5 runs"


@pytest.mark.parametrize("word", words.WORDS)
def test_every_word_that_a_claim_may_bear_gives_a_sentence(judged, word):
    claim = {**claim_of(judged(), C1), "word": word, "group": words.GROUPS[word], "finding": {}}
    told = finding.sentence(C1, claim)
    assert told.endswith((".", "}}.")) and told[0].isupper()


@pytest.mark.parametrize("word", words.WORDS)
def test_a_word_gives_a_sentence_even_if_nothing_was_measured(toy, word):
    drawn = ledger(load_all(toy.claims), [], {}, draws=200)
    claim = {**claim_of(drawn, C1), "word": word, "group": words.GROUPS[word], "text": "why"}
    assert finding.sentence(C1, claim)


def test_meanings_are_of_words_that_verdicts_have():
    assert set(words.MEANINGS) <= set(words.WORDS)
    assert all(told.endswith(".") for told in words.MEANINGS.values())
