"""Symbolic identities, enumerations, counterexamples and probabilities."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import sympy
from scipy.stats import binom

from robustnb.lesson.derive import (
    choice,
    coverage,
    exact,
    fails,
    identity,
    integer,
    probability,
    real,
)

x, y = sympy.symbols("x y", positive=True)


@pytest.mark.parametrize(
    ("lhs", "rhs", "wrong"),
    [
        ((x + y) ** 2, x**2 + 2 * x * y + y**2, x**2 + y**2),
        (sympy.tanh(x), (1 - sympy.exp(-2 * x)) / (1 + sympy.exp(-2 * x)), 1.05 * sympy.tanh(x)),
        (sympy.sin(x) ** 2, 1 - sympy.cos(x) ** 2, 1 + sympy.cos(x) ** 2),
        (sympy.Integral(2 * x, (x, 0, y)), y**2, y**2 * sympy.Rational(21, 20)),
        (sympy.diff(sympy.log(1 + sympy.exp(-x)), x), -1 / (1 + sympy.exp(x)), 1 / sympy.exp(x)),
        (sympy.Matrix([[x, y]]) * 2, sympy.Matrix([[2 * x, 2 * y]]), sympy.Matrix([[2 * x, y]])),
    ],
    ids=["binomial", "tanh", "pythagoras", "integral", "logistic", "matrix"],
)  # fmt: skip
def test_identity_proves_a_true_one_and_refuses_the_wrong(lhs: Any, rhs: Any, wrong: Any) -> None:
    proved = identity("i", lhs, rhs, wrong=wrong)
    assert proved.ok and proved.kind == "proof" and "proved symbolically" in str(proved)
    refused = identity("i", lhs, wrong, wrong=rhs)
    assert not refused.holds and not refused.wrong_refuted and not refused.ok


def test_an_identity_written_another_way_is_not_a_wrong_form() -> None:
    check = identity("i", x**2 - 1, (x - 1) * (x + 1), wrong={"factored": (x - 1) * (1 + x)})
    assert check.holds and not check.ok and "not caught: factored" in check.detail


def test_exact_over_a_finite_domain_is_a_proof() -> None:
    check = exact(
        "gauss",
        {"n": integer(0, 30)},
        lambda n: sum(range(n + 1)),
        lambda n: Fraction(n * (n + 1), 2),
        wrong={"dropped term": lambda n: Fraction(n * n, 2)},
    )
    assert check.ok and check.kind == "proof" and check.n == 31 and check.worst == 0


def test_exact_enumerates_every_point_of_a_product() -> None:
    seen = set()

    def lhs(a: int, b: str) -> int:
        seen.add((a, b))
        return a

    domain = {"a": integer(1, 3), "b": choice("uv")}
    check = exact("e", domain, lhs, lambda a, b: a, wrong=lambda a, b: -a)
    assert check.n == 6 and seen == {(a, b) for a in (1, 2, 3) for b in "uv"}


def test_exact_sees_an_error_that_float64_cannot() -> None:
    tiny = Fraction(1, 10**40)
    check = exact("e", [1, 2], lambda c: c, lambda c: c + tiny, wrong=lambda c: -c, space="two")
    assert not check.holds and check.kind == "check" and check.worst == 1e-40


def test_exact_checks_an_order() -> None:
    cases = [Fraction(k, 7) for k in range(8)]
    settings: Any = {"relation": "<=", "space": "sevenths", "exhausted": True}
    square: Any = lambda c: c * c  # noqa: E731
    check = exact("e", cases, square, lambda c: c, wrong=lambda c: c * Fraction(19, 20), **settings)
    assert check.ok and check.kind == "proof"
    assert not exact("e", cases, lambda c: c, square, wrong=lambda c: -1, **settings).holds


def test_exact_takes_pairs_and_truth_values() -> None:
    pairs = [(Fraction(1, 3), Fraction(2, 6)), (1, 1)]
    assert exact("e", pairs, wrong=[(1, 2)], space="two pairs").ok
    assert exact("e", [True, True], wrong=[True, False], space="two statements").ok
    assert not exact("e", [True, False], wrong=[False], space="two statements").holds


def test_exact_refuses_floats_and_infinite_domains() -> None:
    with pytest.raises(TypeError, match="Fraction, int or bool"):
        exact("e", [(0.5, 0.5)], wrong=[(0, 1)], space="one")
    with pytest.raises(TypeError, match="not finite"):
        exact("e", {"x": real(0, 1)}, lambda x: 0, lambda x: 0, wrong=lambda x: 1)
    with pytest.raises(TypeError, match="say in words"):
        exact("e", [True], wrong=[False])


def test_fails_verifies_a_counterexample() -> None:
    check = fails("f", Fraction(4, 5), lambda a: a - 1, repaired=lambda a: a)
    assert check.ok and check.kind == "proof" and check.worst == -0.2
    assert "the repaired statement holds there" in check.detail


@pytest.mark.parametrize("slack", [0.0, 0.3, -1e-12])
def test_fails_refuses_a_case_that_is_no_clear_counterexample(slack: float) -> None:
    assert not fails("f", "case", lambda _: slack).ok


def test_fails_refuses_a_repair_that_is_broken_too() -> None:
    assert not fails("f", 0.5, lambda a: a - 1, repaired=lambda a: a - 2).ok


def flips(rng: np.random.Generator, n: int) -> np.ndarray:
    return rng.random(n) < 0.25


def test_probability_confirms_the_truth_and_refuses_ten_per_cent_off() -> None:
    check = probability("p", flips, 0.25, wrong={"up": 0.275, "down": 0.225})
    assert check.ok and check.n == 20_000 and "99.9 % interval" in check.detail
    assert not probability("p", flips, 0.275, wrong=0.5).holds


def test_a_one_sided_probability_is_refused_only_on_its_side() -> None:
    assert probability("p", flips, 0.5, relation="<=", wrong=0.2).ok
    assert probability("p", flips, 0.1, relation=">=", wrong=0.3).ok
    assert not probability("p", flips, 0.2, relation="<=", wrong=0.1).holds
    assert not probability("p", flips, 0.5, relation="<=", wrong=0.6).ok


@pytest.mark.parametrize(
    "simulate", [lambda rng, n: 0.25, lambda rng, n: rng.random(n), lambda rng, n: [True]]
)
def test_probability_needs_one_truth_value_a_draw(simulate: Any) -> None:
    with pytest.raises(TypeError, match="one True or False per draw"):
        probability("p", simulate, 0.25, wrong=0.5)


@pytest.mark.parametrize(("n", "alpha"), [(2000, 0.05), (5000, 0.05), (20_000, 0.001)])
def test_coverage_turns_at_the_quantile_of_the_binomial(n: int, alpha: float) -> None:
    allowed = int(binom.ppf(0.999, n, alpha))
    at, above = (coverage("c", allowed + k, n, alpha, wrong=n) for k in (0, 1))
    assert at.ok and not above.ok and at.kind == "coverage"
    assert (at.misses, at.alpha) == (allowed, alpha)


def test_coverage_counts_truth_values() -> None:
    missed = np.arange(2000) < 90
    assert coverage("c", missed, 2000, 0.05, wrong=~missed).misses == 90


def test_coverage_is_not_ok_if_the_wrong_bound_covers_too() -> None:
    check = coverage("c", 90, 2000, 0.05, wrong={"half as wide": 100})
    assert check.holds and not check.ok


@pytest.mark.parametrize(
    ("misses", "n", "error"),
    [
        (10, 1999, ValueError),
        (2001, 2000, TypeError),
        (0.05, 2000, TypeError),
        (-1, 2000, TypeError),
    ],
)
def test_coverage_refuses_few_draws_and_impossible_counts(misses: Any, n: int, error: Any) -> None:
    with pytest.raises(error):
        coverage("c", misses, n, 0.05, wrong=n)
