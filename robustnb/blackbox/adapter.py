"""How a prediction service wants its questions, and how it gives its answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

Json = Any


def _flat_rows(x: Tensor) -> Json:
    return {"images": x.flatten(1).tolist()}


def _labels(body: Json) -> Json:
    return body["labels"]


@dataclass(frozen=True)
class Adapter:
    """Both directions of one service's protocol; the default is that of `LocalService`.

    request: examples (n, ...) to what is sent as JSON. response: the JSON of an answer to n integer
    labels. headers: sent with each request, a key for instance. For another service::

        Adapter(
            request=lambda x: {"instances": x.tolist()},
            response=lambda body: [names.index(one["label"]) for one in body["predictions"]],
            headers={"Authorization": "Bearer ..."},
        )
    """

    request: Callable[[Tensor], Json] = _flat_rows
    response: Callable[[Json], Json] = _labels
    headers: Mapping[str, str] = field(default_factory=dict)
