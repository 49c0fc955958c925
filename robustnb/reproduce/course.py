"""How far a notebook has come, by nbclient's hooks: told when a run does not end well."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from robustnb.errors import RunError
from robustnb.reproduce import cells

AUDIT = "application/vnd.robustnb.audit+json"
# Appended for the run and dropped from the result: what was really used, and by which Python.
AUDIT_SOURCE = f"""
import platform, sys
from IPython.display import display
used = sorted(name for name in sys.modules if name.split(".")[0] == "robustnb")
data = sys.modules["robustnb.data"].loaded() if "robustnb.data" in sys.modules else []
from robustnb.reproduce.keys import versions
python = {{
    "implementation": platform.python_implementation(), "version": platform.python_version()
}}
torch = sys.modules.get("torch")
card = torch.cuda.get_device_name() if torch and torch.cuda.is_initialized() else ""
facts = {{
    "modules": used, "datasets": sorted(data), "python": python, "versions": versions(),
    "card": card,
}}
display({{"{AUDIT}": facts}}, raw=True)
"""


@dataclass
class Course:
    """The notebook of a run under way, and the code cell that it is at."""

    notebook: Any = None
    cell: Any = None

    def begins(self, notebook: Any) -> None:
        """Called when the kernel is ready."""
        self.notebook = notebook

    def reaches(self, cell: Any, cell_index: int) -> None:
        """Called before each code cell."""
        self.cell = cell

    def place(self) -> str:
        """Where the run is, in the words of a message."""
        if self.cell is None:
            return "before its first cell"
        if self.cell.source == AUDIT_SOURCE:
            return "after its last cell"
        return f"in {cells.name(self.notebook, self.cell)}"


def facts_of(notebook: Any, run_name: str) -> dict[str, Any]:
    """Drop the audit cell of an executed notebook and return what it tells.

    Raises RunError, naming the cell, if a cell ended the notebook early without an error.
    """
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            if output.output_type == "error" and output.ename == "SystemExit":
                raise RunError(
                    f"{run_name}: {cells.name(notebook, cell)} ends the notebook by SystemExit; "
                    "a notebook runs to its last cell"
                )
    audit = notebook.cells.pop()
    told = [output.data[AUDIT] for output in audit.outputs if AUDIT in output.get("data", {})]
    if not told:
        raise RunError(f"{run_name} did not come to the end of its last cell")
    return dict(told[-1])
