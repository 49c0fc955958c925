from __future__ import annotations

import copy

import nbformat
import numpy as np
import pytest

from robustnb.lesson.check import Check
from robustnb.lesson.measurement import MIME, build
from robustnb.reproduce import compare

GLUED = "application/papermill.record/image/png"
PNG = {"image/png": "aaaa", "text/plain": "<Figure>"}


def cell(source, *outputs, tags=()):
    made = nbformat.v4.new_code_cell(source, outputs=list(outputs))
    made.metadata["tags"] = list(tags)
    return made


def said(text, name="stdout"):
    return nbformat.v4.new_output("stream", name=name, text=text)


def shown(**data):
    return nbformat.v4.new_output("display_data", data=data)


def measured(part, values, **threat):
    outcomes = build(f"toy2020.{part}", arms={"treated": np.array(values)}, threat=threat)
    return nbformat.v4.new_output(
        "display_data", data={MIME: outcomes, "text/plain": f"{part}: {sum(values)}"}
    )


def page():
    return nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_markdown_cell("Prose."),
            cell("seed: int = 0", tags=["parameters"]),
            cell("seed = 3", tags=["injected-parameters"]),
            cell("from robustnb.attacks import pgd"),
            cell("report()", said("one 1.50\n"), said("two\n"), shown(**PNG)),
            cell("measure(...)", measured("C1.more", [0.5, 1.5, 2.5], eps=0.1)),
            cell("measure(again)", measured("C1.less", [True, False, True])),
        ]
    )


@pytest.fixture
def differs():
    """What `difference` tells when the page was changed."""

    def told(change):
        now = copy.deepcopy(page())
        change(now.cells)
        then, today = compare.result_of(page()), compare.result_of(now)
        found = compare.difference(then, today)
        assert (found is None) == (then.digest == today.digest)
        assert compare.unequal(then, today) == found
        return found

    return told


def test_equal_pages_are_equal_and_counted(differs):
    assert differs(lambda cells: None) is None
    result = compare.result_of(page())
    assert (len(result.measurements), result.n_outputs) == (2, 4)


@pytest.mark.parametrize(
    "change",
    [
        lambda cells: cells[0].update(source="Other prose."),
        lambda cells: cells[3].update(source="from robustnb.strikes import pgd"),
        lambda cells: cells.insert(4, cell("import numpy")),
        lambda cells: cells[4].outputs[2].data.update({"image/png": "bbbb"}),
        lambda cells: cells[4].outputs[2].data.update({GLUED: "bbbb"}),
        lambda cells: cells[4].update(outputs=[said("one 1.50\ntwo\n"), shown(**PNG)]),
    ],
    ids=["prose", "import", "a silent cell", "image", "glued image", "a stream in one piece"],
)
def test_what_a_refactoring_may_change_does_not_count(differs, change):
    assert differs(change) is None


def test_a_measurement_is_named_with_its_cell_its_arm_and_the_size(differs):
    def change(cells):
        cells[5].outputs = [measured("C1.more", [0.5, 1.5, 2.75], eps=0.1)]

    assert differs(change) == (
        "code cell 4 (measure(...)): toy2020.C1.more, arm 'treated': "
        "1 of 3 values differ, by at most 0.25"
    )


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ([False, False, True], "1 of 3 values differ, by at most 1"),
        ([True, False], "3 binary outcomes, today 2 binary"),
        ([1.0, 0.0, 1.0], "3 binary outcomes, today 3 real"),
    ],
)
def test_outcomes_of_another_kind_or_number_are_told(differs, values, told):
    def change(cells):
        cells[6].outputs = [measured("C1.less", values)]

    assert (
        differs(change) == f"code cell 5 (measure(again)): toy2020.C1.less, arm 'treated': {told}"
    )


def test_a_threat_model_counts_as_well_as_the_outcomes(differs):
    def change(cells):
        cells[5].outputs = [measured("C1.more", [0.5, 1.5, 2.5], eps=0.3)]

    found = differs(change)
    assert "toy2020.C1.more, threat: " in found and "0.1" in found and "(+0.2)" in found


def test_a_check_counts_as_well_as_the_outcomes():
    def checked(slack):
        check = Check("step", "check", "holds", True, True, 50, "points", worst=slack)
        plain = build("toy2020.C1.more", check)
        output = nbformat.v4.new_output("display_data", data={MIME: plain, "text/plain": "step"})
        return compare.result_of(nbformat.v4.new_notebook(cells=[cell("derive()", output)]))

    assert compare.difference(checked(0.5), checked(0.5)) is None
    assert "checks: " in compare.difference(checked(0.5), checked(0.25))


def test_a_text_is_told_with_its_first_line_that_differs_and_the_part_that_follows(differs):
    def change(cells):
        cells[4].outputs[0].text = "one 1.75\n"
        cells[6].outputs = [measured("C1.less", [True, True, True])]

    assert differs(change) == (
        "code cell 3 (report()): stdout was 'one 1.50', is 'one 1.75' (+0.25); "
        "first part that differs: toy2020.C1.less, arm 'treated': "
        "1 of 3 values differ, by at most 1"
    )


def test_a_text_alone_says_that_the_measurements_are_equal(differs):
    found = differs(lambda cells: cells[4].outputs[1].update(text="zwei\n"))
    assert found.endswith("is 'zwei'; every measurement is equal")


def test_a_cell_that_shows_something_new_or_nothing_more_is_told(differs):
    more = differs(lambda cells: cells.append(cell("more()", said("x"))))
    assert more.startswith("code cell 6 (more()) shows something with today's code alone")
    less = differs(lambda cells: cells[6].update(outputs=[]))
    assert "measure(again)) shows something with the earlier code alone" in less
    assert "toy2020.C1.less is measured with the earlier code alone" in less


def test_numbers_that_python_calls_equal_but_are_other_bits_differ(differs):
    def change(cells):
        cells[4].outputs[2].data["application/json"] = [1.0]

    then, now = page(), page()
    change(now.cells)
    then.cells[4].outputs[2].data["application/json"] = [1]
    earlier, today = compare.result_of(then), compare.result_of(now)
    assert "application/json" in compare.difference(earlier, today)


def test_pages_that_show_nothing_are_not_equal():
    empty = compare.result_of(nbformat.v4.new_notebook(cells=[cell("x = 1")]))
    assert compare.difference(empty, empty) is None
    assert "nothing to compare" in compare.unequal(empty, empty)


def test_a_difference_late_in_a_long_line_is_shown():
    earlier, today = (
        nbformat.v4.new_notebook(cells=[cell("print(words)", said("same " * 40 + end))])
        for end in ("old end", "new end")
    )
    told = compare.difference(compare.result_of(earlier), compare.result_of(today))
    assert "'..." in told and "old end" in told and "new end" in told
