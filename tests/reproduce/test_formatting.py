from __future__ import annotations

import pytest

from robustnb.reproduce import formatting
from robustnb.reproduce.profiles import NAMES as PROFILES


def part(estimand="difference", *, scale="percent", **extra):
    return {"estimand": {estimand: []}, "scale": scale, "kind": "direction", **extra}


@pytest.mark.parametrize(
    ("estimand", "scale", "value", "written"),
    [
        ("mean", "percent", 0.5661, "56.6 %"),
        ("mean", "percent", 0.0, "0.0 %"),
        ("difference", "percent", 0.053, "+5.3 points"),
        ("difference", "percent", -0.053, "−5.3 points"),
        ("difference", "percent", 0.0, "+0.0 points"),
        ("frontier", "percent", 0.0186, "+1.9 points"),
        ("max_step", "percent", -0.004, "−0.4 points"),
        ("mean", "plain", 0.005860, "0.00586"),
        ("mean", "plain", 0.0600, "0.060"),
        ("mean", "plain", -0.25, "−0.25"),
        ("difference", "plain", 0.25, "+0.25"),
        ("spearman", "plain", 0.98, "+0.98"),
        ("spearman", "percent", -1.0, "−1.00"),
        ("mean", "plain", 0.9996, "1.00"),
        ("mean", "plain", -7.28e-05, "−0.000073"),
        ("difference", "plain", 3.04e-9, "+3e-09"),
        ("difference", "percent", -0.0004, "0.0 points"),
    ],
)
def test_a_quantity_has_the_sign_and_the_unit_of_its_estimand(estimand, scale, value, written):
    assert formatting.quantity(part(estimand, scale=scale), value) == written


def test_the_minus_is_the_typographic_one_everywhere():
    shown = formatting.quantity(part(), -0.1) + formatting.bounds(
        part(), {"low": -0.2, "high": -0.1}
    )
    assert "-" not in shown and shown.count("−") == 3


@pytest.mark.parametrize(
    ("estimand", "written"),
    [("difference", "[−1.2, +5.3]"), ("mean", "[−1.2, 5.3]"), ("spearman", "[−0.012, +0.053]")],
)
def test_bounds_are_in_the_parts_unit_without_naming_it(estimand, written):
    assert formatting.bounds(part(estimand), {"low": -0.012, "high": 0.053}) == written


def test_no_interval_gives_no_text():
    assert formatting.bounds(part(), None) == ""


def totals(**counts):
    groups = ("holds", "partly", "against", "inconclusive", "open", "unjudged")
    return {**dict.fromkeys(groups, 0), "n": sum(counts.values()), "words": {}, **counts}


@pytest.mark.parametrize(
    ("counts", "sentence"),
    [
        ({"holds": 3}, "3 of 3 claims hold here."),
        ({"holds": 1, "against": 1}, "1 of 2 claims holds here; 1 goes against the paper."),
        ({"holds": 0, "against": 2}, "0 of 2 claims hold here; 2 go against the paper."),
        (
            {"holds": 4, "inconclusive": 1, "open": 1, "unjudged": 1},
            "4 of 7 claims hold here; 1 is inconclusive, 1 is still open, 1 cannot be judged.",
        ),
        ({"partly": 1}, "0 of 1 claims hold here; 1 holds in part."),
        ({"holds": 1, "partly": 2}, "1 of 3 claims holds here; 2 hold in part."),
        (
            {"holds": 1, "inconclusive": 2, "open": 3, "unjudged": 2},
            "1 of 8 claims holds here; 2 are inconclusive, 3 are still open, 2 cannot be judged.",
        ),
    ],
)
def test_the_tally_is_one_sentence_that_leaves_no_claim_out(counts, sentence):
    assert formatting.tally(totals(**counts)) == sentence


def test_the_tally_says_which_claims_were_false_as_printed():
    found = totals(holds=3) | {"words": {"false as printed, repaired and proved": 1}}
    said = "3 of 3 claims hold here (1 false as printed, repaired and proved)."
    assert formatting.tally(found) == said


@pytest.mark.parametrize(
    ("p", "adjusted", "written"),
    [
        (None, None, ""),
        (0.0004, None, "< 0.001"),
        (0.0312, 0.05, "0.031 (0.050)"),
        (0.0001, 0.0009, "< 0.001 (< 0.001)"),
    ],
)
def test_p_values_are_never_written_as_zero(p, adjusted, written):
    assert formatting.p_values({"p": p, "p_adjusted": adjusted}) == written


@pytest.mark.parametrize(
    ("unit", "written"),
    [
        ("seeds", "3 of 5 seeds × 1,000 examples"),
        ("examples", "1,000 examples"),
        ("draws", "1,000 repetitions"),
    ],
)
def test_the_sample_names_what_the_verdict_replicates_over(unit, written):
    verdict = {"n_seeds": 3, "n_examples": 1000}
    assert formatting.sample(part(unit=unit, seeds=[0, 1, 2, 3, 4]), verdict) == written


def test_a_proof_has_no_sample():
    verdict = {"n_seeds": 1, "n_examples": 1000}
    assert formatting.sample(part(unit="draws", seeds=[0]) | {"kind": "proof"}, verdict) == ""


def test_a_table_escapes_the_bars_in_its_cells():
    text = formatting.table(["a|b"], [["c"], ["d|e|f"]])
    assert text.splitlines() == ["| a\\|b |", "| --- |", "| c |", "| d\\|e\\|f |"]


@pytest.mark.parametrize(
    ("group", "word", "kind"),
    [
        ("holds", "proved by machine", "rnb-holds"),
        ("partly", "holds in part", "rnb-partly"),
        ("against", "contradicted", "rnb-against"),
        ("inconclusive", "too small to see", "rnb-open"),
        ("open", "machinery ran", "rnb-open"),
        ("open", "not run", "rnb-notrun"),
        ("unjudged", "recalled, not judged", "rnb-notrun"),
    ],
)
def test_a_badge_shows_its_word_and_not_colour_alone(group, word, kind):
    text = formatting.badge({"group": group, "word": word, "label": f"{word}!"})
    assert text == f'<span class="rnb-badge {kind}">{word}!</span>'


def at(**given):
    silent = {"group": "open", "word": "not run", "n_seeds": 0}
    return {profile: {**silent, **given.get(profile, {})} for profile in PROFILES}


JUDGED = {"group": "holds", "word": "same direction", "n_seeds": 5}
SEEN = {"word": "seen in one run", "n_seeds": 1}


@pytest.mark.parametrize(
    ("profiles", "shown"),
    [
        ({"smoke": JUDGED, "laptop": JUDGED}, "laptop"),
        ({"laptop": JUDGED, "gpu": SEEN}, "laptop"),
        ({"gpu": SEEN}, "gpu"),
        ({}, "laptop"),
        ({"laptop": {**JUDGED, "n_seeds": 0}}, "laptop"),
    ],
)
def test_the_largest_profile_that_judged_a_part_is_shown_else_the_registered_one(profiles, shown):
    assert formatting.shown_profile(part(profile="laptop", profiles=at(**profiles))) == shown
