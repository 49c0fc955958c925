from __future__ import annotations

import pytest

from robustnb.reproduce import words
from robustnb.reproduce.claim_verdict import claim_at, weakest
from robustnb.reproduce.part_verdict import plain_verdict
from robustnb.reproduce.profiles import NAMES as PROFILES
from robustnb.reproduce.registry_types import Claim


@pytest.fixture
def verdict(part):
    """The verdict at laptop on a claim whose parts have the given words there."""

    def joined(*given, kind="direction", theorem=None):
        parts = tuple(part(id=f"p{i}", title=f"part {i}", kind=kind) for i in range(len(given)))
        claim = Claim("C1", "s", "here", "paper", parts, theorem=theorem)
        verdicts = {
            p.id: {
                profile: plain_verdict(
                    p, profile, word if profile == "laptop" else words.NOT_RUN, ""
                )
                for profile in PROFILES
            }
            for p, word in zip(parts, given, strict=True)
        }
        return claim_at(claim, verdicts, "laptop")

    return joined


@pytest.mark.parametrize(
    ("given", "word", "label"),
    [
        ([words.SMALLER], words.SMALLER, words.SMALLER),
        ([words.SAME, words.EQUAL], words.HOLDS, words.HOLDS),
        ([words.SAME, words.EQUAL_SMALLER], words.HOLDS_SMALLER, words.HOLDS_SMALLER),
        ([words.SMALLER, words.TOO_SMALL], words.PARTLY, "1 of 2 parts hold"),
        ([words.SMALLER, words.SMALLER, words.AUDIT], words.PARTLY, "2 of 3 parts hold"),
        ([words.OPPOSITE], words.OPPOSITE, words.OPPOSITE),
        ([words.OPPOSITE, words.TOO_SMALL], words.AGAINST, words.AGAINST),
        ([words.SMALLER, words.OPPOSITE], words.AGAINST, "against, 1 of 2 parts hold"),
        ([words.NOT_RUN, words.OPPOSITE], words.AGAINST, words.AGAINST),
        ([words.SMALLER, words.NOT_RUN], words.NOT_RUN, words.NOT_RUN),
        ([words.SMALLER, words.NOT_AT], words.SMALLER, words.SMALLER),
        ([words.SMALLER, words.ESTIMATE], words.SMALLER, words.SMALLER),
        ([words.TOO_SMALL, words.EXCLUDED], words.EXCLUDED, words.EXCLUDED),
        ([words.SMALLER, words.NO_HEADROOM], words.NO_HEADROOM, words.NO_HEADROOM),
        ([words.EXCLUDED, words.NO_HEADROOM], words.NO_HEADROOM, words.NO_HEADROOM),
        ([words.NO_HEADROOM, words.OPPOSITE], words.AGAINST, words.AGAINST),
    ],
)
def test_parts_are_joined_to_holds_k_of_n_or_against(verdict, given, word, label):
    found = verdict(*given)
    assert (found["word"], found["label"], found["group"]) == (word, label, words.GROUPS[word])


def test_the_parts_that_do_not_hold_are_named_under_their_words(verdict):
    found = verdict(words.SMALLER, words.TOO_SMALL, words.AUDIT, words.TOO_SMALL)
    assert found["text"] == "too small to see: part 1, part 3; audit failed: part 2"
    assert verdict(words.SMALLER, words.SAME)["text"] == ""


def test_a_part_without_headroom_is_named_first(verdict):
    found = verdict(words.TOO_SMALL, words.NO_HEADROOM)
    assert found["text"] == "no headroom in this setting: part 1; too small to see: part 0"


@pytest.mark.parametrize(("theorem", "word"), words.THEOREMS.items())
def test_a_theorem_has_its_own_word_only_if_every_part_passed(verdict, theorem, word):
    passed = [words.PROVED_HERE, words.CHECKED]
    assert verdict(*passed, kind="check", theorem=theorem)["word"] == word
    broken = verdict(*passed, words.COUNTEREXAMPLE, kind="check", theorem=theorem)
    assert (broken["word"], broken["group"]) == (words.AGAINST, "against")
    assert broken["text"] == "counterexample found: part 2"


def test_checks_without_a_theorem_have_the_weakest_of_their_words(verdict):
    found = verdict(words.PROVED_BY_MACHINE, words.COVERED, words.CHECKED, kind="check")
    assert found["word"] == words.CHECKED


def test_of_equal_words_the_smallest_sample_is_the_weakest(part):
    few, many = (plain_verdict(part(), "laptop", words.CHECKED, "", n_examples=n) for n in (5, 9))
    assert weakest([many, few]) is few
