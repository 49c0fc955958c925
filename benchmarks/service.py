"""The label service under load from a second process: requests a second, losses, and memory.

Many connections at once send good requests, malformed bodies and oversized ones, mixed. Every good
request must come back with the labels of the model itself, and every bad one with its refusal. The
service's resident memory is read before, halfway and after. Written to results/service.json.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import requests
import torch
from measure import circumstances
from sklearn.linear_model import LogisticRegression

from robustnb.blackbox import LocalService, ServiceLimits
from robustnb.data import load, to_unit

RESULTS = Path(__file__).parent / "results" / "service.json"
BODY, ROWS = 2_000_000, 20
BAD = ((b"{", 400), (b'{"images": [[0]]}', 422), (b" " * (BODY + 1), 413))


def client(url: str, path: str, count: int, connections: int) -> dict[str, int]:
    """Send `count` requests over `connections` connections; what came back, by kind."""
    data = np.load(path)
    rows, labels = data["rows"], data["labels"]
    orders = random.Random(0)
    jobs = [orders.randrange(4) for _ in range(count)]
    starts = [orders.randrange(len(rows) - ROWS) for _ in range(count)]
    sessions = [requests.Session() for _ in range(connections)]

    def send(k: int) -> str:
        session = sessions[k % connections]
        if jobs[k] == 3:
            body, status = BAD[starts[k] % 3]
            return "refused" if session.post(url, data=body).status_code == status else "wrong"
        part = slice(starts[k], starts[k] + ROWS)
        answer = session.post(url, json={"images": rows[part].tolist()})
        right = answer.ok and answer.json()["labels"] == labels[part].tolist()
        return "answered" if right else "wrong"

    with ThreadPoolExecutor(connections) as pool:
        kinds = list(pool.map(send, range(count)))
    return {kind: kinds.count(kind) for kind in ("answered", "refused", "wrong")}


def main() -> None:
    """Measure, and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--connections", type=int, default=50)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    told = circumstances(("starlette", "uvicorn", "requests"))
    x, y = load("mnist", "train")
    rows = to_unit(x[:2000]).flatten(1)
    model = LogisticRegression(max_iter=1000).fit(rows.numpy(), y[:2000].numpy())
    path = RESULTS.parent / "service_rows.npz"
    np.savez(path, rows=rows.numpy(), labels=model.predict(rows.numpy()))
    found: list[dict[str, Any]] = []
    try:
        limits = ServiceLimits(features=rows.shape[1], most=ROWS, body=BODY)
        with LocalService(model, limits) as service:
            memory = [psutil.Process(service.pid).memory_info().rss]
            for _ in range(given.repeats):
                begun = time.perf_counter()
                with multiprocessing.get_context("spawn").Pool(1) as other:
                    back = other.apply(
                        client, (service.url, str(path), given.requests, given.connections)
                    )
                seconds = time.perf_counter() - begun
                found.append({**back, "seconds": seconds, "a_second": given.requests / seconds})
                memory.append(psutil.Process(service.pid).memory_info().rss)
            meter = service.meter()
    finally:
        path.unlink(missing_ok=True)
    answered = sum(one["answered"] for one in found)
    result = {
        "runs": found, "lost": given.requests * given.repeats - answered
        - sum(one["refused"] for one in found),
        "meter_agrees": meter["requests"] == answered and meter["queries"] == ROWS * answered,
        "memory_mb": [round(value / 1e6, 1) for value in memory], **told,
    }  # fmt: skip
    RESULTS.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print({key: result[key] for key in ("lost", "meter_agrees", "memory_mb")})
    print("requests a second:", [round(one["a_second"]) for one in found])


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
