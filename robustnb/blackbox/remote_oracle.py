"""An oracle behind a URL: batches, retries, and answers that are kept."""

from __future__ import annotations

import time
from collections.abc import Collection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
import torch
from torch import Tensor

from robustnb import identity
from robustnb.attacks.validation import check_tensor
from robustnb.blackbox.adapter import Adapter
from robustnb.blackbox.answer_cache import AnswerCache, keys_of
from robustnb.blackbox.oracle import check_answers, check_budget
from robustnb.errors import RobustnbError
from robustnb.progress import progress
from robustnb.provenance import digest
from robustnb.scalars import finite, shown, whole

_CUT = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)
_PASSING = {408, 425, 429, 500, 502, 503, 504}  # what a later try may mend
_LONGEST_PAUSE = 60.0  # seconds between two tries
_SHOWN = 200  # characters of a service's own words


class RemoteError(RobustnbError):
    """A service did not answer as it should; what it answered before is kept."""


class RemoteOracle:
    """Labels (N,) int64 from a prediction service, for examples (N, ...).

    url: where questions are posted. adapter: the service's protocol. batch_size: examples in one
    request. cache: a file of answers, which later runs and other processes share; an example that
    stands in it is not asked again. budget: the most examples to ask. retries: further tries of one
    request after no connection, no answer within `silence` seconds, or a passing refusal (408, 425,
    429, 5xx), with pauses that double from `pause` seconds on, or as long as the service asks for.
    classes: labels must lie below it.

    `queries` counts the examples that this object had answered by the service. A call that fails
    raises RemoteError and keeps every answer that came before; the same call goes on from there.
    """

    def __init__(
        self,
        url: str,
        *,
        adapter: Adapter | None = None,
        classes: int | None = None,
        batch_size: int = 50,
        budget: int | None = None,
        cache: Path | str | None = None,
        retries: int = 5,
        pause: float = 0.5,
        silence: float = 300.0,
    ) -> None:
        """Nothing is asked yet."""
        if not isinstance(url, str):
            raise TypeError(f"url must be a text such as http://host/path, got {shown(url)}")
        if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).netloc:
            raise ValueError(f"url must begin with http:// or https:// and name a host, got {url}")
        self.url, self.adapter = url, adapter or Adapter()
        self.classes = None if classes is None else whole("classes", classes, least=2)
        self.batch_size = whole("batch_size", batch_size)
        self.budget = None if budget is None else whole("budget", budget, least=0)
        self.retries = whole("retries", retries, least=0)
        self.pause = finite("pause", pause, least=0)
        self.silence = finite("silence", silence, above=0)
        self.queries = 0
        self._cache = AnswerCache(cache, service=_service(url, self.adapter))
        self._session = requests.Session()
        self._session.trust_env = False  # a proxy must not stand between us and loopback

    def __call__(self, x: Tensor) -> Tensor:
        """The labels of x (N, ...), on its device."""
        check_tensor("x", x)
        keys = keys_of(x)
        known = self._cache.get(keys)
        self._check_range(known.values(), "the cache holds", "name another cache, or mend classes")
        first = {key: row for row, key in reversed(list(enumerate(keys))) if key not in known}
        rows = sorted(first.values())
        check_budget(self.queries, len(rows), self.budget)
        with progress(self.url, total=len(rows)) as bar:
            for start in range(0, len(rows), self.batch_size):
                part = rows[start : start + self.batch_size]
                labels = self._ask(x[part].detach().cpu()).tolist()
                answers = [(keys[row], label) for row, label in zip(part, labels, strict=True)]
                self._cache.put(answers)
                known.update(answers)
                self.queries += len(part)
                bar.advance(len(part))
        return torch.tensor([known[key] for key in keys], dtype=torch.int64, device=x.device)

    def close(self) -> None:
        """Close the connection and the file of answers."""
        self._session.close()
        self._cache.close()

    def _ask(self, x: Tensor) -> Tensor:
        """One request, tried again while that may help."""
        question = self.adapter.request(x)
        trouble = ""
        for attempt in range(self.retries + 1):
            asked_for = 0.0
            try:
                response = self._post(question)
            except _CUT as error:
                trouble = _words_of(error)
            else:
                if response.is_redirect:
                    place = _short(response.headers["Location"])
                    raise self._error(f"it sends on to {place}", "give that URL if you trust it")
                if response.ok:
                    return self._read(response, len(x))
                trouble = f"it answered {response.status_code}: {_short(response.text)}"
                if response.status_code not in _PASSING:
                    raise self._error(trouble, "check the URL and the adapter")
                asked_for = _seconds(response.headers.get("Retry-After"))
            if attempt < self.retries:
                time.sleep(min(max(self.pause * 2**attempt, asked_for), _LONGEST_PAUSE))
        raise self._error(
            f"{trouble} (tried {self.retries + 1} times)", "see whether the service still runs"
        )

    def _post(self, question: Any) -> requests.Response:
        """One answer; RemoteError at once for what no later try mends."""
        try:
            return self._session.post(
                self.url, json=question, headers=dict(self.adapter.headers),
                timeout=self.silence, allow_redirects=False,
            )  # fmt: skip
        except requests.exceptions.InvalidJSONError as error:
            advice = "pass finite examples, or mend the adapter"
            raise self._error(f"the question is no JSON ({_short(str(error))})", advice) from None
        except _CUT as error:
            if "CERTIFICATE_VERIFY_FAILED" not in str(error):
                raise
            advice = "check the name of the host, and who signed its certificate"
            raise self._error("its certificate is not trusted", advice) from None
        except (requests.RequestException, ValueError) as error:
            raise self._error(_words_of(error), "check the URL and the headers") from None

    def _read(self, response: requests.Response, count: int) -> Tensor:
        try:
            labels = check_answers(self.adapter.response(response.json()), count)
        except Exception as error:
            raise self._error(
                f"its answer is not {count} integer labels ({type(error).__name__}: "
                f"{_short(str(error))}); it begins {_short(response.text)!r}",
                "mend the adapter",
            ) from None
        self._check_range(labels.tolist(), "it answered", "mend the adapter or classes")
        return labels

    def _check_range(self, labels: Collection[int], whose: str, advice: str) -> None:
        least, most = min(labels, default=0), max(labels, default=0)
        if least < 0 or (self.classes is not None and most >= self.classes):
            raise self._error(
                f"{whose} labels from {least} to {most}, and classes is {self.classes}", advice
            )

    def _error(self, what: str, advice: str) -> RemoteError:
        return RemoteError(
            f"{self.url}: {what}. {len(self._cache)} answers of it are kept, {self.queries} of "
            f"them asked for by this object; {advice}, then make the same call again, which goes "
            "on from there"
        )


def _service(url: str, adapter: Adapter) -> str:
    """Whose answers are kept: the same URL means other labels through another adapter.

    Headers decide none, and a key among them may change.
    """
    if adapter == Adapter(headers=adapter.headers):
        return url
    ways = {"request": adapter.request, "response": adapter.response}
    known = {name: identity.describe(way, opaque=True) for name, way in ways.items()}
    return f"{url} through an adapter {digest(known)}"


def _words_of(error: Exception) -> str:
    if isinstance(error, requests.Timeout):
        return "no answer came in the time set by silence"
    return f"no connection ({_short(str(error))})"


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}..."


def _seconds(header: Any) -> float:
    """Retry-After in seconds; 0 where it is missing or a date."""
    try:
        return max(float(header), 0.0)
    except (TypeError, ValueError):
        return 0.0
