from __future__ import annotations

import nbformat
import pytest

from robustnb.errors import UsageError
from robustnb.reproduce import front_matter


def notebook(*texts):
    cells = [nbformat.v4.new_markdown_cell(text) for text in texts]
    return nbformat.v4.new_notebook(cells=[*cells, nbformat.v4.new_code_cell("x = 1  # not prose")])


def test_only_prose_counts_as_words():
    text = (
        "# Two words\n\nThree more here $x + \\alpha y$.\n\n$$\na = b\n$$ (label)\n\n"
        "```python\nnot = prose\n```\n\n:::{note} none\n:class: none\nOne\n:::\n\n"
        "| a | table |\n|---|---|\n| of | cells |\n"
    )
    assert front_matter.prose_words(notebook(text)) == 2 + 3 + 1


@pytest.mark.parametrize(("words", "minutes"), [(10, 5), (1000, 5), (2100, 10), (6000, 30)])
def test_reading_takes_a_minute_for_two_hundred_words_told_to_five_minutes(words, minutes):
    assert front_matter.reading_minutes(notebook("word " * words)) == minutes


def test_a_page_says_what_it_assumes_and_links_to_its_citation(toy):
    told = front_matter.opening(notebook("word"), "toy2020", toy.root)
    assert "About 5 minutes" in told and "Assumed: nothing." in told
    assert "[Cite this page](toy2020-cite)" in told
    assert front_matter.citation("toy2020", toy.root).startswith("(toy2020-cite)=\n")


def test_the_citation_has_the_book_and_the_paper_and_no_other_entry(toy):
    told = front_matter.citation("toy2020", toy.root)
    assert "@misc{robustnb-toy2020," in told and "title = {A toy paper}" in told
    assert "other2019" not in told and told.count("@misc{") == 2


def test_a_paper_without_an_entry_is_named(toy):
    with pytest.raises(UsageError, match=r"references\.bib has no entry toy2021"):
        front_matter.citation("toy2021", toy.root)


@pytest.mark.parametrize("text", ["{", "text", "title: T\nversion: 1\n", "authors: [A]\n"])
def test_a_damaged_citation_file_is_named(toy, text):
    (toy.root / "CITATION.cff").write_text(text)
    with pytest.raises(UsageError, match=r"^CITATION\.cff"):
        front_matter.citation("toy2020", toy.root)
