from __future__ import annotations

import gzip
import hashlib
import io
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from robustnb.data import decode

bytes_arrays = hnp.arrays(np.uint8, hnp.array_shapes(min_dims=1, max_dims=4, max_side=5))


def as_idx(array: np.ndarray) -> bytes:
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes()


@given(bytes_arrays)
def test_idx_gives_back_what_was_written(array: np.ndarray) -> None:
    np.testing.assert_array_equal(decode.idx(as_idx(array)), array)


@given(bytes_arrays, st.data())
def test_an_idx_file_cut_anywhere_is_refused(array: np.ndarray, data: st.DataObject) -> None:
    whole = as_idx(array)
    with pytest.raises(ValueError, match="IDX file"):
        decode.idx(whole[: data.draw(st.integers(0, len(whole) - 1))])


def test_an_idx_file_with_bytes_to_spare_is_refused() -> None:
    with pytest.raises(ValueError, match="does not hold its declared shape"):
        decode.idx(as_idx(np.zeros(3, np.uint8)) + b"x")


@given(st.binary(max_size=200), st.data())
def test_a_gzip_file_cut_anywhere_is_refused(plain: bytes, data: st.DataObject) -> None:
    whole = gzip.compress(plain)
    assert decode.gunzip(whole, limit=200) == plain
    with pytest.raises(ValueError, match="gzip"):
        decode.gunzip(whole[: data.draw(st.integers(0, len(whole) - 1))], limit=200)


def test_a_gzip_bomb_is_refused_before_it_is_unpacked() -> None:
    with pytest.raises(ValueError, match="more than 1000 bytes"):
        decode.gunzip(gzip.compress(bytes(10**6)), limit=1000)


def as_png(picture: Image.Image) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()


def test_a_row_of_a_png_is_an_image_of_three_planes() -> None:
    row = np.random.default_rng(0).integers(0, 256, size=(2, 1024, 3), dtype=np.uint8)
    images = decode.png_rows(as_png(Image.fromarray(row)))
    assert images.shape == (2, 3, 32, 32)
    # pixel 70 is row 2, column 6; the planes are red, green, blue
    assert images[1, :, 2, 6].tolist() == row[1, 70].tolist()


@pytest.mark.parametrize("picture", [Image.new("L", (1024, 2)), Image.new("RGB", (1000, 2))])
def test_a_png_of_another_form_is_refused(picture: Image.Image) -> None:
    with pytest.raises(ValueError, match="not RGB rows of 1024 pixels"):
        decode.png_rows(as_png(picture))


@pytest.mark.parametrize("value", [{"a": 1}, [1, "2"], [1.5], [True]])
def test_labels_that_are_not_whole_numbers_are_refused(value: object) -> None:
    with pytest.raises(ValueError, match="whole numbers"):
        decode.json_labels(json.dumps(value).encode())


@given(hnp.arrays(np.int64, hnp.array_shapes(max_dims=2, max_side=4)))
def test_a_digest_is_that_of_the_bytes_whatever_the_order_in_memory(array: np.ndarray) -> None:
    expected = hashlib.sha256(array.astype("<i8").tobytes()).hexdigest()
    for same in (array, np.asfortranarray(array), array.astype(">i8")):
        assert decode.digest(same) == expected


def test_one_flipped_bit_is_refused_in_every_array(tiny) -> None:
    decode.check(tiny.dataset, tiny.arrays)
    for split, which, kind in [("train", 0, "images"), ("test", 1, "labels")]:
        array = tiny.arrays[split][which]
        array.flat[2] ^= 1
        with pytest.raises(ValueError, match=f"{split} {kind} have SHA-256"):
            decode.check(tiny.dataset, tiny.arrays)
        array.flat[2] ^= 1


def test_the_right_bytes_in_another_shape_are_refused(tiny) -> None:
    images, labels = tiny.arrays["train"]
    turned = {**tiny.arrays, "train": (images.reshape(8, 1, 2, 3), labels)}
    with pytest.raises(ValueError, match=r"expected uint8 \(8, 1, 3, 2\)"):
        decode.check(tiny.dataset, turned)


def test_a_missing_split_is_refused(tiny) -> None:
    with pytest.raises(ValueError, match="no test split"):
        decode.check(tiny.dataset, {"train": tiny.arrays["train"]})
