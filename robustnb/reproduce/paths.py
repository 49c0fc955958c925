"""Paths of the machine at hand in what a run shows: searched in texts, not in pictures."""

from __future__ import annotations

import html
import json
import os
import re
import sys
import sysconfig
import tempfile
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from robustnb.reproduce.project import Project

# Shared by most machines, so naming one of them tells nothing.
_COMMON = frozenset({"/", "/usr", "/usr/local", "/usr/bin", "/opt", "/home", "/Users"})
# What is below these is the system's and much the same everywhere.
_SYSTEM = tuple(
    Path("/") / name for name in ("usr", "bin", "sbin", "lib", "lib64", "etc", "dev", "proc", "sys")
)
_PICTURE_IN_TEXT = re.compile(r"base64,[A-Za-z0-9+/=\s]*")
# What may not stand before a short path: else it ends a word, a tag, a formula or a longer path.
_BEFORE = r"(?:(?<=file://)|(?<![\w.$~}<)\]/+\\-]))"
_SHORT = 8  # characters; a longer path does not occur by chance
_AFTER = r"(?![\w+-]|\.\w)"


class MachinePaths:
    """The folders of this machine that no page and no record may show, by the name for each."""

    def __init__(self, project: Project) -> None:
        """Those of `project`, the interpreter, the data, the user and the variables, and /tmp."""
        from robustnb.data.cache import root as data_folder

        folders = {
            "<build>": [project.build],
            "<checkout>": [project.root],
            "<environment>": _interpreter_folders(),
            "<data>": [data_folder()],
            "<tmp>": [Path(tempfile.gettempdir())],
            "~": [_home()],
            **{f"<{name}>": [path] for name, path in _named_by_variables().items()},
        }
        named = [
            (spelling, name)
            for name, paths in folders.items()
            for path in paths
            for spelling in _spellings(path)
        ]
        # The longest first: the checkout may lie in the home folder, and the build in the checkout.
        longest_first = sorted(dict(reversed(named)).items(), key=lambda pair: -len(pair[0]))
        self._patterns = [(_pattern(spelling), name) for spelling, name in longest_first]

    def within(self, text: str) -> str:
        """The first path of this machine that stands in a text, empty if there is none."""
        searched = _PICTURE_IN_TEXT.sub("base64,", text)
        found = (pattern.search(searched) for pattern, _ in self._patterns)
        return next((match.group() for match in found if match), "")

    def hidden(self, text: str) -> str:
        """The text with each such folder replaced by its name."""
        for pattern, name in self._patterns:
            text = pattern.sub(name, text)
        return text

    def within_any(self, texts: Iterable[str]) -> str:
        """The first path of this machine that stands in one of the texts, empty if none does."""
        return next((path for path in map(self.within, texts) if path), "")


def shown_texts(outputs: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Every text among a cell's outputs, whatever its MIME type, but no picture in base64."""
    for output in outputs:
        yield from _texts(output.get("text", ""))
        yield from _texts(output.get("metadata", {}))
        for mime, data in output.get("data", {}).items():
            if mime == "image/svg+xml" or not mime.startswith(("image/", "audio/", "video/")):
                yield from _texts(data)


def _texts(value: Any) -> Iterator[str]:
    """The texts in a JSON value, names of fields among them."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield str(key)
            yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)


def _pattern(spelling: str) -> re.Pattern[str]:
    before = _BEFORE if len(spelling) < _SHORT else ""
    return re.compile(before + re.escape(spelling) + _AFTER)


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError:  # a user without a home folder
        return Path("/")


def _interpreter_folders() -> list[Path]:
    libraries = sysconfig.get_paths()
    names = ("stdlib", "purelib", "platlib")
    places = [sys.prefix, sys.base_prefix, *(libraries[name] for name in names)]
    return [Path(place) for place in places]


def _named_by_variables() -> dict[str, Path]:
    """Files and folders that environment variables name one by one, such as TORCH_HOME."""
    named = {name: Path(value) for name, value in os.environ.items() if os.path.isabs(value)}
    return {
        name: path
        for name, path in named.items()
        if os.path.exists(path) and not any(path.is_relative_to(system) for system in _SYSTEM)
    }


def _spellings(path: Path) -> set[str]:
    """A folder as texts spell it: as named and as resolved, in both Unicode forms, and escaped."""
    plain = {str(each) for each in (path.absolute(), path.resolve())} - _COMMON
    forms = {unicodedata.normalize(form, each) for each in plain for form in ("NFC", "NFD")}
    return {escape(each) for each in forms | plain for escape in _ESCAPES}


def _in_bytes(text: str) -> str:
    return repr(os.fsencode(text))[2:-1]


def _in_lower_case(text: str) -> str:
    return re.sub("%..", lambda sign: sign.group().lower(), quote(text))


# How Python, JSON, HTML, a URL and a shell write a text.
_ESCAPES: tuple[Callable[[str], str], ...] = (
    str,
    lambda text: repr(text)[1:-1],
    lambda text: ascii(text)[1:-1],
    _in_bytes,
    lambda text: json.dumps(text)[1:-1],
    lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
    html.escape,
    lambda text: html.escape(text).encode("ascii", "xmlcharrefreplace").decode("ascii"),
    quote,
    _in_lower_case,
    lambda text: quote(text, safe=""),
    lambda text: text.replace(" ", "\\ "),
)
