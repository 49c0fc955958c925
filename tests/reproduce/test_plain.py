"""Claims are readable in a terminal: their TeX becomes letters, everything else stays."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from robustnb.reproduce.plain import plain_text
from robustnb.reproduce.registry import load_all

CLAIMS = Path(__file__).parents[2] / "notebooks" / "claims"
COMMAND = re.compile(r"\\[A-Za-z]+")
OPERATORS = {"max", "min", "sup", "inf", "log", "exp"}
WORD = re.compile(r"[A-Za-z]{3,}")
FORMULA = re.compile(r"\$[^$]+\$")


@pytest.mark.parametrize(
    ("tex", "plain"),
    [
        (r"\frac12", "1/2"),
        (r"\tfrac{a+b}{2}", "(a+b)/2"),
        (r"\tfrac12(1-\tfrac1d)", "1/2(1-1/d)"),
        (r"\sqrt{1-\theta^2}", "√(1-θ^2)"),
        (r"\mathcal R_{\mathrm{rob}}(f)\le\psi^{-1}(u)", "R_rob(f) ≤ ψ^-1(u)"),
        (r"\mathcal I_{\mathrm{up,loss}}", "I_(up,loss)"),
        (r"\mathbb E\max_{X'}\phi(f)", "E max_X'ϕ(f)"),
        (r"d^{1/4}", "d^(1/4)"),
        (r"8\log d", "8 log d"),
        (r"\Pr\left[X>0\right]", "Pr[X>0]"),
        (r"\sim\mathcal N(0,I)", "∼ N(0,I)"),
        (r"2{,}048", "2,048"),
        (r"\lVert\theta\rVert_\infty", "‖θ‖_∞"),
        (r"H_{\hat\theta}^{-1}", "H_θ̂^-1"),
    ],
)
def test_a_formula_becomes_one_readable_line(tex, plain):
    assert plain_text(f"${tex}$") == plain


def test_what_stands_outside_the_dollars_is_kept():
    text = r"As $1/\lambda$ grows, *both* `x_1` and a^{b} stay; it costs \$5, or 10 %."
    assert plain_text(text) == "As 1/λ grows, *both* `x_1` and a^{b} stay; it costs $5, or 10 %."


def test_a_command_that_nobody_knows_keeps_its_name():
    assert plain_text(r"$\frobnicate x$") == "frobnicate x"


@pytest.mark.parametrize("paper", load_all(CLAIMS).values(), ids=lambda paper: paper.id)
def test_no_registered_claim_shows_tex(paper):
    for claim in paper.claims:
        for text in (claim.statement, *(part.title for part in claim.parts)):
            assert not set("\\$") & set(plain_text(text))


@pytest.mark.parametrize("paper", load_all(CLAIMS).values(), ids=lambda paper: paper.id)
def test_every_command_of_a_registered_claim_is_known(paper):
    for claim in paper.claims:
        for formula in FORMULA.findall(claim.statement):
            words = set(WORD.findall(plain_text(formula)))
            assert words - set(WORD.findall(COMMAND.sub(" ", formula))) <= OPERATORS


@pytest.fixture
def toy_with_tex(toy):
    path = toy.claims / "toy2020.yaml"
    text = path.read_text()
    assert "The treatment works." in text
    path.write_text(text.replace("The treatment works.", r"The treatment adds $\tfrac12\epsilon$."))
    return toy


@pytest.mark.parametrize("words", [["list"], ["claims"], ["why", "toy2020.C1"]])
def test_the_command_shows_claims_without_tex(toy_with_tex, robustnb, words):
    code, said, _ = robustnb(*words)
    assert code == 0
    assert "The treatment adds 1/2 ϵ." in said


def test_programs_get_the_tex(toy_with_tex, robustnb):
    code, said, _ = robustnb("list", "--json")
    assert code == 0 and r"$\\tfrac12\\epsilon$" in said
