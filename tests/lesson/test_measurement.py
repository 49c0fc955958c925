"""`measure` takes raw outcomes only, keeps them exactly, and shows the same bytes each time."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from robustnb.lesson import measure
from robustnb.lesson.derive import Check, coverage
from robustnb.lesson.measurement import MIME, Count, build, decode_arm, encode_arm, measurements_of

PART = "zhang2019.C6.robust_up"
BITS = np.arange(500) < 412


def a_check(id: str = "c") -> Check:
    return coverage(id, 90, 2000, 0.05, wrong=300)


def notebook(*measurements: Any) -> dict[str, Any]:
    outputs = [
        {"output_type": "display_data", "data": {MIME: m, "text/plain": ""}} for m in measurements
    ]
    return {"cells": [{"cell_type": "markdown"}, {"cell_type": "code", "outputs": outputs}]}


@given(hnp.arrays(bool, st.integers(1, 300)))
@settings(max_examples=50, deadline=None)
def test_bits_come_back(outcomes: np.ndarray) -> None:
    arm = json.loads(json.dumps(encode_arm("a", outcomes)))
    assert arm["kind"] == "binary" and np.array_equal(decode_arm(arm), outcomes)


@given(hnp.arrays(np.float32, st.integers(1, 50), elements=st.floats(
    allow_nan=False, allow_infinity=False, width=32)))  # fmt: skip
@settings(max_examples=50, deadline=None)
def test_float32_values_come_back_exactly(outcomes: np.ndarray) -> None:
    arm = json.loads(json.dumps(encode_arm("a", outcomes), allow_nan=False))
    assert np.array_equal(decode_arm(arm).astype(np.float32), outcomes)


@given(hnp.arrays(np.float64, st.integers(1, 50), elements=st.floats(-1e9, 1e9)))
@settings(max_examples=50, deadline=None)
def test_float64_values_come_back_to_nine_digits(outcomes: np.ndarray) -> None:
    decoded = decode_arm(encode_arm("a", outcomes))
    np.testing.assert_allclose(decoded, outcomes, rtol=5.1e-9, atol=1e-300)


@given(st.integers(1, 200), st.data())
def test_counts_come_back(n: int, data: st.DataObject) -> None:
    successes = data.draw(st.integers(0, n))
    decoded = decode_arm(encode_arm("a", Count(successes, n)))
    assert decoded.sum() == successes and decoded.shape == (n,) and decoded.dtype == bool


@pytest.mark.parametrize(
    "outcomes",
    [torch.from_numpy(BITS), BITS, BITS.tolist(), tuple(BITS.tolist())],
    ids=["tensor", "array", "list", "tuple"],
)
def test_every_way_to_hold_outcomes_gives_the_same_json(outcomes: Any) -> None:
    assert build(PART, arms={"a": outcomes}) == build(PART, arms={"a": BITS})


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_tensors_with_gradients_are_taken_in_every_precision(dtype: torch.dtype) -> None:
    values = torch.tensor([0.5, 0.25], dtype=dtype, requires_grad=True)
    assert encode_arm("a", values)["values"] == [0.5, 0.25]


INTERVAL = SimpleNamespace(low=0.1, high=0.2)


@pytest.mark.parametrize(
    ("outcomes", "error", "fix"),
    [
        (True, TypeError, "per-example outcomes"),
        (np.True_, TypeError, "per-example outcomes"),
        (0.93, TypeError, "finished estimate"),
        (93, TypeError, "finished estimate"),
        (np.float32(0.93), TypeError, "finished estimate"),
        (np.array(0.93), TypeError, "finished estimate"),
        (torch.tensor(0.93), TypeError, "finished estimate"),
        (INTERVAL, TypeError, "finished estimate"),
        ("93 %", TypeError, "one outcome per example"),
        ([], ValueError, "at least one example"),
        (torch.zeros(0, dtype=torch.bool), ValueError, "at least one example"),
        ([0.1, math.nan], ValueError, "index 1"),
        (np.array([math.inf]), ValueError, "index 0"),
        (np.array([1, 0, 1]), TypeError, "astype"),
        (["a", "b"], TypeError, "astype"),
        (np.ones((2, 3), bool), ValueError, r"shape \(N,\)"),
        ({1.0, 2.0}, TypeError, "fixed order"),
        ((value for value in [1.0]), TypeError, "fixed order"),
        ({"a": 1.0}, TypeError, "fixed order"),
        (None, TypeError, "fixed order"),
    ],
)
def test_what_is_not_raw_outcomes_is_refused_with_the_fix(
    outcomes: Any, error: Any, fix: str
) -> None:
    with pytest.raises(error, match=fix):
        measure(PART, arms={"a": outcomes})


@pytest.mark.parametrize(("successes", "n"), [(5, 4), (-1, 4), (0, 0)])
def test_impossible_counts_are_refused(successes: int, n: int) -> None:
    with pytest.raises(ValueError, match="0 <= successes <= n"):
        Count(successes, n)


@pytest.mark.parametrize("count", [(0.5, 4), (True, 4), (3, 4.0)])
def test_counts_are_whole_numbers(count: Any) -> None:
    with pytest.raises(TypeError, match="must be an int"):
        Count(*count)


@pytest.mark.parametrize(
    "part",
    ["zhang2019.C6", "Zhang2019.C6.a", "zhang2019.c6.a", "zhang2019.C6.A", "zhang2019.C6.a.b",
     "zhang.C6.a", "zhang2019.C6.a\n", "", None],
)  # fmt: skip
def test_an_id_that_no_registry_has_is_refused(part: Any) -> None:
    with pytest.raises(ValueError, match="write it as in the registry"):
        measure(part, a_check())


@pytest.mark.parametrize(
    ("what", "error", "fix"),
    [
        (True, TypeError, "pass the Check"),
        ([True], TypeError, "pass the Check"),
        (0.5, TypeError, "arms="),
        ({"a": BITS}, TypeError, "arms="),
        (None, ValueError, "nothing to measure"),
        ([], ValueError, "nothing to measure"),
    ],
)
def test_what_is_not_a_check_is_refused_with_the_fix(what: Any, error: Any, fix: str) -> None:
    with pytest.raises(error, match=fix):
        measure(PART, what)


def test_two_checks_with_one_id_are_refused() -> None:
    with pytest.raises(ValueError, match="give each its own"):
        measure(PART, [a_check(), a_check()])


@pytest.mark.parametrize(
    ("threat", "error", "fix"),
    [
        ({"eps": math.nan}, ValueError, "finite"),
        ({"eps": -0.1}, ValueError, "pixel units"),
        ({"eps": True}, ValueError, "pixel units"),
        ({"norm": "Linf"}, ValueError, "'linf'"),
        ({"seconds": 3.0}, ValueError, "changes between runs"),
        ({"data": {"mnist"}}, TypeError, "sorted"),
        ({"eps": torch.tensor(0.3)}, TypeError, "float"),
        ({3: 4}, TypeError, "keys must be strings"),
        ("linf", TypeError, "must be a dict"),
    ],
)
def test_a_threat_that_is_not_plain_json_is_refused(threat: Any, error: Any, fix: str) -> None:
    with pytest.raises(error, match=fix):
        measure(PART, arms={"a": BITS}, threat=threat)


@pytest.mark.parametrize("arms", [{}, [BITS], {"": BITS}, {1: BITS}])
def test_arms_need_names(arms: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        measure(PART, arms=arms)


def test_the_measurement_is_what_the_ledger_expects() -> None:
    threat = {"norm": "linf", "eps": 0.3, "attack": "PGD-20", "steps": 20, "n": 500}
    found = build(PART, a_check(), arms={"TRADES": BITS}, threat=threat, audit={"sane": True})
    assert (found["schema"], found["claim"], found["part"]) == (1, "zhang2019.C6", "robust_up")
    assert found["threat"] == threat and found["audit"] == {"sane": True}
    assert found["checks"] == [a_check().to_json()] and found["arms"]["TRADES"]["n"] == 500


@pytest.fixture(scope="module")
def shell() -> Iterator[Any]:
    from IPython.core.interactiveshell import InteractiveShell

    yield InteractiveShell.instance()
    InteractiveShell.clear_instance()


def test_a_notebook_gets_json_html_and_text(shell: Any) -> None:
    from IPython.utils.capture import capture_output

    with capture_output() as captured:
        arms = {"TRADES 1/lambda=6": BITS, "<b>": np.linspace(0, 1, 5)}
        assert measure(PART, a_check(), arms=arms, threat={"eps": 0.3}) is None
    (output,) = captured.outputs
    assert output.data[MIME] == build(PART, a_check(), arms=arms, threat={"eps": 0.3})
    first = f"{PART}: TRADES 1/lambda=6 412/500, <b> mean 0.5 (n=5)"
    assert output.data["text/plain"].splitlines()[0] == first
    assert f"{PART}: ✓ c: " in output.data["text/plain"]
    assert "&lt;b&gt;" in output.data["text/html"] and "rnb-check" in output.data["text/html"]
    assert "style=" not in output.data["text/html"]


def test_outside_a_notebook_the_text_is_printed(capsys: Any) -> None:
    measure(PART, arms={"a": Count(412, 500)})
    assert capsys.readouterr().out == f"{PART}: a 412/500\n"


def test_measurements_are_read_back_in_page_order() -> None:
    one, two = build(PART, a_check()), build("zhang2019.C6.up", arms={"a": BITS})
    assert measurements_of(json.loads(json.dumps(notebook(one, two)))) == [one, two]
    assert measurements_of({"cells": []}) == []


def test_a_part_measured_twice_is_refused() -> None:
    one = build(PART, a_check())
    with pytest.raises(ValueError, match="measured twice"):
        measurements_of(notebook(one, one))


@pytest.mark.parametrize(
    "damage",
    [
        {"schema": 2},
        {"claim": "zhang2019"},
        {"extra": 1},
        {"arms": {}, "checks": []},
        {"arms": {"a": {"kind": "binary", "n": 500, "bits": "AAAA"}}},
        {"arms": {"a": {"kind": "binary", "n": 500, "bits": "?"}}},
        {"arms": {"a": {"kind": "real", "n": 2, "values": [1.0]}}},
        {"arms": {"a": {"kind": "real", "n": 1, "values": [math.nan]}}},
        {"arms": {"a": {"kind": "count", "n": 3, "successes": 4}}},
        {"arms": {"a": {"kind": "count", "n": 0, "successes": 0}}},
        {"arms": {"a": {"kind": "mean", "n": 3}}},
        {"checks": [{"id": "c"}]},
        {"threat": {"eps": math.inf}},
    ],
    ids=str,
)
def test_a_damaged_measurement_is_refused(damage: dict[str, Any]) -> None:
    sound = build(PART, a_check(), arms={"a": BITS})
    with pytest.raises(ValueError):
        measurements_of(notebook({**sound, **damage}))


def test_reading_measurements_needs_no_torch() -> None:
    code = (
        "import sys; from robustnb.lesson.measurement import measurements_of;"
        "measurements_of({'cells': []}); import robustnb.lesson.derive, robustnb.lesson.plot;"
        "print([m for m in ('torch', 'scipy', 'sympy', 'mpmath', 'matplotlib', 'IPython')"
        " if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
