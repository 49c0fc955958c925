"""Let nbval collect the jupytext sources themselves: `pytest --nbval-lax notebooks`.

Also as a plugin, `-p notebooks.conftest`, for executed notebooks elsewhere: it waits for a slow
kernel where nbval would not.
"""

from __future__ import annotations

from pathlib import Path
from unittest.mock import patch

import jupytext
import pytest
from nbval.kernel import RunningKernel
from nbval.plugin import IPyNbCell, IPyNbFile

_PATIENCE = 3600.0  # seconds for one message; nbval gives up after 5 for some and 10 for others
_AWAIT_REPLY = RunningKernel.await_reply


class JupytextFile(IPyNbFile):
    """A MyST notebook, read by jupytext where nbval would read JSON."""

    def collect(self):
        """The cells of the notebook, as nbval has them."""
        notebook = jupytext.read(self.path)
        with patch("nbval.plugin.nbformat.read", return_value=notebook):
            yield from super().collect()


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> JupytextFile | None:
    """Collect `*.md` of this folder when nbval is asked for."""
    options = parent.config.option
    wanted = getattr(options, "nbval", False) or getattr(options, "nbval_lax", False)
    if wanted and file_path.suffix == ".md" and file_path.parent == Path(__file__).parent:
        return JupytextFile.from_parent(parent, path=file_path)
    return None


def _await_reply(kernel: RunningKernel, message: str, timeout: float | None = None) -> None:
    _AWAIT_REPLY(kernel, message, timeout=max(timeout or 0.0, _PATIENCE))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Wait longer for an output, and for a kernel's answer to its first question."""
    RunningKernel.await_reply = _await_reply
    for item in items:
        if isinstance(item, IPyNbCell):
            item.output_timeout = _PATIENCE
