"""Cut-out photographs from a drawing program, on white squares of one size."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from robustnb.data.decode import Array, Arrays

SIDE = 224
_KINDS = ("animals", "food", "plants")
_DRAWN = ("cartoon", "toys", "plastic", "dinosaur")
_ROOT = "usr/share/tuxpaint/stamps/"


def splits(files: Mapping[str, bytes]) -> Arrays:
    """Photographs (n, 3, 224, 224) and kinds (n,) of stamps by their path, all of them for tests.

    Stamps of other kinds and those in folders of drawings are left out.
    """
    import numpy as np

    names = [name for name in sorted(files) if _is_photograph(name)]
    if not names:
        raise ValueError(f"none of {len(files)} files is a photograph of {', '.join(_KINDS)}")
    labels = [_KINDS.index(_folders(name)[0]) for name in names]
    images = np.stack([_square(files[name]) for name in names])
    return {"test": (images, np.array(labels, dtype=np.int64))}


def _folders(name: str) -> tuple[str, ...]:
    return PurePosixPath(name.removeprefix(_ROOT)).parts[:-1]


def _is_photograph(name: str) -> bool:
    folders = _folders(name)
    return bool(folders) and folders[0] in _KINDS and not set(folders) & set(_DRAWN)


def _square(data: bytes) -> Array:
    """A PNG in the middle of a white square, its longer side 224, as uint8 (3, 224, 224)."""
    import numpy as np
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as opened:
            stamp = opened.convert("RGBA")
    except (OSError, Image.DecompressionBombError) as error:
        raise ValueError(f"not a picture that can be read ({error})") from error
    scale = SIDE / max(stamp.size)
    width, height = (max(1, round(scale * side)) for side in stamp.size)
    white = Image.new("RGBA", stamp.size, "white")
    flat = Image.alpha_composite(white, stamp).convert("RGB")
    small = flat.resize((width, height), Image.Resampling.BICUBIC)
    square = Image.new("RGB", (SIDE, SIDE), "white")
    square.paste(small, ((SIDE - width) // 2, (SIDE - height) // 2))
    return np.asarray(square, dtype=np.uint8).transpose(2, 0, 1).copy()
