"""The strip example: Table 1, the pairing bound, and where closed balls matter."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robustnb.theory.zhang2019 import strip_example, theorem_3_1_exact

widths = st.fractions(Fraction(1, 12), Fraction(1, 2), max_denominator=40)


@pytest.mark.parametrize("half", range(1, 12))
def test_the_table_of_the_paper(half: int) -> None:
    table = strip_example.strip_table(Fraction(1, 2 * half))
    assert table["Bayes rule"] == strip_example.StripRisks(Fraction(0), Fraction(1), Fraction(1))
    assert table["all +1"] == strip_example.StripRisks(Fraction(1, 2), Fraction(0), Fraction(1, 2))


@pytest.mark.parametrize(
    ("eps", "nat"), [(Fraction(3, 20), Fraction(11, 20)), (Fraction(1, 3), Fraction(2, 3))]
)
def test_all_one_is_not_half_wrong_unless_the_strips_pair_up(eps: Fraction, nat: Fraction) -> None:
    assert strip_example.strip_table(eps)["all +1"].nat == nat


@given(widths)
@settings(max_examples=60, deadline=None)
def test_every_strip_rule_decomposes_and_all_minus_one_is_optimal(eps: Fraction) -> None:
    table = strip_example.strip_table(eps)
    for risks in table.values():
        assert risks.rob == risks.nat + risks.bdy
        assert risks.rob >= strip_example.positive_mass(eps)
    assert table["all -1"].rob == strip_example.positive_mass(eps)


@given(widths, st.integers(1, 3), st.randoms(use_true_random=False))
@settings(max_examples=80, deadline=None)
def test_no_random_rule_beats_the_pairing_bound(eps: Fraction, cells: int, rng: object) -> None:
    count = len(strip_example.strips(eps, cells=cells))
    rule = [rng.choice([-1, 0, 1]) for _ in range(count)]  # type: ignore[attr-defined]
    risks = strip_example.strip_risks(eps, rule, cells=cells)
    assert risks.rob >= strip_example.positive_mass(eps)
    assert risks.rob == risks.nat + risks.bdy


@pytest.mark.parametrize(("strips", "cells"), [(4, 1), (4, 2), (6, 2), (4, 3)])
def test_half_is_the_smallest_robust_risk_of_all_rules(strips: int, cells: int) -> None:
    rules = strip_example.all_rules(strips * cells)
    assert strip_example.pairing_holds(rules, cells=cells).all()
    assert 2 * strip_example.robust_error_counts(rules, cells=cells).min() == strips * cells


def test_the_counts_are_the_exact_risks() -> None:
    eps, cells = Fraction(1, 4), 2
    rules = strip_example.all_rules(8, values=(-1, 0, 1))[::97]
    counts = strip_example.robust_error_counts(rules, cells=cells)
    for rule, count in zip(rules.tolist(), counts.tolist(), strict=True):
        assert strip_example.strip_risks(eps, rule, cells=cells).rob == Fraction(count, 8)


def test_a_rule_on_cells_has_the_risk_of_dense_sampling() -> None:
    eps, cells, rule = Fraction(1, 4), 2, [1, -1, 1, 1, -1, 1, 1, -1]
    fine = 40  # points per cell; the closed ball of a point has eps * 8 * fine points each side
    sign = np.repeat(rule, fine)
    label = np.where((np.arange(8 * fine) // (cells * fine)) % 2, 1, -1)
    reach = cells * fine
    wrong = [
        bool((sign[max(i - reach, 0) : i + reach + 1] * label[i] <= 0).any())
        for i in range(len(sign))
    ]
    assert Fraction(sum(wrong), len(wrong)) == strip_example.strip_risks(eps, rule, cells=cells).rob


def test_on_a_grid_open_balls_remove_the_whole_boundary() -> None:
    closed, opened = (
        theorem_3_1_exact.exact_risks(strip_example.grid_instance(6, closed=c))
        for c in (True, False)
    )
    assert (closed["rob"], opened["rob"]) == (1, 0)


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="0 < eps <= 1"):
        strip_example.strips(Fraction(0))
    with pytest.raises(ValueError, match="one a cell"):
        strip_example.strip_risks(Fraction(1, 4), [1, 1])
    with pytest.raises(ValueError, match="take fewer cells"):
        strip_example.all_rules(40)
