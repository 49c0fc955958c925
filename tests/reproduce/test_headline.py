from __future__ import annotations

import re
from xml.etree import ElementTree

import nbformat
import pytest
import yaml

from robustnb.errors import UsageError
from robustnb.lesson.outcomes import decode_arm
from robustnb.reproduce import keys, pages, profiles
from robustnb.reproduce.choice import Choice
from robustnb.reproduce.headline import block, gather
from robustnb.reproduce.headline_svg import POINTS, draw
from robustnb.reproduce.ledger import ledger
from robustnb.reproduce.publish import publish
from robustnb.reproduce.registry import load_all
from robustnb.reproduce.render import Page, substitute

RUN = "toy2020/laptop/seed0/record"
MARKS = [
    {"label": "treated", "x": {"mean": "control"}, "y": {"mean": "treated"}, "line": "a trial"},
    {"label": "both", "x": {"mean": "treated"}, "y": {"mean": "treated"}, "line": "a trial"},
    {"label": "untreated", "x": {"mean": "control"}, "y": {"mean": "control"}, "apart": True},
    {"label": "never made", "x": {"mean": "control"}, "y": {"mean": "absent"}},
]
HEADLINE = {
    "says": "The treatment helps.",
    "caption": "A trial.",
    "xlabel": "without",
    "ylabel": "with",
    "marks": MARKS,
}


@pytest.fixture
def register(toy):
    def registered(**changes):
        path = toy.claims / "toy2020.yaml"
        plain = yaml.safe_load(path.read_text())
        plain["headline"] = {**HEADLINE, **changes}
        path.write_text(yaml.safe_dump(plain, allow_unicode=True))

    return registered


@pytest.fixture
def five(toy, made, register):
    register()
    return ledger(load_all(toy.claims), [made(seed) for seed in range(5)], {}, draws=200)


@pytest.fixture
def drawing(toy, five):
    return gather(five, root=toy.root, paper="toy2020", profile="laptop", run=RUN)


def test_the_figure_shows_the_mean_and_every_seed_of_the_records(drawing, made):
    treated = drawing.shown[0]
    hits = [r.mean() for r in treated_arms(made)]
    assert len(treated.seeds) == 5
    assert treated.centre[1] == pytest.approx(sum(hits) / 5, abs=1e-5)


def treated_arms(made):
    for seed in range(5):
        (measured,) = made(seed)["measurements"]
        yield decode_arm(measured["arms"]["treated"])


def test_the_run_of_the_page_is_marked_where_it_has_the_size_of_the_records(toy, five):
    same = gather(five, root=toy.root, paper="toy2020", profile="laptop", run=RUN)
    assert same.shown[0].here == same.shown[0].seeds[0]
    assert "rings the run that this page shows" in same.caption()
    smaller = gather(five, root=toy.root, paper="toy2020", profile="smoke", run="toy2020/smoke/x")
    assert all(shown.here is None for shown in smaller.shown)
    assert "the smoke run that this page shows is too small to compare" in smaller.caption()


def test_a_local_run_is_marked_beside_the_records_but_not_averaged(toy, made, register):
    register()
    runs = [*[made(s) for s in range(5)], made(0, treated=0.2, origin="run")]
    drawn = ledger(load_all(toy.claims), runs, {}, draws=200)
    run = RUN.replace("record", "run")
    treated = gather(drawn, root=toy.root, paper="toy2020", profile="laptop", run=run).shown[0]
    assert treated.here is not None and treated.here[1] < 0.4
    assert len(treated.seeds) == 5 and treated.centre[1] > 0.8


def test_the_alternative_text_says_what_is_seen_with_its_numbers(drawing):
    x, y = drawing.shown[0].centre
    assert drawing.alt().startswith("The treatment helps. Each large mark is the mean over 5 seeds")
    assert f"treated: without {100 * x:.1f} %, with {100 * y:.1f} %" in drawing.alt()


def test_a_mark_whose_arms_no_run_holds_is_left_out(drawing):
    assert [shown.name for shown in drawing.shown] == ["treated", "both", "untreated"]


def test_a_mark_over_a_number_is_told_by_its_line(toy, made, register):
    register(marks=[{"line": "a curve", "x": 250, "y": {"mean": "treated"}}])
    drawn = ledger(load_all(toy.claims), [made(0)], {}, draws=200)
    found = gather(drawn, root=toy.root, paper="toy2020", profile="laptop", run=RUN)
    assert re.search(r"one seed at the laptop size: a curve at 250: with \d\d\.\d %\.", found.alt())
    assert "250" in draw(found)


def test_equal_drawings_give_equal_bytes(drawing):
    assert draw(drawing) == draw(drawing)


def test_the_picture_is_transparent_and_takes_its_colours_from_the_page(drawing):
    svg = draw(drawing)
    root = ElementTree.fromstring(svg)
    assert root.get("role") == "img" and root.get("aria-label") == drawing.alt()
    assert root.get("width") is None and root.get("viewBox")
    assert "<style" not in svg and "currentColor" in svg
    for colour in set(re.findall(r"#[0-9a-f]{6}", svg)):
        assert re.search(rf"var\(--rnb-plot-\w+, {colour}\)", svg)
        assert not re.search(rf"(?<!, ){colour}", svg)


def test_every_word_is_at_least_nine_pixels_high_on_a_telephone(drawing):
    svg = draw(drawing)
    width = float(re.search(r'viewBox="0 0 ([\d.]+) ', svg)[1])
    sizes = {float(size) for size in re.findall(r"font(?:-size)?: (?:\w+ )?([\d.]+)px", svg)}
    assert sizes == {POINTS}
    assert min(sizes) * 358 / width >= 9


def test_the_placeholder_is_a_figure_and_publish_writes_its_file(toy, made, leave_run, register):
    register()
    notebook = toy.notebooks / "toy2020.md"
    notebook.write_text(notebook.read_text().replace("Prose before.", "{{ headline }}"))
    run = keys.resolve_run(toy, "toy2020", profiles.get(toy.notebooks, "laptop"), 0)
    drawn = ledger(load_all(toy.claims), [made(seed) for seed in range(5)], {}, draws=200)
    choice, papers = Choice(run, "run", pages.of_run(leave_run(run))), toy.root / "papers"
    assert publish(toy, choice, drawn, papers)
    (prose, *_) = nbformat.read(papers / "toy2020.ipynb", as_version=4).cells
    assert "```{figure} toy2020-headline.svg" in prose.source
    assert ":name: toy2020-fig-top" in prose.source
    before = (papers / "toy2020-headline.svg").read_bytes()
    assert not publish(toy, choice, drawn, papers)
    assert (papers / "toy2020-headline.svg").read_bytes() == before


def test_a_paper_without_a_headline_or_a_run_says_so(toy, made):
    drawn = ledger(load_all(toy.claims), [made(0)], {}, draws=200)
    with pytest.raises(UsageError, match="registers no headline"):
        gather(drawn, root=toy.root, paper="toy2020", profile="laptop", run=RUN)


def test_a_headline_of_which_nothing_ran_is_refused(toy, register):
    register()
    nothing = ledger(load_all(toy.claims), [], {}, draws=200)
    with pytest.raises(UsageError, match="has no run"):
        gather(nothing, root=toy.root, paper="toy2020", profile="laptop", run=RUN)


def test_a_malformed_mark_names_its_place(toy, register):
    register(marks=[{**MARKS[0], "y": {"median": "treated"}}])
    with pytest.raises(UsageError, match=r"toy2020\.yaml: headline\.marks\[0\]: estimand must be"):
        load_all(toy.claims)


def test_the_mean_of_an_arm_stands_in_a_sentence(toy, five, drawing):
    page = Page(toy.root, "toy2020", "laptop")
    said = substitute("{{ mean toy2020 treated }}", five, page=page)
    assert said == f"{100 * drawing.shown[0].centre[1]:.1f} %"
    with pytest.raises(UsageError, match="did you mean 'treated'"):
        substitute("{{ mean toy2020 traeted }}", five, page=page)


def test_the_block_has_a_label_to_refer_to(drawing):
    assert block("toy2020", drawing).count(":name: toy2020-fig-top") == 1


ROWS = [
    {"label": "treated", "x": {"mean": "treated"}, "paper": 0.9},
    {"label": "untreated", "x": {"mean": "control"}},
]


@pytest.fixture
def rows(toy, made, register):
    register(marks=ROWS, plain=True)
    drawn = ledger(load_all(toy.claims), [made(seed) for seed in range(5)], {}, draws=200)
    return gather(drawn, root=toy.root, paper="toy2020", profile="laptop", run=RUN)


def test_marks_without_a_y_are_rows_with_the_papers_number(rows):
    treated, untreated = rows.shown
    assert (treated.centre[1], untreated.centre[1]) == (0, -1)
    assert f"treated: without {treated.centre[0]:.2f}, in the paper 0.90" in rows.alt()
    assert "diamonds the paper's numbers" in rows.caption()
    svg = draw(rows)
    assert all(f">{name}</text>" in svg for name in ("treated", "untreated"))
    assert "%" not in "".join(re.findall(r"<text[^>]*>([^<]*)", svg))


@pytest.mark.parametrize(
    ("marks", "message"),
    [([*ROWS, MARKS[0]], "or none"), ([{"label": "a", "x": 3.0}], "is an estimand")],
)
def test_rows_are_all_or_none_and_estimands(toy, register, marks, message):
    register(marks=marks)
    with pytest.raises(UsageError, match=message):
        load_all(toy.claims)
