"""A prediction service that answers with labels only, over HTTP (Starlette and uvicorn).

`LocalService` starts it in a process of its own: `python -m robustnb.blackbox.service settings`.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import pickle
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from robustnb.scalars import finite, whole

LABELS, METER = "/v1/labels", "/v1/meter"


@dataclass(frozen=True)
class ServiceLimits:
    """What one service allows.

    features: numbers in an example. most: examples in a request. body: bytes in a request. rate:
    examples a second on average, None for no limit; burst: how many at once under a rate.
    """

    features: int
    most: int = 100
    body: int = 4_000_000
    rate: float | None = None
    burst: int = 100

    def __post_init__(self) -> None:
        """Refuse what no service can keep."""
        for name in ("features", "most", "body", "burst"):
            object.__setattr__(self, name, whole(name, getattr(self, name)))
        if self.rate is not None:
            object.__setattr__(self, "rate", finite("rate", self.rate, above=0))
            if self.burst < self.most:
                raise ValueError(
                    f"burst ({self.burst}) must be at least most ({self.most}), or the largest "
                    "request allowed could never be answered"
                )


@dataclass
class Meter:
    """What a service has counted: examples answered, requests answered, and requests refused."""

    queries: int = 0
    requests: int = 0
    refused: int = 0


class _Refusal(Exception):
    def __init__(self, status: int, detail: str, wait: float = 0.0) -> None:
        super().__init__(detail)
        self.status, self.detail, self.wait = status, detail, wait


class _TokenBucket:
    """Examples that may still be asked; they come back at `rate` a second, up to `burst`."""

    def __init__(self, rate: float | None, burst: int) -> None:
        self._rate, self._burst = rate, float(burst)
        self._left, self._then = self._burst, time.monotonic()

    def take(self, count: int) -> None:
        if self._rate is None:
            return
        now = time.monotonic()
        self._left = min(self._left + (now - self._then) * self._rate, self._burst)
        self._then = now
        if count > self._left:
            wait = (count - self._left) / self._rate
            raise _Refusal(429, f"at most {self._rate:g} examples a second", wait)
        self._left -= count


def name_of(pickled: bytes) -> str:
    """What a pickled model is called in the path of its service."""
    return hashlib.sha256(pickled).hexdigest()[:16]


def application(
    classify: Callable[[Any], Any], limits: ServiceLimits, *, name: str = ""
) -> Starlette:
    """POST /v1/labels {"images": [[...], ...]} gives {"labels": [...]}; GET /v1/meter the counts.

    classify: float32 rows (n, features) to n labels. A request that is no JSON, has other fields,
    rows of another length, numbers outside [0, 1] or too many examples gets status 400, 413 or 422
    with {"detail": why}, and one above the rate 429 with Retry-After. None of these is counted as a
    query. With a `name`, POST /name/v1/labels is the same.
    """
    meter, bucket = Meter(), _TokenBucket(limits.rate, limits.burst)
    one_at_a_time = asyncio.Lock()

    async def labels(request: Request) -> Response:
        try:
            rows = _rows(await _body(request, limits.body), limits)
            bucket.take(len(rows))
        except _Refusal as refusal:
            meter.refused += 1
            headers = {"Retry-After": f"{refusal.wait:.3f}"} if refusal.wait else None
            return JSONResponse({"detail": refusal.detail}, refusal.status, headers)
        async with one_at_a_time:
            found = await run_in_threadpool(classify, rows)
        meter.queries += len(rows)
        meter.requests += 1
        return JSONResponse({"labels": [int(label) for label in found]})

    async def counts(_request: Request) -> Response:
        return JSONResponse(asdict(meter))

    paths = [LABELS, f"/{name}{LABELS}"] if name else [LABELS]
    routes = [Route(path, labels, methods=["POST"]) for path in paths]
    return Starlette(routes=[*routes, Route(METER, counts, methods=["GET"])])


async def _body(request: Request, limit: int) -> bytes:
    """The body, refused as soon as it is longer than allowed."""
    parts, length = [], 0
    async for part in request.stream():
        length += len(part)
        if length > limit:
            raise _Refusal(413, f"a request may have at most {limit} bytes")
        parts.append(part)
    return b"".join(parts)


def _rows(body: bytes, limits: ServiceLimits) -> Any:
    """The examples of a request, float32 (n, features)."""
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError):
        raise _Refusal(400, "the body is no JSON") from None
    if not isinstance(asked, dict) or set(asked) != {"images"}:
        raise _Refusal(422, 'the body must be {"images": [[...], ...]} and nothing else')
    images = asked["images"]
    if not isinstance(images, list) or not 1 <= len(images) <= limits.most:
        raise _Refusal(422, f"images must be a list of 1 to {limits.most} rows")
    if any(not isinstance(row, list) or len(row) != limits.features for row in images):
        raise _Refusal(422, f"every row must be a list of {limits.features} numbers")
    if any(type(value) not in (int, float) for row in images for value in row):
        raise _Refusal(422, "every entry must be a number")
    try:
        rows = np.asarray(images, dtype=np.float64)
    except OverflowError:
        rows = np.full((1, 1), np.inf)
    if not ((rows >= 0) & (rows <= 1)).all():
        raise _Refusal(422, "every number must lie in [0, 1]")
    return rows.astype(np.float32)


def _stop_with_parent() -> None:
    """End this process once its standard input closes, as it does when the parent is gone."""
    while os.read(0, 1024):
        pass
    os._exit(0)


def main(folder: str) -> None:
    """Serve the model pickled in `folder` on a free port of loopback, and print which port."""
    import uvicorn

    threading.Thread(target=_stop_with_parent, daemon=True).start()
    limits = ServiceLimits(**json.loads((Path(folder) / "limits.json").read_text("utf-8")))
    pickled = (Path(folder) / "model.pickle").read_bytes()
    model = pickle.loads(pickled)
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()  # a client may come before uvicorn is ready
    config = uvicorn.Config(
        application(model.predict, limits, name=name_of(pickled)), log_level="error", lifespan="off"
    )
    print(json.dumps({"port": listener.getsockname()[1]}), flush=True)
    asyncio.run(uvicorn.Server(config).serve(sockets=[listener]))


if __name__ == "__main__":
    main(sys.argv[1])
