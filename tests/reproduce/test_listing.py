"""Library code on a page: docstrings filled to its width, code as it is."""

import ast
import inspect

import pytest

from robustnb.attacks import projected_gradient
from robustnb.provenance import source_digest
from robustnb.reproduce.listing import listing
from robustnb.training import free, objectives

LONG = "Words that go on and on and on, so that no page holds them in a line. " * 3
SOURCES = [inspect.getsource(m) for m in (projected_gradient, free, objectives)]


def docstring_lines(source):
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node):
            found |= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    return found


@pytest.mark.parametrize("source", SOURCES)
def test_docstrings_fit_and_code_is_the_same(source):
    shown = listing(source, width=60)
    lines = shown.splitlines()
    assert source_digest(shown) == source_digest(source)
    assert max(len(lines[k - 1]) for k in docstring_lines(shown)) <= 60
    assert max(len(line) for line in source.splitlines()) > 60


@pytest.mark.parametrize("source", SOURCES)
def test_code_lines_and_words_stay(source):
    shown, taken = listing(source, width=60), docstring_lines(source)
    code = [line for k, line in enumerate(source.splitlines(), 1) if k not in taken]
    inside = docstring_lines(shown)
    assert [line for k, line in enumerate(shown.splitlines(), 1) if k not in inside] == code
    assert shown.split() == source.split()


def test_what_fits_stays_as_it_is():
    source = 'def f():\n    """Two\n    lines.\n    """\n    return 1'
    assert listing(source) == source


@pytest.mark.parametrize("kept", ["    >>> f()  # a doctest", "    - an item\n    - another"])
def test_items_and_doctests_keep_their_lines(kept):
    source = f'def f():\n    """{LONG}\n\n{kept}\n    """\n    return 1'
    assert kept in listing(source, width=50)
    assert LONG not in listing(source, width=50)
