"""Claims and parts of a ledger by name, and what pages call them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from robustnb.errors import unknown

Json = Mapping[str, Any]


def claim(ledger: Json, name: str) -> Json:
    """The claim `zhang2019.C6`; UsageError with what is meant, if there is none."""
    paper = ledger["papers"].get(name.partition(".")[0], {"claims": {}})
    if name not in paper["claims"]:
        raise unknown("claim", name, [c for p in ledger["papers"].values() for c in p["claims"]])
    found: Json = paper["claims"][name]
    return found


def part(ledger: Json, name: str) -> Json:
    """The part `zhang2019.C6.robust_up`; UsageError with what is meant, if there is none."""
    parts = claim(ledger, name.rpartition(".")[0])["parts"]
    if name not in parts:
        raise unknown("part", name, parts)
    found: Json = parts[name]
    return found


def papers(ledger: Json, name: str) -> list[Json]:
    """The paper of this name, or all of them if it is empty."""
    if name and name not in ledger["papers"]:
        raise unknown("paper", name, ledger["papers"])
    return [ledger["papers"][name]] if name else list(ledger["papers"].values())


def label(name: str) -> str:
    """The reference target of a claim: `zhang2019-c6`."""
    return name.replace(".", "-").lower()


def short(name: str) -> str:
    """The name within its paper: `C6`."""
    return name.rpartition(".")[2]


def link(name: str, words: str = "") -> str:
    """A reference to the claim's verdict, called `C6` or by the words given."""
    return f"{{ref}}`{words or short(name)} <{label(name)}>`"
