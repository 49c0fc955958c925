"""Answers of a remote service on disk, so that no image is paid for twice."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from robustnb.errors import RobustnbError

_AT_ONCE = 500  # keys of one question to the file, below SQLite's limit
_WAIT = 3600.0  # seconds that another process may hold the file


class AnswerCache:
    """One SQLite file of labels by service and example; several processes may share it.

    `path` None keeps the answers in memory.
    """

    def __init__(self, path: Path | str | None, *, service: str) -> None:
        """Open or make the file; answers of other services in it are left alone."""
        self._service = service
        self._path = path
        try:
            if path is not None:
                Path(path).parent.mkdir(parents=True, exist_ok=True)
            self._file = sqlite3.connect(
                ":memory:" if path is None else path, timeout=_WAIT, isolation_level=None
            )
            self._file.execute(
                "CREATE TABLE IF NOT EXISTS answers "
                "(service TEXT, example BLOB, label INTEGER, PRIMARY KEY (service, example))"
            )
        except (OSError, sqlite3.Error) as error:
            raise self._error(error) from None

    def get(self, keys: Sequence[bytes]) -> dict[bytes, int]:
        """The labels that are known, by key."""
        found: dict[bytes, int] = {}
        try:
            for start in range(0, len(keys), _AT_ONCE):
                part = keys[start : start + _AT_ONCE]
                marks = ",".join("?" * len(part))
                rows = self._file.execute(
                    "SELECT example, label FROM answers "
                    f"WHERE service = ? AND example IN ({marks})",
                    [self._service, *part],
                )
                found.update(rows.fetchall())
        except sqlite3.Error as error:
            raise self._error(error) from None
        if any(type(label) is not int for label in found.values()):
            raise self._error(ValueError("it holds labels that are no integers"))
        return found

    def put(self, answers: Iterable[tuple[bytes, int]]) -> None:
        """Keep answers at once, all or none."""
        rows = [(self._service, key, label) for key, label in answers]
        try:
            self._file.execute("BEGIN IMMEDIATE")
            self._file.executemany("INSERT OR REPLACE INTO answers VALUES (?, ?, ?)", rows)
            self._file.execute("COMMIT")
        except sqlite3.Error as error:
            if self._file.in_transaction:
                self._file.execute("ROLLBACK")
            raise self._error(error) from None

    def __len__(self) -> int:
        """How many answers of this service are kept."""
        found = self._file.execute(
            "SELECT COUNT(*) FROM answers WHERE service = ?", [self._service]
        ).fetchone()
        return int(found[0])

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _error(self, error: Exception) -> RobustnbError:
        return RobustnbError(
            f"the cache of answers {self._path} cannot be used ({error}); move it away to begin a "
            "new one, or name another file"
        )


def keys_of(x: Tensor) -> list[bytes]:
    """A digest of each example's values and shape: its key."""
    values = np.ascontiguousarray(x.detach().cpu().numpy())
    head = f"{values.dtype.str} {values.shape[1:]}".encode()
    return [hashlib.sha256(head + one.tobytes()).digest() for one in values]
