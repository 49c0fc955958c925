"""What the registries of the toy paper have in common."""

from __future__ import annotations

from typing import Any

HEAD: dict[str, Any] = {
    "id": "toy2020",
    "title": "Toy",
    "authors": ["A. Author"],
    "venue": "Nowhere",
    "year": 2020,
    "arxiv": "2001.00001",
}
