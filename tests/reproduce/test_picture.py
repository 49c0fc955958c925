from __future__ import annotations

import io

import pytest
from PIL import Image

from robustnb.errors import UsageError
from robustnb.reproduce import keys, pages, profiles
from robustnb.reproduce.picture import write_picture


def write(toy, figure=1):
    return write_picture(toy, "toy2020", figure, report=lambda _line: None)


@pytest.fixture
def run(toy, leave_run):
    smoke = keys.resolve_run(toy, "toy2020", profiles.get(toy.notebooks, "smoke"), 0)
    wide = io.BytesIO()
    Image.linear_gradient("L").resize((1920, 900)).save(wide, "PNG")
    return lambda: leave_run(smoke, wide.getvalue())


def test_the_picture_is_a_figure_of_the_page_in_few_colours_and_less_wide(toy, run):
    run()
    path = write(toy)
    assert path == toy.root / "book" / "_static" / "picture.png"
    with Image.open(path) as picture:
        assert (picture.mode, picture.size) == ("P", (960, 450))
    assert path.stat().st_size < pages.LARGEST_BYTES / 10


def test_a_figure_that_the_page_does_not_have_is_refused_with_their_number(toy, run):
    run()
    with pytest.raises(UsageError, match="has 1 figures, there is no 2"):
        write(toy, 2)


def test_without_any_run_the_way_to_one_is_told(toy):
    with pytest.raises(UsageError, match="no run of toy2020 is at hand; `make book` makes one"):
        write(toy)
