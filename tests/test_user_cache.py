from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from robustnb import user_cache

VARIABLE = "ROBUSTNB_TEST_FOLDER"
UNKNOWN = "~a-user-that-nobody-is/data"


@pytest.fixture(autouse=True)
def unset(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (os.path.abspath("elsewhere"), Path("elsewhere").absolute()),
        ("~/mine", Path.home() / "mine"),
        (UNKNOWN, Path(UNKNOWN)),
    ],
    ids=["a path", "the home folder", "a home of nobody"],
)
def test_the_variable_wins(monkeypatch, given, found):
    monkeypatch.setenv(VARIABLE, given)
    assert user_cache.folder("data", variable=VARIABLE) == found


@pytest.mark.skipif(sys.platform != "linux", reason="where Linux has the user's cache")
def test_without_it_the_folder_is_in_the_users_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert user_cache.folder("data", variable=VARIABLE) == tmp_path / "robustnb" / "data"
    monkeypatch.delenv("XDG_CACHE_HOME")
    found = user_cache.folder("data", variable=VARIABLE)
    assert found == Path.home() / ".cache" / "robustnb" / "data"
