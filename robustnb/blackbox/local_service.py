"""A prediction service in a process of its own, for as long as a block or a kernel lives."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

import requests

from robustnb.blackbox.service import LABELS, METER, ServiceLimits, name_of
from robustnb.errors import RobustnbError


class LocalService:
    """A scikit-learn classifier behind HTTP on a free port of loopback, in another process.

    Use it as a block, or call `stop`. The process also ends when this one does, killed or not: it
    watches a pipe that only this process holds. `url` is what a `RemoteOracle` is given.
    """

    def __init__(self, model: Any, limits: ServiceLimits) -> None:
        """Start it; returns once it listens. model: fitted, with predict, and can be pickled."""
        if not hasattr(model, "predict"):
            raise TypeError(f"model must have a predict method, got {type(model).__name__}")
        self._folder = tempfile.TemporaryDirectory(prefix="robustnb-service-")
        folder = Path(self._folder.name)
        pickled = pickle.dumps(model)
        (folder / "model.pickle").write_bytes(pickled)
        (folder / "limits.json").write_text(json.dumps(asdict(limits)), "utf-8")
        with (folder / "errors").open("wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "robustnb.blackbox.service", str(folder)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            )  # fmt: skip
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            words = (folder / "errors").read_text("utf-8", errors="replace").strip()
            self.stop()
            last = words.splitlines()[-1] if words else "it said nothing"
            raise RobustnbError(f"the service did not start: {last}")
        self._root = f"http://127.0.0.1:{json.loads(line)['port']}"
        # a port is used again, so answers kept by URL would pass for another model's
        self.url = f"{self._root}/{name_of(pickled)}{LABELS}"

    @property
    def pid(self) -> int:
        """The process it runs in."""
        return self._process.pid

    def meter(self) -> dict[str, int]:
        """What it has counted itself: queries, requests and refused."""
        with requests.Session() as session:
            session.trust_env = False
            found: dict[str, int] = session.get(self._root + METER, timeout=None).json()
        return found

    def stop(self) -> None:
        """End the process and delete what it was given."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._folder.cleanup()

    def __enter__(self) -> LocalService:
        """The running service."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop it."""
        self.stop()
