"""The site under test: a strict, clean build of the smoke book below `build/test/`."""

from __future__ import annotations

import functools
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
_CHROMIUM_SWITCHES = [
    "--no-sandbox",
    "--disable-gpu",
    # A page that asks for anything outside cannot get it, so a hidden dependency shows.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]


@dataclass(frozen=True)
class Toc:
    """The pages of `_toc.yml`, by their path without an ending."""

    root: str
    chapters: tuple[str, ...]

    @property
    def all(self) -> tuple[str, ...]:
        return (self.root, *self.chapters)


def read_toc() -> Toc:
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    return Toc(toc["root"], tuple(f for part in toc["parts"] for f in files_of(part["chapters"])))


def files_of(entries: list[dict[str, Any]]) -> Iterator[str]:
    """Every page of these entries and of the sections below them, in order."""
    for entry in entries:
        yield entry["file"]
        yield from files_of(entry.get("sections", []))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that asks for `page` (or `paper`) once for each page (of a paper) of the book."""
    pages = read_toc().all
    if "page" in metafunc.fixturenames:
        metafunc.parametrize("page", pages)
    if "paper" in metafunc.fixturenames:
        metafunc.parametrize("paper", [p for p in pages if p.startswith("book/papers/")])


@pytest.fixture(scope="session")
def toc() -> Toc:
    return read_toc()


@pytest.fixture(scope="session")
def site() -> Path:
    """Folder of the built HTML.

    `ROBUSTNB_SITE` names a site that is there already; otherwise the smoke book is built, with
    warnings as errors, from a copy of the pages, so that the user's book is never touched.
    """
    named = os.environ.get("ROBUSTNB_SITE")
    if named:
        return Path(named).resolve()
    from filelock import FileLock

    from robustnb.reproduce import profiles
    from robustnb.reproduce.pipeline import make_book
    from robustnb.reproduce.project import Project

    project = Project(ROOT, ROOT / "build" / "test")
    smoke = profiles.get(project.notebooks, "smoke")
    project.build.mkdir(parents=True, exist_ok=True)
    with FileLock(project.build / "site.lock"):  # one test process builds, the others wait
        page = make_book(project, smoke, jobs=2, report=lambda _line: None)
    return page.parents[1]


@pytest.fixture(scope="session")
def address(site: Path) -> Iterator[str]:
    """The site served on 127.0.0.1."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_args: Any) -> None:
            return None

    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(site)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Headless Chromium; without one the tests are skipped, on CI they fail."""
    found = os.environ.get("CHROMIUM") or shutil.which("chromium")
    missing = "" if found else "no Chromium: install chromium, or name it in $CHROMIUM"
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing = "playwright is not installed: pip install -e .[dev]"
    if missing:
        if os.environ.get("CI"):
            pytest.fail(f"CI must look at the pages in a browser, but there is {missing}")
        pytest.skip(missing)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=found, args=_CHROMIUM_SWITCHES, timeout=0
        )
        yield chromium
        chromium.close()


@dataclass
class Visit:
    """A page as it is shown, what went wrong on it, and what it asked for."""

    tab: Any
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


@pytest.fixture
def visit(browser: Any) -> Iterator[Callable[..., Visit]]:
    """Open an address in a window of its own: `visit(url, viewport={...}, color_scheme="dark")`."""
    contexts = []

    def opened(url: str, **look: Any) -> Visit:
        context = browser.new_context(**look)
        contexts.append(context)
        context.set_default_timeout(600_000)  # until what never comes is given up
        seen = Visit(context.new_page())
        seen.tab.on("pageerror", lambda error: seen.errors.append(str(error)))
        seen.tab.on("requestfailed", lambda request: seen.errors.append(f"failed: {request.url}"))
        seen.tab.on("request", lambda request: seen.requests.append(request.url))
        seen.tab.goto(url)
        return seen

    yield opened
    for context in contexts:
        context.close()
