"""One safetensors file with named tensors, a JSON record and a digest of both.

A file appears whole or not at all, and a changed byte is noticed on reading.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from robustnb import unfinished


class DamagedFile(ValueError):
    """The file is not one that `write` made, or has changed since."""


def weights_digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of names, dtypes, shapes and bytes, independent of order, device and layout."""
    total = hashlib.sha256()
    for name in sorted(tensors):
        tensor = _plain(tensors[name])
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        total.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


def write(path: Path, tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> None:
    """Write `tensors` and the JSON-able `record` to `path`, replacing it in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    plain = {name: _plain(tensor).clone() for name, tensor in tensors.items()}
    text = json.dumps(record, sort_keys=True, allow_nan=False)
    envelope = json.dumps({"record": text, "sha256": _seal(plain, text)})
    unfinished.sweep(path.parent)
    with unfinished.file(path) as stream:
        stream.write(save(plain, metadata={"robustnb": envelope}))


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors, on the CPU, and the record in `path`; DamagedFile unless they are as written."""
    try:
        with safe_open(path, framework="pt") as stream:
            envelope = json.loads((stream.metadata() or {})["robustnb"])
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
            text = envelope["record"]
            intact = envelope["sha256"] == _seal(tensors, text)
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise DamagedFile(f"{path} cannot be read: {error}") from error
    if not intact:
        raise DamagedFile(f"{path} has changed since it was written")
    return tensors, json.loads(text)


def _seal(tensors: Mapping[str, Tensor], text: str) -> str:
    return hashlib.sha256((weights_digest(tensors) + text).encode()).hexdigest()


def _plain(tensor: Tensor) -> Tensor:
    dense = tensor if tensor.layout == torch.strided else tensor.to_dense()
    return dense.detach().cpu().contiguous()
