from __future__ import annotations

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from robustnb.errors import RobustnbError
from robustnb.lesson.measurement import MIME
from robustnb.reproduce import convert, keys, pages, profiles


@pytest.fixture
def run(toy):
    return keys.resolve_run(toy, "toy2020", profiles.get(toy.notebooks, "laptop"), 0)


@pytest.fixture
def ran(run, leave_run):
    return pages.of_run(leave_run(run))


@pytest.fixture
def kept(ran, tmp_path):
    """The page's folder and the record that knows it."""
    folder = tmp_path / "page"
    return folder, {**ran.record, "page": pages.keep(ran, folder)}


def without_pictures(executed):
    """The cells as plain JSON, with the figures' bytes left out."""
    cells = json.loads(json.dumps([vars(cell) for cell in executed.cells]))
    for cell in cells:
        for output in cell["outputs"]:
            for kind in output.get("data", {}):
                if kind.endswith("image/png"):
                    output["data"][kind] = "a picture"
    return cells


def test_a_kept_page_comes_back_as_the_run_left_it_up_to_its_figures(ran, kept):
    folder, record = kept
    back = pages.kept(record, folder)
    assert without_pictures(back) == without_pictures(ran)
    assert (back.parameters, back.record) == (ran.parameters, record)


def test_a_figure_comes_back_in_few_colours_of_the_same_size_and_resolution(kept):
    folder, record = kept
    shown, glued = pages.kept(record, folder).cells[-1].outputs[2:]
    encoded = shown["data"]["image/png"]
    assert glued["data"]["application/papermill.record/image/png"] == encoded
    with Image.open(io.BytesIO(base64.b64decode(encoded))) as figure:
        assert (figure.mode, figure.size) == ("P", (64, 64))
        assert [round(dpi) for dpi in figure.info["dpi"]] == [200, 200]


def test_a_figure_and_a_measurement_are_kept_once(kept, ran):
    folder, record = kept
    assert {p.name for p in folder.iterdir()} == {"outputs.json", "figure-1.png"}
    text = (folder / "outputs.json").read_text()
    assert json.loads(text)["cells"][-1]["outputs"][1]["data"][MIME] == {"part": "toy2020.C1.more"}
    assert '"arms"' in json.dumps(record["measurements"]) and '"arms"' not in text


def test_keeping_a_page_twice_gives_the_same_bytes_and_takes_old_files_away(ran, kept):
    folder, record = kept
    (folder / "figure-7.png").write_bytes(b"of an earlier run")
    before = {p.name: p.stat().st_mtime_ns for p in folder.iterdir() if p.name != "figure-7.png"}
    assert pages.keep(ran, folder) == record["page"]
    assert {p.name: p.stat().st_mtime_ns for p in folder.iterdir()} == before


@pytest.mark.parametrize("name", ["outputs.json", "figure-1.png"])
def test_an_edited_or_missing_file_is_refused_and_named(kept, name):
    folder, record = kept
    path = folder / name
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(RobustnbError, match=f"{name} is not as the run left it; .*--record"):
        pages.kept(record, folder)
    path.unlink()
    with pytest.raises(RobustnbError, match=f"{name} is missing; bring it back from git"):
        pages.kept(record, folder)


def test_a_page_of_another_record_is_refused(kept):
    folder, record = kept
    del record["page"]
    assert pages.is_kept(record, folder)
    with pytest.raises(RobustnbError, match=r"outputs\.json is not as the run left it"):
        pages.kept(record, folder)


def test_a_record_without_a_page_keeps_none(ran, tmp_path):
    assert not pages.is_kept(ran.record, tmp_path / "page")


def test_a_page_that_is_too_large_is_refused_before_anything_is_written(ran, tmp_path, monkeypatch):
    monkeypatch.setattr(pages, "LARGEST_BYTES", 2000)
    with pytest.raises(RobustnbError, match=r"limit is 0\.002 MB; its largest file is \S+ with"):
        pages.keep(ran, tmp_path / "page")
    assert not (tmp_path / "page").exists()


def test_outputs_fit_the_code_they_came_from_up_to_comments(toy, ran, edit):
    def today():
        return convert.convert(toy.notebook("toy2020"))

    edit("Prose before.", "Prose of today.")
    edit("time.sleep(sleep)", "time.sleep( sleep )  # a comment")
    assert ran.fits(today())
    edit("generator.random(size) < 0.1", "generator.random(size) < 0.2")
    assert not ran.fits(today())


def test_a_figure_is_made_narrower_and_what_is_transparent_stays_so():
    drawn = np.zeros((20, 100, 4), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(drawn).save(out, "PNG")
    with Image.open(io.BytesIO(pages.palette_png(out.getvalue(), width=50))) as narrow:
        assert narrow.size == (50, 10)
        assert narrow.convert("RGBA").getpixel((3, 3))[3] == 0
