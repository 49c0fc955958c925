from __future__ import annotations

import re

import pytest

from robustnb.errors import UsageError
from robustnb.reproduce.parameters import override, parse_assignments, read_parameters

CELL = """
seed: int = 0
eps: float = 0.1  # radius, in pixels
fast: bool = True
name: str = "x"
betas: list[float] = [1, 6]
steps: int = 3
flags: list[bool] = []
"""


@pytest.fixture
def declared():
    return read_parameters(CELL, where="x.md")


def test_declared_parameters_have_name_type_default_and_comment(declared):
    assert declared["eps"].annotation == "float"
    assert declared["eps"].help == "radius, in pixels"
    assert declared["betas"].default == [1.0, 6.0]


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("eps=1e-3", {"eps": 1e-3}),
        ("eps=1", {"eps": 1.0}),
        ("fast=False", {"fast": False}),
        ("name=007", {"name": "007"}),
        ("betas=[1, 2.5]", {"betas": [1.0, 2.5]}),
        ("eps=8 / 255", {"eps": 8 / 255}),
        ("eps=-1e-3", {"eps": -1e-3}),
        ("steps=1_000", {"steps": 1000}),
        ("steps=2**10", {"steps": 1024}),
        ("steps=-3", {"steps": -3}),
        ("flags=[true, False]", {"flags": [True, False]}),
    ],
)
def test_a_word_is_read_as_the_declared_type(declared, word, value):
    assert parse_assignments(declared, [word]) == value


@pytest.mark.parametrize(
    "word",
    [
        "steps=1.5",
        "steps=true",
        "steps=1e3",
        "steps=",
        "steps=6 / 2",
        "steps=007",
        "steps=" + "9" * 5000,
        "fast=1",
        "fast=yes",
        "eps=abc",
        "eps=NaN",
        "eps=inf",
        "eps=1e400",
        "eps='1e-3'",
        "eps=1 / 0",
        "eps=(-8) ** 0.5",
        "eps=9 ** 9 ** 9",
        "eps=__import__('os').getpid()",
        "eps=" + "-" * 100_000 + "1",
        "betas=3",
        "betas=[[1]]",
        'betas=["a"]',
    ],
)
def test_a_value_of_another_type_is_refused_with_an_example(declared, word):
    with pytest.raises(UsageError, match="write") as caught:
        parse_assignments(declared, [word])
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 200


def test_a_wrong_item_of_a_list_is_named_by_its_place():
    declared = read_parameters('names: list[str] = ["a"]\nlrs: list[float] = [1]', where="x.md")
    for word, why in [
        ('names=["a", 3]', """parameter 'names[1]' is str, got 3; write "text" there"""),
        ('lrs=["a"]', "parameter 'lrs[0]' is float, got 'a'; write 0.1 there"),
    ]:
        with pytest.raises(UsageError, match=re.escape(why)):
            parse_assignments(declared, [word])


@pytest.mark.parametrize("word", [f"steps={2**63}", f"steps={-(2**63) - 1}", "steps=10**400"])
def test_an_integer_beyond_64_bits_is_refused(declared, word):
    with pytest.raises(UsageError, match="too large"):
        parse_assignments(declared, [word])


def test_an_integer_too_large_for_a_float_is_refused(declared):
    with pytest.raises(UsageError, match="too large for a float"):
        parse_assignments(declared, ["eps=10**400"])


def test_text_that_yaml_made_of_a_number_is_refused_with_the_number(declared):
    with pytest.raises(UsageError, match=r"^here: .* got '1e-3'; write eps=0\.001"):
        override(declared, {"eps": "1e-3"}, where="here: ")


@pytest.mark.parametrize("words", [["eps=1", "eps=2"], ["eps=1", "eps=1"]])
def test_a_parameter_given_twice_is_refused(declared, words):
    with pytest.raises(UsageError, match="'eps' is given twice"):
        parse_assignments(declared, words)


def test_the_seed_is_refused_and_its_option_named(declared):
    with pytest.raises(UsageError, match="write --seed 3 instead"):
        parse_assignments(declared, ["seed=3"])


def test_an_unknown_parameter_is_refused_with_the_nearest_name(declared):
    with pytest.raises(UsageError, match="did you mean 'betas'"):
        parse_assignments(declared, ["beta=3"])


def test_a_word_without_equals_is_refused(declared):
    with pytest.raises(UsageError, match="name=value"):
        parse_assignments(declared, ["eps"])


def test_an_override_equal_to_the_default_is_dropped(declared):
    assert override(declared, {"eps": 0.1, "seed": 2}) == {"seed": 2}


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("eps: float = 8 / 255", 8 / 255),
        ("eps: float = -(1 + 2) * 0.5", -1.5),
        ("n: int = 2 ** 10", 1024),
        ("n: int = -7 // 2 % 3", -7 // 2 % 3),
        ("name: str = 'a # b = c'  # said", "a # b = c"),
        ("lrs: list[float] = [\n  1 / 2,  # half\n  -1,\n]  # said", [0.5, -1.0]),
        ("grid: list[list[int]] = [[1], []]", [[1], []]),
    ],
)
def test_a_default_is_a_constant_expression(cell, value):
    (parameter,) = read_parameters(cell, where="x.md").values()
    assert parameter.default == value and type(parameter.default) is type(value)
    assert parameter.help == ("said" if "said" in cell else "")


@pytest.mark.parametrize(
    ("cell", "why"),
    [
        ("eps = 0.1", "not `name: type = constant`"),
        ("eps: float", "not `name: type = constant`"),
        ("import os", "not `name: type = constant`"),
        ("eps: int = 0.5", "write eps=3"),
        ("eps: float = max(1, 2)", "is not a constant"),
        ("eps: float = other / 2", "is not a constant"),
        ("name: str = 'a' * 3", "is not a number"),
        ("n: int = True + 1", "is not a number"),
        ("eps: float = 1 / 0", "division by zero"),
        ("eps: float = 1e308 * 10", "write eps=0.1"),
        ("sizes: tuple = (1, 2)", "write bool, int, float, str"),
        ("eps: float | None = None", "write bool, int, float, str"),
        ("eps: float = (1", "is not Python"),
        (f"n: int = {'+'.join(['1'] * 500)}", "line 1 .* nested too deeply; write its value"),
        (f"n: int = {'-' * 9000}1", "nested too deeply|maximum recursion"),
        (f"n: {'list[' * 90}int{']' * 90} = 1", "write n="),
        ("n: int = 2**2000 * 2**2000 * 2**2000", "is too large"),
        ("eps: float = 1\neps: float = 2", "line 2 .* second time"),
    ],
)
def test_a_parameters_cell_holds_only_typed_constants_and_each_once(cell, why):
    with pytest.raises(UsageError, match=why) as caught:
        read_parameters(cell, where="x.md")
    assert str(caught.value).startswith("x.md: ") and "\n" not in str(caught.value)


RULES = """
eps: float = 0.1  # radius, in pixels of [0, 1]; allowed: [0, 1]
rate: float = 0.1  # allowed: (0, inf)
level: float = 0.5  # allowed: (0, 1)
step: float = 8 / 255  # allowed: [1 / 255, 1]
n: int = 4  # allowed: 1 | 2 | 4
data: str = "digits"  # images; allowed: digits | mnist
device: str = "cpu"  # allowed: cpu | cuda | cuda:*
lrs: list[float] = [0.1]  # allowed: (0, inf), not empty
names: list[str] = ["a"]  # allowed: not empty
"""


@pytest.mark.parametrize(
    "word",
    ["eps=0", "eps=1", "rate=1e9", "level=0.5", "step=1/255", "n=2", "data=mnist",
     "device=cuda:1", "lrs=[1, 2]", 'names=["anything"]'],
)  # fmt: skip
def test_an_allowed_value_passes(word):
    assert parse_assignments(read_parameters(RULES, where="x.md"), [word])


@pytest.mark.parametrize(
    ("word", "rule"),
    [
        ("eps=-1", r"allowed: \[0, 1\]"),
        ("eps=1.001", r"allowed: \[0, 1\]"),
        ("rate=0", r"allowed: \(0, inf\)"),
        ("level=1", r"allowed: \(0, 1\)"),
        ("step=0.001", "allowed:"),
        ("n=3", r"allowed: 1 \| 2 \| 4"),
        ("data=mnits", r"allowed: digits \| mnist"),
        ("device=cude", "allowed: cpu"),
        ("lrs=[0.1, 0]", "allowed:"),
        ("lrs=[]", "not empty"),
        ("names=[]", "not empty"),
    ],
)
def test_a_value_that_is_not_allowed_is_refused_with_the_rule(word, rule):
    with pytest.raises(UsageError, match=rule):
        parse_assignments(read_parameters(RULES, where="x.md"), [word])


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("eps: float = -1.0  # allowed: [0, 1]", "parameter 'eps' is -1.0; allowed"),
        ("eps: float = 1.0  # allowed: [0, 1", "neither an interval"),
        ("eps: float = 1.0  # allowed: between 0 and 1", "neither an interval"),
        ("eps: float = 1.0  # allowed: [2, 1]", "interval is empty"),
        ("eps: float = 1.0  # allowed: [0, other]", "not a constant"),
        ("eps: float = 1.0  # allowed: ", "nothing follows"),
        ("eps: float = 1.0  # allowed: [0, 1], not empty", "only a list"),
        ("name: str = 'a'  # allowed: [0, 1]", "list choices"),
        ("name: str = 'a'  # allowed: b | | c", "neither an interval"),
    ],
)
def test_a_rule_that_cannot_be_is_refused_with_its_line(line, why):
    with pytest.raises(UsageError, match=f"x.md: line 1 of the parameters cell: .*{why}"):
        read_parameters(line, where="x.md")


@pytest.mark.parametrize(
    ("comment", "wrong"),
    [
        ("allow: [0, 1]", "allow:"),
        ("radius; allowd: [0, 1]", "allowd:"),
        ("Allowed: [0, 1]", "Allowed:"),
        ("allowed : [0, 1]", "allowed :"),
        ("alowed=[0, 1]", "alowed="),
        ("radius, allowed [0, 1]", "allowed "),
        ("allowed values: [0, 1]", "allowed values:"),
        ("ALLOWS: 0.1 | 0.2", "ALLOWS:"),
        ("allowed 0.1 | 0.2", "allowed "),
    ],
)
def test_a_misspelt_rule_is_refused_with_the_right_spelling(comment, wrong):
    why = f"`{wrong}` states no rule; did you mean `allowed:`?"
    with pytest.raises(UsageError, match=re.escape(why)):
        read_parameters(f"eps: float = 0.1  # {comment}", where="x.md")


@pytest.mark.parametrize(
    "comment",
    ["as many as allowed", "followed: by what", "all: of them", "a ball of [0, 1] (always)",
     "what the paper allows, in pixels of [0, 1]"],
)  # fmt: skip
def test_prose_is_no_misspelt_rule(comment):
    found = read_parameters(f"eps: float = 0.1  # {comment}", where="x.md")
    assert found["eps"].allowed is None


@pytest.mark.parametrize(
    "cell",
    [
        "# allowed: [0, 1]\neps: float = 0.1",
        "eps: float = 0.1\n# allowd: [0, 1]",
        "eps: list[float] = [  # allowed: [0, 1]\n    0.1\n]",
    ],
)
def test_a_rule_beside_no_parameter_is_refused(cell):
    with pytest.raises(UsageError, match="but of no parameter; write it at the end"):
        read_parameters(cell, where="x.md")


@pytest.mark.parametrize("word", [f"size={'+'.join(['1'] * 5000)}", f"eps={'-' * 99999}1"])
def test_a_word_that_is_nested_too_deeply_is_refused_in_one_line(declared, word):
    with pytest.raises(UsageError, match="parameter") as caught:
        parse_assignments(declared, [word])
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 200


def test_papermill_reads_the_cell_with_its_rules_as_well():
    """It only warns about a line it cannot read, and would then call the parameter unknown."""
    from papermill.translators import PythonTranslator

    declared = read_parameters(RULES, where="x.md")
    found = {p.name: p.help for p in PythonTranslator.inspect({"source": RULES})}
    assert found == {name: parameter.help for name, parameter in declared.items()}
