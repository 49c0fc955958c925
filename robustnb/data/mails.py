"""Mails as fixed rows of bytes, and their words as counts.

A mail is kept as its subject, a line break and its body, the first 4,096 bytes, filled up with
zeros: of the other headers some were written by the filter of whoever collected the mails.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from robustnb.data.decode import Array, Arrays

BYTES = 4096
_KINDS = ("easy-ham-1", "easy-ham-2", "hard-ham-1", "spam-1", "spam-2")
_SUBJECT = re.compile(rb"(?mi)^subject:(.*(?:\n[ \t].*)*)")
_MARKUP = re.compile(r"<[^>]*>")
_WORD = re.compile(r"[a-z]{3,15}")
_TEST_EVERY = 5


def splits(files: Mapping[str, bytes]) -> Arrays:
    """Rows (n, 1, 1, 4096) and kinds (n,) of mails by their path; every fifth one is for tests."""
    import numpy as np

    names = sorted(files)
    labels = np.array([_KINDS.index(name.split("/")[-2]) for name in names], dtype=np.int64)
    rows = np.stack([_row(files[name]) for name in names])[:, None, None]
    tested = np.arange(len(names)) % _TEST_EVERY == _TEST_EVERY - 1
    return {
        "train": (rows[~tested].copy(), labels[~tested]),
        "test": (rows[tested].copy(), labels[tested]),
    }


def _row(mail: bytes) -> Array:
    import numpy as np

    head, _, body = mail.replace(b"\r\n", b"\n").partition(b"\n\n")
    subject = _SUBJECT.search(head)
    text = (subject[1].strip() if subject else b"") + b"\n" + body
    return np.frombuffer(text[:BYTES].ljust(BYTES, b"\0"), dtype=np.uint8)


def mail_texts(rows: Tensor) -> list[str]:
    """The texts of mails that `load("spam_assassin", ...)` returned, uint8 (n, 1, 1, 4096)."""
    import torch

    if rows.dtype != torch.uint8 or rows.ndim < 2:
        raise TypeError(
            f"rows must be uint8 (n, 1, 1, {BYTES}) as robustnb.data.load returned them, got "
            f"{rows.dtype} {tuple(rows.shape)}"
        )
    data = rows.flatten(1).cpu().numpy()
    return [bytes(row).rstrip(b"\0").decode("latin-1") for row in data]


def words_of(text: str) -> list[str]:
    """The words of 3 to 15 letters a text shows, in lower case, without markup.

    >>> words_of("<b>Send</b> 2 mails NOW")
    ['send', 'mails', 'now']
    """
    return _WORD.findall(_MARKUP.sub(" ", text).lower())


def vocabulary(texts: Iterable[str], *, most: int, least: int = 5) -> list[str]:
    """The `most` words that stand in the greatest number of texts, at least in `least`, sorted."""
    from robustnb.scalars import whole  # which needs numpy

    most, least = whole("most", most), whole("least", least)
    counts = Counter(word for text in _listed(texts) for word in set(words_of(text)))
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return sorted(word for word, count in ranked[:most] if count >= least)


def word_counts(texts: Sequence[str], words: Sequence[str]) -> Tensor:
    """How often each word stands in each text: float64 (n, words)."""
    import torch

    place = {word: k for k, word in enumerate(words)}
    found = torch.zeros(len(texts), len(words), dtype=torch.float64)
    for row, text in zip(found, _listed(texts), strict=True):
        for word, count in Counter(words_of(text)).items():
            if word in place:
                row[place[word]] = count
    return found


def _listed(texts: Iterable[str]) -> Iterable[str]:
    if isinstance(texts, str):
        raise TypeError("texts must be a list of texts, got one text; write [text]")
    return texts
