"""Reading a YAML file that people write: strict, and with one line for what is wrong in it."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from robustnb.errors import UsageError


class _StrictLoader(yaml.SafeLoader):
    """YAML whose mappings may not name a key twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Refuse a repeated key, which plain YAML would let win silently."""
        names = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = sorted({str(n) for n in names if names.count(n) > 1})
        if twice:
            line = node.start_mark.line + 1
            raise yaml.YAMLError(f"key {twice[0]!r} stands twice in the block at line {line}")
        return super().construct_mapping(node, deep=deep)


def read_mapping(path: Path) -> dict[str, Any]:
    """The mapping that a file holds; UsageError naming the file where it holds none."""
    try:
        raw = yaml.load(path.read_text(encoding="utf-8"), _StrictLoader)
    except OSError as error:
        raise UsageError(f"{path.name} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        why = " ".join(str(error).split())
        raise UsageError(f"{path.name}: not readable as YAML: {why}") from None
    if not isinstance(raw, dict):
        raise UsageError(f"{path.name}: expected a mapping, got {type(raw).__name__}")
    return raw
