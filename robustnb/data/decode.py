"""From the bytes of a source to arrays, and from arrays to the digests that identify them.

Every function raises ValueError, saying what is wrong, for bytes that are not what they should be.
"""

from __future__ import annotations

import hashlib
import io
import json
import zlib
from math import prod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from robustnb.data.sets import Dataset

    Array = NDArray[Any]
    Pair = tuple[NDArray[np.uint8], NDArray[np.int64]]
    Arrays = dict[str, Pair]

_IDX_UBYTE = 0x08
_MAX_ROWS = 10_000
_GZIP = 31  # zlib's window bits for a gzip wrapper


def gunzip(data: bytes, *, limit: int) -> bytes:
    """Decompress one gzip member of at most `limit` bytes; a truncated one is refused."""
    stream = zlib.decompressobj(wbits=_GZIP)
    try:
        plain = stream.decompress(data, limit + 1)
    except zlib.error as error:
        raise ValueError(f"not a gzip file ({error})") from error
    if len(plain) > limit:
        raise ValueError(f"gzip file unpacks to more than {limit} bytes")
    if not stream.eof:
        raise ValueError("truncated gzip file")
    return plain


def idx(data: bytes) -> Array:
    """Decode an IDX file of unsigned bytes (big-endian sizes after a four-byte magic number)."""
    import numpy as np

    if len(data) < 4 or data[:3] != bytes([0, 0, _IDX_UBYTE]):
        raise ValueError("not an IDX file of unsigned bytes")
    start = 4 + 4 * data[3]
    shape = [int.from_bytes(data[at : at + 4], "big") for at in range(4, start, 4)]
    if len(data) != start + prod(shape):
        raise ValueError(f"IDX file of {len(data)} bytes does not hold its declared shape {shape}")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


def png_rows(data: bytes) -> Array:
    """Decode a PNG with one 32 x 32 RGB image a row, as (N, 3, 32, 32)."""
    import numpy as np
    from PIL import Image

    with Image.open(io.BytesIO(data), formats=["PNG"]) as picture:
        width, height = picture.size
        if picture.mode != "RGB" or width != 32 * 32 or height > _MAX_ROWS:
            raise ValueError(f"PNG is {picture.mode} {picture.size}, not RGB rows of 1024 pixels")
        pixels = np.asarray(picture)
    return np.ascontiguousarray(pixels.reshape(-1, 32, 32, 3).transpose(0, 3, 1, 2))


def json_labels(data: bytes) -> Array:
    """Decode a JSON list of whole numbers."""
    import numpy as np

    values = json.loads(data)
    if not isinstance(values, list) or not all(type(value) is int for value in values):
        raise ValueError("labels are not a JSON list of whole numbers")
    return np.array(values, dtype=np.int64)


def pair(images: Array, labels: Array) -> Pair:
    """Images (N, H, W) or (N, C, H, W) and their labels as we keep them: NCHW, int64, writable."""
    import numpy as np

    nchw = images[:, None] if images.ndim == 3 else images
    return np.require(nchw, requirements=["C", "W"]), labels.astype(np.int64)


def digest(array: Array) -> str:
    """SHA-256 of an array's bytes in C order and little-endian."""
    import numpy as np

    little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    return hashlib.sha256(little.reshape(-1).view(np.uint8).data).hexdigest()


def check_array(dataset: Dataset, split: str, kind: str, array: Array) -> None:
    """Refuse `array` unless it is, byte for byte, the split's "images" or "labels"."""
    import numpy as np

    known = dataset.splits[split]
    shape = (known.n, *dataset.shape) if kind == "images" else (known.n,)
    dtype = "uint8" if kind == "images" else "int64"
    if array.shape != shape or array.dtype != np.dtype(dtype):
        raise ValueError(
            f"{split} {kind} are {array.dtype} {array.shape}, expected {dtype} {shape}"
        )
    wanted, got = (known.images if kind == "images" else known.labels), digest(array)
    if got != wanted:
        raise ValueError(f"{split} {kind} have SHA-256 {got[:12]}..., expected {wanted[:12]}...")


def check(dataset: Dataset, arrays: Arrays) -> None:
    """Refuse `arrays` unless every split of the data set is there, byte for byte."""
    for split in dataset.splits:
        if split not in arrays:
            raise ValueError(f"no {split} split")
        check_array(dataset, split, "images", arrays[split][0])
        check_array(dataset, split, "labels", arrays[split][1])
