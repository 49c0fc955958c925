"""A remote oracle against services that break in every way; nothing that was paid for is lost."""

from __future__ import annotations

import json
import socket
import sqlite3
import threading
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import requests
import torch
from sklearn.tree import DecisionTreeClassifier

from robustnb.blackbox import (
    Adapter,
    LocalService,
    QueryBudgetError,
    RemoteError,
    RemoteOracle,
    labels_of,
)
from robustnb.blackbox.answer_cache import AnswerCache
from robustnb.blackbox.service import ServiceLimits
from robustnb.errors import RobustnbError

D = 4


def examples(n, seed=0):
    return torch.rand(n, 1, 2, 2, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def model():
    x = np.random.default_rng(0).random((60, D)).astype(np.float32)
    return DecisionTreeClassifier(random_state=0).fit(x, (3 * x[:, 0]).astype(int))


@pytest.fixture
def broken():
    """A service of one thread for each request whose answers a test writes itself."""
    servers = []

    def start(answer):
        asked = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                asked.append(len(body["images"]))
                reply = answer(body["images"], len(asked), dict(self.headers))
                if reply is None:
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                status, content, headers = reply
                content = content if isinstance(content, bytes) else json.dumps(content).encode()
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(content))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content[:-5] if "X-Cut" in headers else content)
                self.close_connection = "X-Cut" in headers

            def log_message(self, *_):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_address[1]}/labels", asked

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def good(images):
    return 200, {"labels": [int(3 * row[0]) for row in images]}, {}


def truth(x):
    return (3 * x.flatten(1)[:, 0].double()).long()


def test_it_gives_the_answers_of_a_real_service_and_both_count_alike(model):
    x = examples(130)
    with LocalService(model, ServiceLimits(features=D, most=50)) as service:
        oracle = RemoteOracle(service.url, classes=3)
        assert torch.equal(oracle(x), labels_of(model)(x))
        assert oracle.queries == service.meter()["queries"] == 130
        assert service.meter()["requests"] == 3


def test_no_example_is_paid_for_twice_not_even_by_another_process(broken, tmp_path):
    url, asked = broken(lambda images, *_: good(images))
    x = examples(10)
    first = RemoteOracle(url, cache=tmp_path / "a" / "answers.sqlite")
    assert torch.equal(first(torch.cat([x, x[:5]])), torch.cat([truth(x), truth(x[:5])]))
    assert first.queries == 10 and asked == [10]
    first(x)
    second = RemoteOracle(url, cache=tmp_path / "a" / "answers.sqlite")
    assert torch.equal(second(x), truth(x)) and second.queries == 0 and asked == [10]
    assert len(second(x[:0])) == 0
    second(examples(3, seed=1))
    assert asked == [10, 3] and second.queries == 3


def test_answers_of_two_services_in_one_file_stay_apart(broken, tmp_path):
    url, _ = broken(lambda images, *_: good(images))
    other, _ = broken(lambda images, *_: (200, {"labels": [9] * len(images)}, {}))
    x, path = examples(4), tmp_path / "answers"
    assert torch.equal(RemoteOracle(url, cache=path)(x), truth(x))
    assert RemoteOracle(other, cache=path)(x).tolist() == [9] * 4


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_passing_refusal_is_tried_again(broken, status):
    def answer(images, count, _headers):
        return (status, {"detail": "busy"}, {"Retry-After": "0.01"}) if count < 4 else good(images)

    url, asked = broken(answer)
    oracle = RemoteOracle(url, pause=0.001)
    assert torch.equal(oracle(examples(3)), truth(examples(3)))
    assert asked == [3, 3, 3, 3] and oracle.queries == 3


def test_a_rate_limit_of_a_real_service_only_slows_it(model):
    limits = ServiceLimits(features=D, most=10, rate=4.0, burst=10)
    with LocalService(model, limits) as service:
        oracle = RemoteOracle(service.url, batch_size=10, pause=0.001, retries=50)
        x = examples(20)  # the second ten have to wait for 2.5 seconds
        assert torch.equal(oracle(x), labels_of(model)(x))
        assert service.meter()["refused"] > 0 and service.meter()["queries"] == 20


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        ((200, b"<html>sorry</html>", {}), "not 2 integer labels .*<html>sorry"),
        ((200, {"labels": [0]}, {}), r"need labels \(2,\), got \(1,\)"),
        ((200, {"labels": [0.5, 0.5]}, {}), "integer labels"),
        ((200, {"labels": [0, 3]}, {}), "labels from 0 to 3, and classes is 3"),
        ((200, {"labels": [0, -1]}, {}), "labels from -1 to 0"),
        ((200, {"scores": [0, 1]}, {}), "KeyError"),
        ((401, {"detail": "no key"}, {}), "401.*no key"),
        ((404, b"", {}), "404"),
    ],
)
def test_garbage_is_told_kept_out_and_does_not_cost_what_came_before(broken, reply, words):
    def answer(images, count, _headers):
        return reply if count == 2 else good(images)

    url, asked = broken(answer)
    oracle = RemoteOracle(url, batch_size=2, classes=3)
    x = examples(6)
    with pytest.raises(RemoteError, match=words) as told:
        oracle(x)
    assert "2 answers of it are kept" in str(told.value) and "\n" not in str(told.value)
    assert torch.equal(oracle(x), truth(x))
    assert asked == [2, 2, 2, 2] and oracle.queries == 6


def test_a_service_that_dies_midway_leaves_its_answers_and_the_call_goes_on(model, tmp_path):
    x, path = examples(40), tmp_path / "answers"
    service = LocalService(model, ServiceLimits(features=D))
    oracle = RemoteOracle(service.url, batch_size=10, cache=path, retries=1, pause=0.001)
    oracle(x[:20])
    service.stop()
    with pytest.raises(RemoteError, match=r"no connection.*tried 2 times.*20 answers"):
        oracle(x)
    assert torch.equal(oracle(x[:20]), labels_of(model)(x[:20])) and oracle.queries == 20


def test_a_connection_cut_in_the_middle_is_tried_again(broken):
    url, asked = broken(lambda images, count, _headers: None if count == 1 else good(images))
    assert torch.equal(RemoteOracle(url, pause=0.001)(examples(2)), truth(examples(2)))
    assert asked == [2, 2]


def test_an_answer_cut_in_the_middle_is_asked_for_again(broken):
    """The head promises more bytes than come, as from a service that dies while it answers."""

    def answer(images, count, _headers):
        status, content, headers = good(images)
        return status, content, {**headers, "X-Cut": "1"} if count == 1 else headers

    url, asked = broken(answer)
    assert torch.equal(RemoteOracle(url, pause=0.001)(examples(2)), truth(examples(2)))
    assert asked == [2, 2]


def test_silence_ends_in_a_message(broken):
    release = threading.Event()

    def answer(images, _count, _headers):
        release.wait()
        return good(images)

    url, _ = broken(answer)
    oracle = RemoteOracle(url, silence=0.05, retries=1, pause=0.001)
    try:
        with pytest.raises(RemoteError, match="no answer came in the time set by silence"):
            oracle(examples(1))
    finally:
        release.set()


def test_a_budget_counts_what_would_be_paid(broken):
    url, asked = broken(lambda images, *_: good(images))
    oracle = RemoteOracle(url, budget=5)
    oracle(examples(4))
    assert len(oracle(examples(4))) == 4
    with pytest.raises(QueryBudgetError, match="2 more queries after 4"):
        oracle(examples(2, seed=7))
    assert asked == [4]


def test_an_adapter_speaks_another_protocol(broken):
    def answer(images, _count, headers):
        assert headers["X-Key"] == "k"
        return 200, {"predictions": [{"name": "abc"[int(3 * row[0])]} for row in images]}, {}

    url, _ = broken(answer)
    adapter = Adapter(
        request=lambda x: {"images": x.flatten(1).tolist()},
        response=lambda body: ["abc".index(one["name"]) for one in body["predictions"]],
        headers={"X-Key": "k"},
    )
    assert torch.equal(RemoteOracle(url, adapter=adapter)(examples(5)), truth(examples(5)))


def test_bad_settings_are_named():
    for url in ("localhost:80", "ftp://host", "http://"):
        with pytest.raises(ValueError, match="http:// or https://"):
            RemoteOracle(url)
    with pytest.raises(ValueError, match="batch_size"):
        RemoteOracle("http://host", batch_size=0)


def test_a_cache_that_is_no_cache_is_told(tmp_path):
    path = tmp_path / "answers"
    path.write_bytes(b"no database at all, but long enough to be looked at" * 20)
    with pytest.raises(RobustnbError, match=r"cannot be used .*move it away"):
        RemoteOracle("http://127.0.0.1:9/x", cache=path)


def test_a_cache_that_could_not_write_can_write_later(tmp_path):
    cache = AnswerCache(tmp_path / "answers", service="s")
    with pytest.raises(RobustnbError, match="cannot be used"):
        cache.put([(b"one", 1), (b"two", [])])  # no value that SQLite takes
    cache.put([(b"three", 3)])
    assert cache.get([b"one", b"two", b"three"]) == {b"three": 3}


def halfway(answer):
    """Good for the first request, then `answer`, then good again."""
    return lambda images, count, _headers: answer if count == 2 else good(images)


def fails_then_goes_on(url, words, x, **settings):
    oracle = RemoteOracle(url, batch_size=2, pause=0.001, **settings)
    with pytest.raises(RemoteError, match=words) as told:
        oracle(x)
    assert oracle.queries == 2 and "2 answers of it are kept" in str(told.value)
    assert torch.equal(oracle(x), truth(x)) and oracle.queries == len(x)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_images_go_to_no_other_host_than_the_one_that_was_named(broken, status):
    other, asked_there = broken(lambda images, *_: good(images))
    url, asked = broken(halfway((status, {}, {"Location": other})))
    fails_then_goes_on(url, f"sends on to {other}.*give that URL", examples(6))
    assert asked == [2, 2, 2, 2] and asked_there == []


def test_a_certificate_that_nobody_vouches_for_is_told_at_once(monkeypatch):
    tries = []

    def refuse(*_args, **_settings):
        tries.append(1)
        raise requests.exceptions.SSLError("[SSL: CERTIFICATE_VERIFY_FAILED] self-signed")

    oracle = RemoteOracle("https://127.0.0.1:9/x")
    monkeypatch.setattr(oracle._session, "post", refuse)
    with pytest.raises(RemoteError, match=r"certificate is not trusted.*who signed"):
        oracle(examples(2))
    assert tries == [1]


def test_a_question_that_is_no_json_is_not_blamed_on_the_connection(broken):
    url, asked = broken(lambda images, *_: good(images))
    with pytest.raises(RemoteError, match=r"the question is no JSON.*finite examples"):
        RemoteOracle(url)(torch.full((2, 4), float("nan")))
    assert asked == []


def test_a_host_that_can_be_none_is_told():
    with pytest.raises(RemoteError, match="check the URL"):
        RemoteOracle("http://a..b/x")(examples(1))
    with pytest.raises(TypeError, match="url must be a text"):
        RemoteOracle(3)


@pytest.mark.parametrize(
    ("label", "words"), [("9", "labels from 9 to 9"), ("'a'", "no integers"), ("NULL", "no integ")]
)
def test_a_label_that_no_service_gave_is_not_taken_from_the_file(broken, tmp_path, label, words):
    url, _ = broken(lambda images, *_: good(images))
    path, x = tmp_path / "answers", examples(3)
    RemoteOracle(url, classes=3, cache=path)(x)
    with closing(sqlite3.connect(path)) as file:
        file.execute(f"UPDATE answers SET label = {label}")
        file.commit()
    with pytest.raises(RobustnbError, match=words):
        RemoteOracle(url, classes=3, cache=path)(x)


def test_a_proxy_of_the_environment_does_not_stand_before_loopback(broken, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    url, _ = broken(lambda images, *_: good(images))
    assert torch.equal(RemoteOracle(url, retries=0)(examples(3)), truth(examples(3)))
