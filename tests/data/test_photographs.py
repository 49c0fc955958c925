from __future__ import annotations

import io

import pytest
from PIL import Image

from robustnb.data import photographs


def png(width: int, height: int, colour: tuple[int, int, int, int]) -> bytes:
    stream = io.BytesIO()
    Image.new("RGBA", (width, height), colour).save(stream, "PNG")
    return stream.getvalue()


RED = png(40, 20, (255, 0, 0, 255))
ROOT = "usr/share/tuxpaint/stamps/"


def test_photographs_are_sorted_by_path_and_filed_by_kind() -> None:
    files = {f"{ROOT}{name}.png": RED for name in (
        "plants/flowers/a", "animals/birds/a", "food/fruit/a", "animals/birds/cartoon/a",
        "space/moon/a")}  # fmt: skip
    images, labels = photographs.splits(files)["test"]
    assert labels.tolist() == [0, 1, 2] and images.shape == (3, 3, 224, 224)


def test_a_stamp_lies_in_the_middle_of_white_and_what_is_clear_is_white() -> None:
    image = photographs.splits({f"{ROOT}animals/a.png": RED})["test"][0][0]
    assert image[:, 112, 112].tolist() == [255, 0, 0]
    assert image[:, 0, 112].tolist() == image[:, 223, 112].tolist() == [255, 255, 255]
    clear = png(4, 4, (0, 0, 0, 0))
    assert int(photographs.splits({f"{ROOT}food/a.png": clear})["test"][0].min()) == 255


def test_files_without_photographs_and_broken_ones_are_refused() -> None:
    with pytest.raises(ValueError, match="none of 1 files"):
        photographs.splits({f"{ROOT}space/a.png": RED})
    with pytest.raises(ValueError, match="not a picture"):
        photographs.splits({f"{ROOT}food/a.png": b"text"})
