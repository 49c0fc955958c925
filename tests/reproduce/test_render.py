from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest
import yaml

from robustnb.errors import UsageError
from robustnb.reproduce import atomic
from robustnb.reproduce.ledger import ledger
from robustnb.reproduce.listing import listing
from robustnb.reproduce.registry import load_all
from robustnb.reproduce.render import _RENDERERS, Page, substitute
from robustnb.reproduce.scoreboard import readme
from robustnb.zoo.digests import SHA256

SEEDS = range(5)
C1 = "toy2020.C1"
PART = f"{C1}.more"
NUMBER = r"\d\d\.\d"
SETTING = {
    "title": "The trial",
    "matched": [],
    "rows": [
        {"what": "size", "paper": "1,000", "provenance": "recalled", "ours": "{size} patients"},
        {"what": "dose", "paper": "P(a | b)", "provenance": "paper", "ours": "shift {shift}"},
    ],
}
GPU = {
    "title": "the same on a card",
    "kind": "direction",
    "profile": "gpu",
    "estimand": {"difference": ["far", "near"]},
    "unit": "seeds",
    "sign": 1,
    "seeds": list(SEEDS),
    "not_at": {"laptop": "compute: too slow"},
}


def plain_claim(statement, parts, **extra):
    fields = {"statement": statement, "source": "Section 2", "provenance": "paper"}
    return {**fields, "parts": parts, **extra}


@pytest.fixture
def project(toy):
    """The toy project, its registry enriched by whatever a page may show."""
    path = toy.claims / "toy2020.yaml"
    plain = yaml.safe_load(path.read_text())
    plain["settings"] = {"trial": SETTING}
    more = plain["claims"]["C1"]["parts"]["more"]
    more["setting"] = "trial"
    more["planned"] = {"effect": 0.05, "power": 0.9, "reason": "a guess"}
    more["paper"] = {"value": 0.75, "printed": "75 points", "provenance": "recalled"}
    told = {"value": 0.5, "printed": "50 | 51 points", "provenance": "paper"}
    plain["claims"]["C2"] = plain_claim("P(a | b) is large.", {"far": {**GPU, "paper": told}})
    proof = {"by_hand": {"title": "a step", "kind": "proof"}}
    plain["claims"]["C3"] = plain_claim("It is so.", proof, note="As printed it needs more.")
    number = {"what": "at dose 2", "value": 0.2653, "printed": "26.53 %", "provenance": "recalled"}
    plain["claims"]["C3"]["numbers"] = [number, {**number, "printed": "1.5", "provenance": "paper"}]
    guess = {name: GPU[name] for name in ("title", "estimand", "unit", "seeds")}
    guess |= {"kind": "value", "profile": "laptop", "estimate_only": "bounded, not known"}
    plain["claims"]["C4"] = plain_claim("It is tight.", {"gap": guess})
    path.write_text(yaml.safe_dump(plain, allow_unicode=True, sort_keys=False))
    return toy


@pytest.fixture
def draw(project):
    def drawn(records, sources=None):
        return ledger(load_all(project.claims), records, sources or {}, draws=200)

    return drawn


@pytest.fixture
def page(project):
    parameters = {"size": 80, "shift": 0.5, "eps": 0.1000000001, "names": ["a"], "fast": True}
    return Page(project.root, "toy2020", "laptop", parameters)


@pytest.fixture
def show(draw, made, page):
    """Render text against five seeds with a true effect, or against the records given."""

    def shown(text, records=None, sources=None):
        five = [made(seed) for seed in SEEDS] if records is None else records
        return substitute(text, draw(five, sources), page=page)

    return shown


def rows_of(text):
    """Cells of every table row; an escaped bar does not end a cell."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[c.strip() for c in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def block(show, *args):
    return show(f"{{{{ verdict {C1} }}}}", *args)


def test_a_verdict_shows_the_planted_effect_with_its_interval_sample_and_profile(show):
    row = " | ".join(rows_of(block(show))[2])
    assert row.startswith("treated against control")
    found = re.search(rf"\+({NUMBER}) points .*?\[\+({NUMBER}), \+({NUMBER})\]", row)
    assert found is not None
    estimate, low, high = map(float, found.groups())
    assert low < 80 < high and abs(estimate - 80) < 5
    assert "5 of 5 seeds × 300 examples" in row
    assert re.search(r"p (=|<) 0\.0", row)
    assert re.search(r'<span class="rnb-badge rnb-holds">same direction[^<]*</span> laptop', row)


def test_a_verdict_is_a_named_block_with_statement_and_source(show):
    text = block(show)
    assert text.startswith("(toy2020-c1)=\n:::::{admonition} C1. The treatment works.\n")
    assert "*Source of the claim: Section 1 (derived here).*" in text
    assert text.endswith("\n:::::")


def test_an_effect_the_other_way_is_shown_as_opposite(show, made):
    text = block(show, [made(seed, 0.1, 0.9) for seed in SEEDS])
    assert "rnb-against" in text and "opposite at this scale" in text
    assert re.search(r"−\d\d\.\d points", text)
    assert "rnb-holds" not in text


def test_missing_seeds_are_counted_and_nothing_is_tested(show, made):
    text = block(show, [made(seed) for seed in range(3)])
    assert "incomplete: 3 of 5 seeds" in text and "rnb-holds" not in text
    assert not re.search("p (=|<)", text)


def test_nothing_run_is_said_in_words(show):
    text = block(show, [])
    assert "not run" in text and "rnb-notrun" in text
    assert "–" in rows_of(text)[2] and "points [" not in text


def test_records_of_earlier_code_are_marked_and_those_of_today_are_not(show):
    fresh = {("toy2020", "laptop", seed): "now" for seed in SEEDS}
    assert "recorded with earlier code" not in block(show, None, fresh)
    stale = {**fresh, ("toy2020", "laptop", 4): "later"}
    assert "recorded with earlier code" in block(show, None, stale)


def test_a_local_run_is_set_beside_the_records(show, made):
    five = [made(seed) for seed in SEEDS]
    near, far = made(0, origin="run"), made(1, 0.2, 0.8, origin="run")
    text = block(show, [*five, near, far])
    assert "the laptop run on this machine (seed 0) gives +" in text
    assert re.search(r"seed 0\) gives \S+ points, inside the records' 95 %.* \[\S+, \S+\]", text)
    assert re.search(r"seed 1\) gives \S+ points, outside the records' 95 %", text)


def test_recalled_numbers_are_grey_and_marked_and_others_are_not(show):
    recalled = show(f"{{{{ paper {PART} }}}}")
    assert recalled == '<span class="rnb-recalled">75 points (recalled, unverified)</span>'
    assert show("{{ paper toy2020.C2.far }}") == "50 | 51 points (paper)"
    assert show("{{ paper toy2020.C3.by_hand }}") == "–"


def test_the_papers_numbers_are_told_below_the_table_and_the_recalled_ones_marked(show):
    text = show("{{ verdict toy2020.C3 }}")
    recalled = '<span class="rnb-recalled">26.53 % (recalled, unverified)</span>'
    assert f"The paper's numbers: at dose 2: {recalled}; at dose 2: 1.5 (paper)." in text


def test_a_part_that_holds_despite_its_audit_says_what_the_audit_found(show, made):
    finding = {"ok": False, "value": {"1": 0.9, "3": 0.87}, "why": "still falls"}
    audit = {"ok": False, "why": "still falls", "value": {"net": {"restarts": finding}}}
    runs = [made(seed) for seed in SEEDS]
    for run in runs:
        run["measurements"][0]["audit"] = audit
    text = block(show, runs)
    assert "rnb-holds" in text and "3.0 points off the effect" in text
    assert "off the effect" not in block(show)


def test_the_parts_that_do_not_hold_are_named_in_the_box(show, made, project):
    path = project.claims / "toy2020.yaml"
    plain = yaml.safe_load(path.read_text())
    parts = plain["claims"]["C1"]["parts"]
    parts["same"] = {**parts["more"], "title": "MNIST the same", "sign": -1}
    path.write_text(yaml.safe_dump(plain, allow_unicode=True, sort_keys=False))
    text = block(show)
    assert ">against, 1 of 2 parts hold</span>" in text
    assert "- Opposite at this scale: MNIST the same." in text


def test_an_inconclusive_part_says_which_difference_it_could_have_seen(show, made):
    text = block(show, [made(seed, 0.5, 0.5) for seed in SEEDS])
    assert "too small to see" in text
    assert re.search(r"- \*treated against control\*: .*80 % power would have seen ", text)
    assert "; planned for 5.0 points (a guess), seen with a power of 0.9" in text


def test_the_note_of_a_claim_is_shown(show):
    assert "\n\nAs printed it needs more.\n" in show("{{ verdict toy2020.C3 }}")


@pytest.mark.parametrize(
    "name", ["verdict toy2020.C2", "scorecard", "board", "setting trial", "costs"]
)
def test_every_table_has_as_many_cells_in_each_row_whatever_bars_they_hold(show, name):
    widths = {len(cells) for cells in rows_of(show(f"{{{{ {name} }}}}"))}
    assert len(widths) == 1


def test_bars_of_statements_and_numbers_are_escaped_in_tables(show):
    assert r"P(a \| b) is large." in show("{{ scorecard }}")
    assert r"50 \| 51 points" in show("{{ verdict toy2020.C2 }}")


def test_the_list_of_claims_links_to_their_verdicts(show):
    links = re.findall(r"\{ref\}`[^`]*`", show("{{ claims }}"))
    assert links == [f"{{ref}}`C{k} <toy2020-c{k}>`" for k in range(1, 5)]


def test_the_scorecard_has_a_column_for_each_profile_that_ran(show, made):
    assert rows_of(show("{{ scorecard }}"))[0] == ["claim", "what the paper says", "laptop"]
    both = [*(made(seed) for seed in SEEDS), made(0, profile="smoke", origin="run")]
    assert rows_of(show("{{ scorecard }}", both))[0][2:] == ["smoke", "laptop"]
    assert rows_of(show("{{ scorecard }}", []))[0][2:] == []


def test_the_board_has_a_row_for_each_claim_with_what_was_measured(show):
    rows = rows_of(show("{{ board }}"))[2:]
    assert [cells[0] for cells in rows] == [
        f"{{ref}}`toy2020 C{k} <toy2020-c{k}>`" for k in range(1, 5)
    ]
    measured = [bool(re.search(NUMBER, cells[2])) for cells in rows]
    assert measured == [True, False, False, False]
    assert all("rnb-badge" in cells[3] for cells in rows)


def test_the_totals_keep_every_claim_in_the_denominator(show):
    assert show("{{ totals }}") == "1 of 4 claims holds here; 2 are still open, 1 cannot be judged."
    assert (
        show("{{ totals }}", []) == "0 of 4 claims hold here; 3 are still open, 1 cannot be judged."
    )


def test_a_value_in_a_sentence_has_its_interval(show):
    said = show(f"It rises by {{{{ value {PART} }}}} here.")
    assert re.fullmatch(rf"It rises by \+{NUMBER} points \[\+{NUMBER}, \+{NUMBER}\] here\.", said)


def test_a_value_that_was_not_judged_says_so_instead_of_a_number(show):
    assert show(f"{{{{ value {PART} }}}}", []) == "*not run*"
    assert show(f"{{{{ estimate {PART} }}}}", []) == "*not run*"


def test_an_estimate_leaves_the_interval_out(show):
    assert re.fullmatch(rf"\+{NUMBER} points", show(f"{{{{ estimate {PART} }}}}"))


def test_a_setting_shows_the_papers_beside_the_parameters_of_this_run(show):
    text = show("{{ setting trial }}")
    assert text.startswith("**The trial**\n")
    assert rows_of(text)[2:] == [
        ["size", "1,000", "recalled", "80 patients"],
        ["dose", r"P(a \| b)", "paper", "shift 0.5"],
    ]


def test_a_source_is_the_code_of_the_very_function(show):
    text = show("{{ source robustnb.reproduce.atomic:move_folder }}")
    assert text.startswith("```python\n# robustnb.reproduce.atomic\n")
    assert listing(inspect.getsource(atomic.move_folder)) in text


def test_a_source_that_is_not_there_is_refused(show):
    with pytest.raises(UsageError, match="atomic defines no moved; write module:object"):
        show("{{ source robustnb.reproduce.atomic:moved }}")


@pytest.mark.parametrize(
    ("name", "written"), [("size", "80"), ("eps", "0.1"), ("names", "['a']"), ("fast", "True")]
)
def test_a_parameter_is_written_as_a_reader_would(show, name, written):
    assert show(f"{{{{ param {name} }}}}") == written


def test_costs_are_means_over_runs_against_the_budget(show, made):
    cost = {"wall_seconds": 5.0, "peak_mb": 512}
    seconds = [{"cpu_seconds": 2.0 + 4 * n, "reference_seconds": 5.0 + 4 * n} for n in range(2)]
    runs = [made(seed, cost={**cost, **spent}) for seed, spent in enumerate(seconds)]
    row = ["toy2020", "laptop", "2", "4", "7 of 20", "5", "0.5 of 1", "cpu, torch 2.14.1"]
    assert rows_of(show("{{ costs }}", runs))[2:] == [row]
    dear = [made(0, cost={**cost, "cpu_seconds": 10.0, "reference_seconds": 30.0})]
    assert "30 of 20 (over budget)" in show("{{ cost toy2020 }}", dear)


def test_a_record_of_before_the_calibration_shows_a_dash_and_no_budget(show, made):
    assert rows_of(show("{{ costs }}", [made(0)]))[2][3:5] == ["4", "–"]
    cost = {"cpu_seconds": 8.0, "reference_seconds": 6.0, "wall_seconds": 5.0, "peak_mb": 512}
    mixed = [made(0), made(1, cost=cost)]
    assert rows_of(show("{{ costs }}", mixed))[2][3:5] == ["6", "6 of 20"]


def test_a_seed_that_was_kept_and_run_again_is_counted_once(show, made):
    kept = made(0, cost={"cpu_seconds": 4.0, "wall_seconds": 5.0, "peak_mb": 512})
    again = {**made(0), "origin": "run", "cost": {**kept["cost"], "cpu_seconds": 14.0}}
    for runs in ([kept, again], [again, kept]):
        assert rows_of(show("{{ costs }}", runs))[2][2:4] == ["1", "4"]


def test_the_costs_of_profiles_stand_in_order_of_size(show, made):
    runs = [made(0, profile=name) for name in ("paper", "smoke", "laptop")]
    shown = [cells[1] for cells in rows_of(show("{{ cost }}", runs))[2:]]
    assert shown == ["smoke", "laptop", "paper"]


def test_the_budgets_list_every_profile(show):
    rows = rows_of(show("{{ budgets }}"))[2:]
    assert [cells[0] for cells in rows] == ["smoke", "laptop", "gpu", "paper"]
    assert rows[0] == ["smoke", "anywhere", "tests", "20", "1"]


def test_the_tables_of_the_zoo_list_the_networks_that_are_there(show):
    rows = rows_of(show("{{ zoo origin }}"))[2:]
    assert [cells[0].strip("`") for cells in rows] == sorted(SHA256)


def test_amendments_are_listed_with_date_and_reason(project, show):
    assert show("{{ amendments }}") == "No amendments so far."
    path = project.claims / "toy2020.yaml"
    entry = "{date: 2026-01-02, part: C1.more, reason: seeds | more, was: null, now: null}"
    path.write_text(path.read_text() + f"amendments: [{entry}]\n")
    assert rows_of(show("{{ amendments }}"))[2] == [
        "toy2020.C1.more",
        "2026-01-02",
        r"seeds \| more",
    ]


def test_every_placeholder_has_a_test():
    tests = (path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*.py"))
    assert set(_RENDERERS) <= set(re.findall(r"\{\{ ([a-z]+)", "".join(tests)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{{ verdikt toy2020.C1 }}", "unknown placeholder 'verdikt'; did you mean 'verdict'"),
        ("{{ verdict toy202.C1 }}", "unknown claim 'toy202.C1'; did you mean 'toy2020.C1'"),
        ("{{ verdict toy2021.C1 }}", "did you mean 'toy2020.C1'"),
        ("{{ value toy2020.C1.mor }}", "unknown part .*; did you mean 'toy2020.C1.more'"),
        ("{{ paper toy2020.C9.more }}", "unknown claim 'toy2020.C9'; did you mean"),
        ("{{ param sise }}", "unknown parameter 'sise'; did you mean 'size'"),
        ("{{ setting trail }}", "unknown setting .*; did you mean 'trial'"),
        ("{{ scorecard toy2O20 }}", "unknown paper .*; did you mean 'toy2020'"),
        ("{{ verdict }}", "wrong number of words"),
        ("{{ totals toy2020 }}", "wrong number of words"),
    ],
)
def test_a_word_that_nobody_knows_is_refused_with_the_nearest_one(show, text, message):
    with pytest.raises(UsageError, match=message):
        show(text)


@pytest.mark.parametrize("text", ["$x^{{a}}$", r"\frac{{{a}}}{b}", "f{{a} b}", "{{}}", "{ { a } }"])
def test_braces_of_latex_are_left_alone(show, text):
    assert show(text) == text


def test_text_around_and_between_placeholders_stays(show):
    assert show("a {{ param size }}, b {{ param shift }}.") == "a 80, b 0.5."


README = "# Toy\n\n<!-- verdicts: drawn -->\nold\n<!-- end of verdicts -->\n\nAfter.\n"


def test_drawing_the_readme_twice_changes_nothing_more(draw, made):
    drawn = draw([made(seed) for seed in SEEDS])
    once = readme(README, drawn)
    assert once != README and readme(once, drawn) == once
    assert once.startswith("# Toy\n\n<!-- verdicts: drawn -->\n1 of 4 claims holds here")
    assert once.endswith("<!-- end of verdicts -->\n\nAfter.\n")


def test_the_readme_has_a_row_a_paper_with_its_count_and_its_verdict_words(draw, made):
    drawn = draw([made(seed) for seed in SEEDS])
    (row,) = rows_of(readme(README, drawn))[2:]
    title, holds, words = row
    assert title == "[A toy paper](notebooks/toy2020.md), 2020" and holds == "1 of 4"
    counts = [entry.partition(" ") for entry in words.split("; ")]
    assert sum(int(count) for count, _, _ in counts) == 4
    groups = [drawn["words"][word] for _, _, word in counts]
    assert groups[0] == "holds" and "holds" not in groups[1:]


def test_a_readme_without_its_marks_is_refused(draw):
    with pytest.raises(UsageError, match="put them back"):
        readme("# Toy\n", draw([]))
