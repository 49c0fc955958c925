"""A real service over HTTP: what it answers, what it refuses, and that it ends with its parent."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import psutil
import pytest
import requests
import torch
from sklearn.tree import DecisionTreeClassifier

from robustnb.blackbox import LocalService
from robustnb.blackbox.service import ServiceLimits
from robustnb.errors import RobustnbError

D = 4


@pytest.fixture(scope="module")
def model():
    x = np.random.default_rng(0).random((60, D)).astype(np.float32)
    return DecisionTreeClassifier(random_state=0).fit(x, (3 * x[:, 0]).astype(int))


@pytest.fixture(scope="module")
def service(model):
    with LocalService(model, ServiceLimits(features=D, most=20, body=10_000)) as running:
        yield running


def post(service, **what):
    return requests.post(service.url, **what)


def test_it_answers_with_the_models_labels_and_nothing_else(service, model):
    rows = np.random.default_rng(1).random((20, D))
    answer = post(service, json={"images": rows.tolist()})
    assert answer.status_code == 200
    assert answer.json() == {"labels": model.predict(rows.astype(np.float32)).tolist()}


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"", 400, "no JSON"),
        (b"{", 400, "no JSON"),
        (b"\xff\xfe", 400, "no JSON"),
        (b"[" * 5000, 400, "no JSON"),
        (b"[]", 422, "nothing else"),
        (b'{"images": [[0,0,0,0]], "scores": true}', 422, "nothing else"),
        (b'{"images": []}', 422, "1 to 20 rows"),
        (b'{"images": {}}', 422, "1 to 20 rows"),
        (json.dumps({"images": [[0] * D] * 21}).encode(), 422, "1 to 20 rows"),
        (b'{"images": [[0,0,0]]}', 422, "4 numbers"),
        (b'{"images": [[0,0,0,0],[0,0,0,[0]]]}', 422, "a number"),
        (b'{"images": [[0,0,0,"0"]]}', 422, "a number"),
        (b'{"images": [[0,0,0,true]]}', 422, "a number"),
        (b'{"images": [[0,0,0,null]]}', 422, "a number"),
        (b'{"images": [[0,0,0,NaN]]}', 422, r"\[0, 1\]"),
        (b'{"images": [[0,0,0,1e999]]}', 422, r"\[0, 1\]"),
        (b'{"images": [[0,0,0,1' + b"0" * 400 + b"]]}", 422, r"\[0, 1\]"),
        (b'{"images": [[0,0,0,-0.1]]}', 422, r"\[0, 1\]"),
        (b" " * 10_001, 413, "10000 bytes"),
    ],
)
def test_a_bad_request_is_refused_with_the_reason_and_is_no_query(service, body, status, words):
    before = service.meter()
    answer = post(service, data=body)
    assert answer.status_code == status
    assert re.search(words, answer.json()["detail"])
    after = service.meter()
    assert (after["queries"], after["refused"]) == (before["queries"], before["refused"] + 1)


def test_other_methods_and_paths_are_no_service(service):
    assert requests.get(service.url).status_code == 405
    assert requests.post(service.url + "x").status_code == 404


def test_the_meter_counts_examples(service):
    before = service.meter()
    post(service, json={"images": [[0.5] * D] * 3})
    after = service.meter()
    assert after["queries"] - before["queries"] == 3
    assert after["requests"] - before["requests"] == 1


def test_above_the_rate_it_says_when_to_come_back(model):
    limits = ServiceLimits(features=D, most=5, rate=0.001, burst=5)
    with LocalService(model, limits) as slow:
        five = {"images": [[0.5] * D] * 5}
        answers = [post(slow, json=five) for _ in range(3)]
        refused = [a for a in answers if a.status_code == 429]
        assert answers[0].status_code == 200 and refused
        assert all(0 < float(a.headers["Retry-After"]) <= 5000 for a in refused)


def test_it_listens_on_loopback_alone(service):
    assert service.url.startswith("http://127.0.0.1:")


def gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_it_stops_with_its_block_and_leaves_no_file(model, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    with LocalService(model, ServiceLimits(features=D)) as running:
        pid = running.pid
        assert list(tmp_path.iterdir())
    assert gone(pid) and not list(tmp_path.iterdir())


def test_it_ends_when_its_parent_is_killed():
    program = textwrap.dedent("""
        import numpy as np, sys, time
        from sklearn.tree import DecisionTreeClassifier
        from robustnb.blackbox import LocalService
        from robustnb.blackbox.service import ServiceLimits
        model = DecisionTreeClassifier().fit(np.zeros((2, 4)), [0, 1])
        running = LocalService(model, ServiceLimits(features=4))
        print(running.pid, flush=True)
        time.sleep(100000)
    """)
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    pid = int(parent.stdout.readline())
    assert not gone(pid)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    while not gone(pid):
        time.sleep(0.05)


def test_what_is_no_model_or_no_limit_is_refused():
    with pytest.raises(TypeError, match="predict"):
        LocalService(torch.nn.Linear(2, 2), ServiceLimits(features=D))
    with pytest.raises(ValueError, match="burst"):
        ServiceLimits(features=D, most=200, rate=1.0)
    with pytest.raises(ValueError, match="body"):
        ServiceLimits(features=D, body=0)


def test_a_child_that_dies_at_once_is_told_in_one_line(model):
    bad = ServiceLimits(features=D)
    object.__setattr__(bad, "features", 0)
    with pytest.raises(RobustnbError, match="did not start: ValueError: features"):
        LocalService(model, bad)
