"""What must hold of every notebook's source, without running it."""

from __future__ import annotations

import ast
import importlib
import re
import warnings
from collections import Counter
from functools import cache
from pathlib import Path

import jupytext
import pytest

from robustnb.lesson import experiment
from robustnb.reproduce import convert, profiles, registry
from robustnb.reproduce.estimand_forms import arms_of
from robustnb.reproduce.parameters import override
from robustnb.reproduce.registry_types import EXACT, unregistered_changes

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
LONGEST_FUNCTION = 12  # lines, with each statement on one
WIDEST_CODE = 75  # columns that a page shows without a scroll bar
BANNED = r"\b(clearly|obviously|it is easy to see)\b"
# A share or a difference typed by hand. The level of an interval is no result, so it may stand.
TYPED = r"\d(?:[.,]\d+)?\s?(?:%|percent\b|percentage points?\b|points?\b)"
LEVEL = r"\b9[059] % (?:Clopper-Pearson |prediction |confidence )?intervals?\b"


@pytest.fixture(params=sorted(NOTEBOOKS.glob("*.md")), ids=lambda path: path.stem)
def path(request):
    return request.param


@cache
def read(path):
    return convert.convert(path)


@pytest.fixture
def notebook(path):
    return read(path)


@pytest.fixture
def paper(path):
    return registry.load(path.stem, folder=NOTEBOOKS / "claims")


def cells(notebook):
    return [(cell.id, ast.parse(cell.source)) for cell in convert.code_cells(notebook)]


def calls(tree, name):
    """Calls of `name` or of an attribute `name`."""
    found = (node for node in ast.walk(tree) if isinstance(node, ast.Call))
    return [c for c in found if getattr(c.func, "attr", getattr(c.func, "id", "")) == name]


def choices(node, tree):
    """The strings that an expression can be: a constant, or a name that one cell sets to either."""
    if isinstance(node, ast.Constant):
        return [str(node.value)]
    if isinstance(node, ast.IfExp):
        return choices(node.body, tree) + choices(node.orelse, tree)
    if isinstance(node, ast.FormattedValue):
        return choices(node.value, tree)
    if isinstance(node, ast.JoinedStr):
        words = [""]
        for part in node.values:
            words = [word + end for word in words for end in choices(part, tree)]
        return words
    if isinstance(node, ast.Name):
        set_here = [n.value for n in ast.walk(tree) if isinstance(n, ast.Assign)
                    and any(getattr(t, "id", "") == node.id for t in n.targets)]  # fmt: skip
        assert len(set_here) == 1, f"{node.id} in a measure() id must be set once, in its own cell"
        return choices(set_here[0], tree)
    raise AssertionError(f"a measure() id must be spelt out, got {ast.unparse(node)}")


def measured(notebook):
    return [
        name
        for _, tree in cells(notebook)
        for call in calls(tree, "measure")
        for name in choices(call.args[0], tree)
    ]


def spelling(key, hole):
    """A pattern for what a dict's key can spell, with `hole` for what an f-string leaves open."""
    parts = key.values if isinstance(key, ast.JoinedStr) else [key]
    return "".join(re.escape(str(p.value)) if isinstance(p, ast.Constant) else hole for p in parts)


def columns_of(call):
    """The endings of the arms that a call of `Evaluations.arms` gives."""
    given = [word.value for word in call.keywords if word.arg == "columns"]
    return ast.literal_eval(given[0]) if given else experiment.COLUMNS


def arm_patterns(notebook):
    """Patterns for the keys of all dicts, and for the arms that `Evaluations.arms` names.

    A hole takes a word of the code, a number, or both.
    """
    keys, words, endings = [], set(), set()
    for _, tree in cells(notebook):
        for node in ast.walk(tree):
            keys += node.keys if isinstance(node, ast.Dict) else []
            keys += [node.key] if isinstance(node, ast.DictComp) else []
            words |= {str(node.value)} if isinstance(node, ast.Constant) else set()
        endings |= {str(end) for call in calls(tree, "arms") for end in columns_of(call)}
    spelt = "|".join(re.escape(w) for w in sorted(words) if re.fullmatch(r"[A-Za-z][\w-]*", w))
    hole = rf"(?:{spelt})?(?:\d+(?:\.\d+)?)?"
    found = {spelling(key, hole) for key in keys if isinstance(key, ast.Constant | ast.JoinedStr)}
    found |= {rf"(?:{hole}){{2}}\.{re.escape(end)}" for end in endings}
    return {pattern for pattern in found if pattern.replace(hole, "")}


def captions(notebook):
    for cell in convert.code_cells(notebook):
        yield cell.id, str(cell.metadata.get("mystnb", {}).get("figure", {}).get("caption", ""))


def prose(notebook):
    """Text of the Markdown cells and captions without code, maths and the options of directives."""
    written = [(c.id, c.source) for c in notebook.cells if c.cell_type == "markdown"]
    for name, text in [*written, *captions(notebook)]:
        for pattern in (
            r"(?ms)^```\{math\}.*?^```",
            r"(?s)\$\$.*?\$\$",
            r"\$[^$\n]+\$",
            r"``.+?``|`[^`\n]+`",
            r"(?m)^:[\w-]+:.*$",
            r"\{\{ .+? \}\}",
        ):
            text = re.sub(pattern, " ", text)
        yield name, text


def found_in_prose(notebook, pattern, *, allowed=None):
    hits = []
    for name, text in prose(notebook):
        text = re.sub(allowed, " ", text) if allowed else text
        hits += [(name, match.group()) for match in re.finditer(pattern, text, re.IGNORECASE)]
    return hits


def facts(notebook):
    header = {k: v for k, v in notebook.metadata.items() if k != "jupytext"}
    return header, [(c.cell_type, c.source, c.metadata) for c in notebook.cells]


def test_saving_with_jupytext_loses_nothing_and_settles_at_once(path):
    """The header's `robustnb:` too, which jupytext drops unless its metadata filter names it."""
    first = jupytext.reads(path.read_text(encoding="utf-8"), fmt="md:myst")
    text = jupytext.writes(first, fmt="md:myst")
    second = jupytext.reads(text, fmt="md:myst")
    assert facts(second) == facts(first)
    assert jupytext.writes(second, fmt="md:myst") == text


def test_there_is_one_typed_parameters_cell_and_no_profile_in_it(path, notebook):
    declared = convert.parameters(notebook, where=path.name)
    assert "profile" not in declared
    assert all(p.help for p in declared.values() if p.name == "seed")


def test_every_override_of_a_profile_names_a_parameter_and_has_its_type(path, notebook):
    declared = convert.parameters(notebook, where=path.name)
    for profile in profiles.load(NOTEBOOKS).values():
        given = profile.papers.get(path.stem, {})
        assert "seed" not in given
        assert set(override(declared, given)) == set(given), f"{profile.name} repeats a default"


def test_profiles_are_for_papers_that_have_a_notebook():
    known = {path.stem for path in NOTEBOOKS.glob("*.md")}
    assert all(set(p.papers) <= known for p in profiles.load(NOTEBOOKS).values())


def test_the_data_sets_of_every_profile_are_known(path, notebook):
    from robustnb.data import catalogue

    declared = convert.parameters(notebook, where=path.name)
    defaults = {name: p.default for name, p in declared.items()}
    for profile in profiles.load(NOTEBOOKS).values():
        values = defaults | profile.papers.get(path.stem, {})
        assert set(convert.datasets(notebook, values)) <= set(catalogue())


def taken_from_the_library(notebook):
    """(module, name) for every import from robustnb and every piece of code that the page shows."""
    for _, tree in cells(notebook):
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("robustnb"):
                yield from ((node.module, alias.name) for alias in node.names)
    text = "\n".join(c.source for c in notebook.cells if c.cell_type == "markdown")
    yield from re.findall(r"\{\{ source ([\w.]+):(\w+) \}\}", text)


def test_what_a_notebook_takes_from_the_library_is_there_under_its_present_name(notebook):
    found = set(taken_from_the_library(notebook))
    assert ("robustnb.lesson", "measure") in found
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)
        for module, name in found:
            home = importlib.import_module(module)
            if not hasattr(home, name):
                importlib.import_module(f"{module}.{name}")


def test_every_measurement_is_of_a_registered_part_and_none_is_made_twice(notebook, paper):
    names = measured(notebook)
    assert set(names) <= set(paper.parts())
    assert [name for name, times in Counter(names).items() if times > 1] == []


def test_no_registered_part_is_without_a_source(notebook, paper):
    """A part has a measurement of its own, or the notebook names every arm of its estimand."""
    own, patterns = set(measured(notebook)), arm_patterns(notebook)
    for name, part in paper.parts().items():
        if part.kind in EXACT:
            assert name in own, f"nothing measures {name}"
            continue
        for arm in arms_of(part.estimand):
            assert any(re.fullmatch(p, arm) for p in patterns), f"no arm {arm} for {name}"


def test_numbers_in_the_names_of_arms_are_values_of_the_profile_that_judges(path, notebook, paper):
    """`steps-100` and `trades-6.nat` need 100 and 6 among the lists of that profile's run."""
    declared = convert.parameters(notebook, where=path.name)
    sizes = profiles.load(NOTEBOOKS)
    for name, part in paper.parts().items():
        overrides = sizes[part.profile].papers.get(path.stem, {})
        values = {n: p.default for n, p in declared.items()} | overrides
        lists = {float(x) for v in values.values() if isinstance(v, list) for x in v}
        for arm in arms_of(part.estimand) if part.estimand else ():
            number = re.search(r"-(\d+(?:\.\d+)?)(?=\.[a-z]|$)", arm)
            if number:
                assert float(number.group(1)) in lists, f"{name}: {arm} is not run"


def test_every_claim_has_exactly_one_verdict_on_the_page(notebook, paper):
    text = "\n".join(c.source for c in notebook.cells if c.cell_type == "markdown")
    shown = Counter(re.findall(r"\{\{ verdict (\S+) \}\}", text))
    assert shown == {claim.id: 1 for claim in paper.claims}


def test_every_setting_of_the_registry_is_used_by_a_part_and_no_other(notebook, paper):
    used = {part.setting for part in paper.parts().values()} - {None}
    assert used == set(paper.settings)
    text = "\n".join(c.source for c in notebook.cells if c.cell_type == "markdown")
    assert set(re.findall(r"\{\{ setting (\S+) \}\}", text)) <= set(paper.settings)


def test_no_part_was_changed_after_registration_without_an_amendment(paper):
    assert unregistered_changes(paper) == []


def test_no_function_in_a_cell_is_long_however_its_lines_are_broken(notebook):
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
    long = [
        (name, getattr(node, "name", "lambda"))
        for name, tree in cells(notebook)
        for node in ast.walk(tree)
        if isinstance(node, kinds) and len(ast.unparse(node).splitlines()) > LONGEST_FUNCTION
    ]
    assert long == []


def test_code_is_as_narrow_as_a_page_shows_it_but_for_the_parameters(notebook):
    shown = [c for c in convert.code_cells(notebook) if "parameters" not in convert.tags(c)]
    lines = [line for cell in shown for line in cell.source.splitlines()]
    assert [line for line in lines if len(line) > WIDEST_CODE] == []


def test_every_figure_is_finished_with_an_alt_text(notebook):
    for name, tree in cells(notebook):
        finished = calls(tree, "finish")
        opened = calls(tree, "figure") + calls(tree, "images")
        assert len(finished) == len(opened), f"{name}: one finish for each figure"
        for call in finished:
            alt = call.args[1] if len(call.args) > 1 else None
            told = isinstance(alt, ast.Constant) and len(str(alt.value).split()) > 3
            assert told, f"{name}: plot.finish(fig, ...) needs the figure in words"
        assert not calls(tree, "savefig") and not calls(tree, "show"), name


def test_no_word_tells_the_reader_that_it_is_easy(notebook):
    assert found_in_prose(notebook, BANNED) == []


def test_no_result_is_typed_in_prose(notebook):
    assert found_in_prose(notebook, TYPED, allowed=LEVEL) == []


@pytest.mark.parametrize("text", ["It rises by 3 points.", "about 12.5 % of them", "at 40 percent"])
def test_the_search_for_typed_results_finds_them(text):
    assert re.search(TYPED, text)


def test_no_cell_seeds_anything_globally(notebook):
    for name, tree in cells(notebook):
        told = {ast.unparse(call.func) for call in calls(tree, "seed") + calls(tree, "manual_seed")}
        assert told <= {"torch.Generator().manual_seed"}, name
