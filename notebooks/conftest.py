"""Let nbval collect the jupytext sources themselves: `pytest --nbval-lax notebooks`."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import patch

import jupytext
import pytest
from nbval.plugin import IPyNbFile


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
