"""axe-core finds nothing serious on any page, in either theme.

axe-core comes from npm and is only unpacked, below the build folder; nothing of it is installed.
"""

from __future__ import annotations

import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

PACKAGE = "axe-core@4.10.3"
SERIOUS = ("serious", "critical")
# Colours that are still on their way from one theme to the other have a contrast of their own.
SETTLED = """() => Promise.allSettled(document.getAnimations()
  .filter(moving => moving.effect.getComputedTiming().endTime < Infinity)
  .map(moving => moving.finished)).then(() => null)"""
RUN = """() => axe.run(document, {resultTypes: ['violations']}).then(found => found.violations
  .map(v => ({id: v.id, impact: v.impact, nodes: v.nodes.map(n => n.html.slice(0, 160))})))"""


@pytest.fixture(scope="session")
def axe(root: Path) -> Path:
    """The script, unpacked once; it needs a package registry."""
    folder = root / "build" / "test" / "axe"
    script = folder / "package" / "axe.min.js"
    if script.is_file():
        return script
    if not shutil.which("npm"):
        pytest.skip("axe-core comes from npm, which is not installed")
    folder.mkdir(parents=True, exist_ok=True)
    command = ["npm", "pack", PACKAGE, "--ignore-scripts", "--silent"]
    packed = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    with tarfile.open(folder / packed.stdout.strip()) as archive:
        archive.extract("package/axe.min.js", folder, filter="data")
    return script


@pytest.mark.network
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_page_has_no_serious_fault(
    visit: Any, site: Path, axe: Path, page: str, scheme: str
) -> None:
    url = (site / f"{page}.html").as_uri()
    tab = visit(url, viewport={"width": 1280, "height": 800}, color_scheme=scheme).tab
    tab.add_script_tag(path=str(axe))
    tab.evaluate(SETTLED)
    found = tab.evaluate(RUN)
    assert [fault for fault in found if fault["impact"] in SERIOUS] == []
