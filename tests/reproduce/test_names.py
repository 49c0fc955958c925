"""Notebooks whose names no paper can have, and papers without a registry."""

from __future__ import annotations

import pytest

from robustnb.errors import UsageError
from robustnb.reproduce import registry

STRANGE = ["My Draft.md", "doe_2020.md", "Toy2020.md", "2020toy.md", "doe2020-copy.md", "[a].md"]


@pytest.fixture
def strange(toy):
    """Files beside the notebooks that are none, or cannot be called so."""
    for name in (*STRANGE, ".hidden.md", ".md", "README.md", "readme.md"):
        (toy.notebooks / name).write_text("prose only\n")
    for name in (".hidden.yaml", "My Draft.yaml"):
        (toy.claims / name).write_text("no: registry\n")


@pytest.mark.parametrize("command", ["list", "claims", "records list", "reproduce --dry-run"])
def test_a_notebook_whose_name_no_paper_can_have_is_told_and_left_out(strange, robustnb, command):
    code, out, err = robustnb(*command.split())
    assert code == 0 and "Draft" not in out
    told = [line.partition(" is left out: ")[0] for line in err.splitlines() if "left out" in line]
    assert told == sorted(f"notebooks/{name}" for name in STRANGE)
    assert (
        "notebooks/My Draft.md is left out: " in err and "rename it, for example to mydraft" in err
    )


@pytest.mark.parametrize("paper", ["My Draft", "doe_2020", "[a]"])
def test_a_notebook_with_such_a_name_is_refused_alone(strange, robustnb, paper):
    code, _, err = robustnb("run", paper)
    assert code == 2 and "a paper's name is lower-case letters and digits; rename it" in err
    assert robustnb("run", "README")[2].startswith("robustnb: unknown paper 'README'")


def test_a_notebook_without_a_registry_is_listed(toy, robustnb):
    (toy.notebooks / "doe2020.md").write_bytes(toy.notebook("toy2020").read_bytes())
    assert "doe2020  (no registry)" in robustnb("list")[1]
    assert robustnb("claims")[0] == 0 and robustnb("claims", "doe2020")[0] == 0
    for command in ("register", "power"):
        code, _, err = robustnb(command, "doe2020")
        assert code == 2 and "doe2020 has no registry yet; write notebooks/claims/doe2020" in err


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("  C1:", "  c1:", "'c1' cannot be the id of a claim: write C and a number"),
        ("      more:", "      More-1:", "'More-1' cannot be the id of a part"),
        ("      more:", "      yes:", "'True' cannot be the id of a part"),
        ("[treated, control]", "[treated, treated]", r"parts\.more: .* an arm with itself"),
        ("difference: [treated, control]", "max_step: [a, b, a]", "compares an arm with itself"),
    ],
)
def test_a_registry_lists_only_what_a_notebook_can_measure(toy, edit, old, new, told):
    edit(old, new, "claims/toy2020.yaml")
    with pytest.raises(UsageError, match=told):
        registry.load(toy.claims / "toy2020.yaml")
