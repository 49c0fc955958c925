"""The checks confirm true steps, refuse wrong ones, and say so the same way each time."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robustnb.lesson.check import Check, error_bound, slack_words
from robustnb.lesson.derive import (
    choice,
    equality,
    holds,
    inequality,
    integer,
    real,
    simplex,
    vector,
)
from robustnb.lesson.domains import point_at

UNIT = {"x": real(0, 1), "y": real(0, 1)}


def never(**_: Any) -> float:
    return -1e9


def binomial(x: float, y: float) -> float:
    return (x + y) ** 2


WRONG_BINOMIALS = {
    "dropped term": lambda x, y: x * x + y * y,
    "constant off by 5 %": lambda x, y: x * x + 1.05 * 2 * x * y + y * y,
    "flipped sign": lambda x, y: x * x - 2 * x * y + y * y,
}


def test_equality_confirms_a_true_identity() -> None:
    check = equality(
        "b", binomial, lambda x, y: x * x + 2 * x * y + y * y, domain=UNIT, wrong=WRONG_BINOMIALS
    )
    assert check.ok and check.holds and check.wrong_refuted
    assert check.kind == "check" and check.n == 1000 and check.worst == 1e-12


@pytest.mark.parametrize("form", WRONG_BINOMIALS.values(), ids=WRONG_BINOMIALS)
def test_equality_refuses_a_wrong_form(form: Any) -> None:
    check = equality("b", binomial, form, domain=UNIT, wrong=never)
    assert not check.ok and not check.holds and check.wrong_refuted


def test_a_check_whose_wrong_form_is_true_is_not_ok() -> None:
    check = equality("b", binomial, binomial, domain=UNIT, wrong={"same": binomial})
    assert check.holds and not check.wrong_refuted and not check.ok
    assert "not caught: same" in check.detail and "NOT caught" in str(check)


def test_one_missed_wrong_form_among_several_is_named() -> None:
    forms = {**WRONG_BINOMIALS, "harmless": binomial}
    check = equality("b", binomial, binomial, domain=UNIT, wrong=forms)
    assert not check.ok and "not caught: harmless" in check.detail


def test_equality_finds_an_error_on_a_small_part_of_the_domain() -> None:
    def bump(x: float, y: float) -> float:
        return max(0.0, 1e-2 - (x - 0.31) ** 2 - (y - 0.77) ** 2)

    check = equality("bump", bump, lambda x, y: 0.0, domain=UNIT, wrong=never)
    assert not check.holds
    assert check.worst == pytest.approx(1e-2, rel=1e-2)


def test_equality_compares_arrays_entry_by_entry() -> None:
    domain = {"p": simplex(4)}
    check = equality(
        "p", lambda p: p / p.sum(), lambda p: p, domain=domain, wrong=lambda p: p[::-1]
    )
    assert check.ok


def test_digits_resolve_what_float64_cannot() -> None:
    import mpmath

    sides = (lambda x: mpmath.expm1(x) - x, lambda x: mpmath.exp(x) - 1 - x)
    domain = {"x": real(1e-9, 1e-8)}
    check = equality(
        "e", *sides, domain=domain, wrong=lambda x: x * x / 2.1, digits=60, tol=1e-30, n=200
    )
    assert check.ok and check.worst == 1e-30 and "below 1e-30" in check.detail


@pytest.mark.parametrize(
    "form",
    [lambda x, y: (x * x + y * y) / 2.1, lambda x, y: x * x / 2, lambda x, y: -(x * x + y * y) / 2],
    ids=["constant off by 5 %", "dropped term", "flipped sign"],
)
def test_inequality_refuses_a_wrong_form(form: Any) -> None:
    check = inequality("am-gm", lambda x, y: x * y, form, domain=UNIT, wrong=never)
    assert not check.holds and check.worst is not None and check.worst < 0


def test_a_tight_inequality_holds_with_slack_zero() -> None:
    check = inequality(
        "am-gm",
        lambda x, y: math.sqrt(x * y),
        lambda x, y: (x + y) / 2,
        domain={"x": real(0.5, 2), "y": real(3, 4)},
        wrong=lambda x, y: (x + y) / 2.1,
    )
    # the means are nearest at x = 2, y = 3, a corner
    assert check.ok and check.worst == pytest.approx(2.5 - math.sqrt(6), rel=1e-2)
    assert "near x = 2, y = 3" in check.detail
    tight = inequality(
        "am-gm",
        lambda x, y: x * y,
        lambda x, y: (x * x + y * y) / 2,
        domain={"x": real(0.2, 1), "y": real(0.1, 0.6)},
        wrong=lambda x, y: (x * x + y * y) / 2.1,
    )
    assert tight.ok and tight.worst == 0.0 and "0 to six decimals" in tight.detail


def test_inequality_finds_a_violation_in_a_tiny_region() -> None:
    def slack(x: float, y: float) -> float:
        return (x - 0.3137) ** 2 + (y - 0.7) ** 2 - 1e-6  # negative on 3 millionths of the square

    check = inequality("tiny", lambda x, y: 0.0, slack, domain=UNIT, wrong=never)
    assert not check.holds and check.worst == pytest.approx(-1e-6, rel=1e-2)


def test_the_search_reaches_the_floor_of_a_curved_valley() -> None:
    def rosenbrock(x: float, y: float) -> float:
        return 100 * (y - x * x) ** 2 + (1 - x) ** 2 + 0.5

    domain = {"x": real(-2, 2), "y": real(-1, 3)}
    check = inequality("r", lambda x, y: 0.0, rosenbrock, domain=domain, wrong=never, n=4000)
    assert check.worst == pytest.approx(0.5, abs=2e-3)


def test_the_search_reaches_the_floor_of_a_kink() -> None:
    def kink(x: float, y: float) -> float:
        return 10 * abs(x - y) + abs(x + y - 0.777) + 0.25

    check = inequality("k", lambda x, y: 0.0, kink, domain=UNIT, wrong=never)
    assert check.worst == pytest.approx(0.25, abs=2e-3)


def test_pinsker_holds_and_its_constant_cannot_be_bettered() -> None:
    def kl(p: Any, q: Any) -> float:
        return float(sum(a * math.log(a / b) for a, b in zip(p, q, strict=True) if a > 0))

    check = inequality(
        "pinsker",
        lambda p, q: np.abs(p - q).sum() ** 2 / 2,
        kl,
        domain={"p": simplex(2), "q": simplex(2)},
        where=lambda p, q: min(q) > 1e-3,
        wrong={"constant off by 5 %": lambda p, q: kl(p, q) / 1.05},
    )
    assert check.ok and check.worst == 0.0


def test_where_keeps_points_inside_the_constraint() -> None:
    seen: list[bool] = []

    def smaller(x: float, y: float) -> float:
        seen.append(x <= y)
        return x

    check = inequality(
        "order", smaller, lambda x, y: y, domain=UNIT, where=lambda x, y: x <= y, wrong=never
    )
    assert check.ok and all(seen) and check.worst == 0.0


def test_an_empty_constraint_is_an_error() -> None:
    with pytest.raises(ValueError, match="widen the domain"):
        equality("w", binomial, binomial, domain=UNIT, where=lambda x, y: False, wrong=never)


def test_holds_keeps_the_smallest_slack_and_its_case() -> None:
    check = holds(
        "h",
        [3.0, 1.0, 2.0],
        lambda case: case - 1,
        space="three numbers",
        wrong={"shifted": lambda case: case - 1.05},
    )
    assert check.ok and check.worst == 0.0 and check.n == 3
    assert "at 1" in check.detail


@pytest.mark.parametrize("shift", [1.5, 3.5])
def test_holds_refuses_a_statement_with_a_violated_case(shift: float) -> None:
    cases = [3.0, 1.0, 2.0]
    check = holds("h", cases, lambda c: c - shift, space="numbers", wrong=lambda c: -c)
    assert not check.ok and check.worst == pytest.approx(1 - shift)


def test_holds_needs_cases() -> None:
    with pytest.raises(ValueError, match="no cases"):
        holds("h", [], lambda case: 1.0, space="none", wrong=lambda case: -1.0)


@pytest.mark.parametrize("wrong", [None, {}])
def test_a_step_without_a_wrong_form_is_refused(wrong: Any) -> None:
    with pytest.raises(TypeError, match="wrong= is needed"):
        equality("b", binomial, binomial, domain=UNIT, wrong=wrong)


@pytest.mark.parametrize(
    ("side", "error", "words"),
    [
        (lambda x, y: math.log(0), ValueError, "narrow the domain"),
        (lambda x, y: float("nan"), ValueError, "not a number"),
        (lambda x, y: x > y, TypeError, "return a number"),
        (lambda x, y: "0", TypeError, "return a number"),
    ],
    ids=["domain error", "nan", "truth value", "text"],
)
def test_a_side_that_is_no_number_is_refused(side: Any, error: Any, words: str) -> None:
    with pytest.raises(error, match=words):
        inequality("s", side, binomial, domain=UNIT, wrong=never)


def test_an_infinite_larger_side_is_no_violation() -> None:
    check = inequality(
        "log", lambda x: 0.0, lambda x: math.inf if x == 0 else -math.log(x),
        domain={"x": real(0, 1)}, wrong=lambda x: -1.0,
    )  # fmt: skip
    assert check.ok and check.worst == 0.0


def test_an_infinite_smaller_side_is_a_violation() -> None:
    check = inequality("inf", lambda x: math.inf, lambda x: 1.0, domain={"x": real(0, 1)},
                       wrong=lambda x: 0.0)  # fmt: skip
    assert not check.holds and json.dumps(check.to_json(), allow_nan=False)


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_points_lie_in_their_domain(seed: int) -> None:
    domain = {
        "a": real(-2, 3),
        "b": real(0, 1, ends=False),
        "c": real(1e-3, 1e3, log=True),
        "k": integer(-1, 4),
        "p": simplex(5),
        "v": vector(3, -1, 1),
        "w": choice(["u", "v"]),
    }
    rng = np.random.default_rng(seed)
    unit = np.round(rng.random(13), rng.integers(0, 3)).tolist()
    point = point_at(domain, unit)
    assert -2 <= point["a"] <= 3 and 0 < point["b"] < 1 and 1e-3 <= point["c"] <= 1e3
    assert point["k"] in range(-1, 5) and point["w"] in ("u", "v")
    assert point["p"].min() >= 0 and point["p"].sum() == pytest.approx(1) and len(point["p"]) == 5
    assert np.abs(point["v"]).max() <= 1


@pytest.mark.parametrize(
    "make", [lambda: real(1, 0), lambda: real(0, 1, log=True), lambda: integer(2, 1),
             lambda: simplex(1), lambda: choice([]), lambda: vector(0, 0, 1)]
)  # fmt: skip
def test_an_impossible_domain_is_refused(make: Any) -> None:
    with pytest.raises(ValueError):
        make()


def test_the_same_check_twice_is_the_same_to_the_byte() -> None:
    def run() -> Check:
        return inequality(
            "am-gm", lambda x, y: x * y, lambda x, y: (x * x + y * y) / 2, domain=UNIT,
            wrong=lambda x, y: x,
        )  # fmt: skip

    assert run() == run()
    assert run()._repr_mimebundle_() == run()._repr_mimebundle_()
    assert json.dumps(run().to_json()) == json.dumps(run().to_json())


def test_rounding_noise_does_not_change_the_text() -> None:
    def noisy(noise: float) -> str:
        return str(
            equality(
                "b", lambda x, y: binomial(x, y) * (1 + noise), binomial, domain=UNIT, wrong=never
            )
        )

    assert noisy(0.0) == noisy(2.3e-16) == noisy(-1e-15)


def test_noise_in_the_last_bits_does_not_change_a_tight_slack() -> None:
    def text(noise: float) -> str:
        return str(
            inequality(
                "exp",
                lambda x, y: 1 + x - y,
                lambda x, y: math.exp(x - y) * (1 + noise),
                domain=UNIT,
                wrong=lambda x, y: math.exp(x - y) / 1.05,
            )
        )

    assert text(0.0) == text(2.3e-16) == text(-4.5e-16)


@pytest.mark.parametrize(
    ("error", "bound"), [(0.0, 1e-12), (2e-16, 1e-12), (3e-10, 1e-9), (1e-9, 1e-9)]
)
def test_an_error_is_shown_as_the_power_of_ten_above(error: float, bound: float) -> None:
    assert error_bound(error) == bound


@given(st.floats(min_value=2e-12, max_value=1e6))
def test_the_shown_bound_is_above_the_error_by_less_than_ten(error: float) -> None:
    assert error <= error_bound(error) * (1 + 1e-8) and error_bound(error) <= 10.0001 * error


def test_slacks_read_as_words() -> None:
    assert slack_words(0.12345) == "0.123"
    assert slack_words(1e-8) == "0 to six decimals"
    assert slack_words(-1e-8) == "-1e-08"
    assert slack_words(math.inf) == "infinite"


def test_a_check_survives_json() -> None:
    check = equality("b", binomial, binomial, domain=UNIT, wrong=WRONG_BINOMIALS)
    assert Check.from_json(json.loads(json.dumps(check.to_json()))) == check


def test_html_escapes_what_the_author_wrote() -> None:
    check = equality(
        "a<b", binomial, binomial, domain=UNIT, wrong={"<i>": WRONG_BINOMIALS["dropped term"]},
        says="x < y & z",
    )  # fmt: skip
    block = check.to_html()
    assert "a&lt;b" in block and "&lt;i&gt;" in block and "x &lt; y &amp; z" in block
    assert "rnb-check rnb-ok" in block and "style=" not in block and "✓" in block


def test_a_failed_check_shows_its_mark() -> None:
    check = equality("b", binomial, lambda x, y: 0.0, domain=UNIT, wrong=never)
    assert str(check).startswith("✗ b: counterexample among") and "rnb-bad" in check.to_html()


@pytest.mark.parametrize("id", ["", " ", "a\nb", 3])
def test_a_check_needs_a_one_line_id(id: Any) -> None:
    with pytest.raises(ValueError, match="one-line id"):
        equality(id, binomial, binomial, domain=UNIT, wrong=never)
