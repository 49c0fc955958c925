"""Settings every test shares: one torch thread as in a run, no time limit, no skip in CI."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from robustnb.reproduce.registry_types import Part

ROOT = Path(__file__).resolve().parents[1]
_skipped: list[str] = []

# A busy or a slow machine is no fault of the code.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def networks_asked_as_they_come() -> None:
    os.environ["ROBUSTNB_LAYOUT"] = "keep"  # a choice by timing would make bits depend on luck


@pytest.fixture(scope="session")
def part() -> Callable[..., Part]:
    """Make a registered part with these changes: without any, a direction over five seeds."""
    from robustnb.reproduce.registry_types import Part

    base = Part(
        id="toy2020.C1.up",
        title="",
        kind="direction",
        profile="laptop",
        unit="seeds",
        estimand={"difference": ["a", "b"]},
        sign=1,
        seeds=(0, 1, 2, 3, 4),
    )
    return partial(replace, base)


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.environ.get("ROBUSTNB_NETWORK"):
        return
    skip = pytest.mark.skip(reason="needs a package registry; set ROBUSTNB_NETWORK=1 to run it")
    for item in items:
        if "network" in item.keywords:
            item.add_marker(skip)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.skipped and not hasattr(report, "wasxfail"):
        _skipped.append(report.nodeid)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    if os.environ.get("CI") and _skipped and session.exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if os.environ.get("CI") and _skipped:
        terminalreporter.section("skipped in CI, which counts as failed")
        terminalreporter.write_line("\n".join(_skipped))
