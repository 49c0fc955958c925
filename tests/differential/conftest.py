"""Collected only where the other libraries are installed: `make differential`."""

from __future__ import annotations

import importlib.util

PEERS = ("art", "foolbox", "torchattacks")

if any(importlib.util.find_spec(name) is None for name in PEERS):
    collect_ignore_glob = ["test_*.py"]
