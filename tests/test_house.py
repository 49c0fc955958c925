"""Rules of the house: one lock, short files, lazy packages, documented functions, no paths."""

from __future__ import annotations

import ast
import importlib
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("robustnb", "tests", "notebooks", "book", "benchmarks", ".ci")
GENERATED = {"__pycache__", "papers", "records"}
LONGEST_FILE = 400
# Written with brackets so that this file does not hold what it forbids.
FORBIDDEN = {
    "a path of somebody's machine": r"(?<![\w.$~}>)-])/(?:work|root|home|Users|opt|mnt|scratch)/",
    "a folder outside the clone": r"\bshared[/]",
    "a package registry's host": r"\b(?:pypi|pythonhosted|npmjs|debian|conda)[.](?:org|com)\b",
    "an installer's private index": r"\b(?:extra-)?index[-]url\b|\bfind[-]links\b",
}


def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def direct_dependencies() -> list[Requirement]:
    groups = [project()["dependencies"], *project()["optional-dependencies"].values()]
    listed = [line for group in groups for line in group]
    return [r for r in map(Requirement, listed) if r.name != "robustnb"]


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").split()
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in lines), "one name==version a line"
    names = [canonicalize_name(line.partition("==")[0]) for line in lines]
    assert len(set(names)) == len(names), "a package is pinned twice"
    return dict(zip(names, (line.partition("==")[2] for line in lines), strict=True))


def sources(*endings: str) -> Iterator[Path]:
    """The files of the clone that people write, without what is built."""
    yield from (p for p in ROOT.iterdir() if p.is_file() and p.name.endswith(endings))
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*")):
            inside = set(path.relative_to(ROOT).parts)
            if path.is_file() and path.name.endswith(endings) and not inside & GENERATED:
                yield path


def modules() -> list[Path]:
    return sorted((ROOT / "robustnb").rglob("*.py"))


def name_of(path):
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("requirement", direct_dependencies(), ids=str)
def test_every_direct_dependency_is_pinned_within_its_range(requirement):
    pinned = pins().get(canonicalize_name(requirement.name))
    assert pinned is not None, f"add {requirement.name}==... to constraints.txt"
    assert requirement.specifier.contains(pinned), f"{pinned} is outside {requirement}"


@pytest.mark.parametrize("requirement", direct_dependencies(), ids=str)
def test_every_direct_dependency_but_stubs_has_a_range(requirement):
    assert requirement.specifier or requirement.name.startswith("types-")


def test_conda_installs_the_same_lock_and_nothing_beside_it():
    listed = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    plain, (from_pip,) = listed[:-1], [entry["pip"] for entry in listed if isinstance(entry, dict)]
    assert from_pip == ["--constraint constraints.txt", "--editable .[dev]"]
    assert plain == [f"python{project()['requires-python']}", "make", "pip"]


def test_jupyter_book_stays_the_sphinx_one():
    (book,) = [r for r in direct_dependencies() if r.name == "jupyter-book"]
    assert not book.specifier.contains("2.0.0") and book.specifier.contains("1.0.4.post1")


def test_the_library_alone_needs_none_of_the_books_tools():
    core = {Requirement(line).name for line in project()["dependencies"]}
    science = {"torch", "torchvision", "numpy", "scipy", "safetensors"}
    assert core == science | {"filelock", "platformdirs"}


def test_no_file_of_code_is_long():
    lengths = {name_of(p): len(p.read_text(encoding="utf-8").splitlines()) for p in sources(".py")}
    assert {name: n for name, n in lengths.items() if n > LONGEST_FILE} == {}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_file_tells_of_the_machine_it_was_written_on(what):
    text_files = (".py", ".md", ".yaml", ".yml", ".toml", ".txt", ".json", ".css", ".bib", ".cff",
                  ".svg", "Makefile", "Snakefile", ".gitignore", ".ci/run", "LICENSE")  # fmt: skip
    hits = [
        f"{name_of(path)}:{number}: {line.strip()[:80]}"
        for path in sources(*text_files, "run")
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if re.search(FORBIDDEN[what], line)
    ]
    assert hits == []


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("a path of somebody's machine", "see /" + "work/x"),
        ("a folder outside the clone", "in shared" + "/x"),
        ("a package registry's host", "https://pypi" + ".org"),
        ("an installer's private index", "--index" + "-url x"),
    ],
)
def test_the_search_for_such_words_finds_them(what, text):
    assert re.search(FORBIDDEN[what], text)


def test_every_folder_of_code_is_a_package():
    folders = {path.parent for path in modules()}
    assert [name_of(f) for f in sorted(folders) if not (f / "__init__.py").is_file()] == []


@pytest.mark.parametrize(
    "path", [p for p in modules() if p.name == "__init__.py"], ids=lambda p: p.parent.name
)
def test_every_package_is_lazy_and_says_what_it_is(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported = [
        ast.unparse(n) for n in ast.walk(tree) if isinstance(n, ast.Import | ast.ImportFrom)
    ]
    assert set(imported) <= {
        "from __future__ import annotations",
        "from robustnb._lazy import lazy",
    }
    assert ast.get_docstring(tree)


def exports(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "lazy":
            yield from ast.literal_eval(node.args[1]).items()


def test_no_exported_name_hides_a_module_and_each_is_defined_where_it_says():
    for path in modules():
        if path.name != "__init__.py":
            continue
        for name, module in exports(path):
            assert not (path.parent / f"{name}.py").exists(), f"{name} hides a module"
            home = ROOT.joinpath(*module.split(".")).with_suffix(".py")
            assert re.search(rf"(?m)^(def|class) {name}\b|^{name}\b", home.read_text()), name


def public_functions(tree):
    """Functions and methods that a user may call, with the name to tell."""
    for node in tree.body:
        if getattr(node, "name", "_").startswith("_"):
            continue
        if isinstance(node, ast.FunctionDef):
            yield node.name, node
        elif isinstance(node, ast.ClassDef):
            for inner in node.body:
                if isinstance(inner, ast.FunctionDef) and not inner.name.startswith("_"):
                    yield f"{node.name}.{inner.name}", inner


def is_annotated(function):
    given = function.args
    named = [*given.posonlyargs, *given.args, *given.kwonlyargs]
    extra = [a for a in (given.vararg, given.kwarg) if a]
    arguments = [a for a in [*named, *extra] if a.arg not in ("self", "cls")]
    return function.returns is not None and all(a.annotation for a in arguments)


def test_every_public_function_is_annotated_and_says_what_it_does():
    bare, silent = [], []
    for path in modules():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert ast.get_docstring(tree), f"{name_of(path)} has no docstring"
        for name, function in public_functions(tree):
            bare += [] if is_annotated(function) else [f"{name_of(path)}: {name}"]
            silent += [] if ast.get_docstring(function) else [f"{name_of(path)}: {name}"]
    assert (bare, silent) == ([], [])


def test_every_module_has_a_test_room():
    written = "\n".join(p.read_text(encoding="utf-8") for p in (ROOT / "tests").rglob("test_*.py"))
    for path in modules():
        parts = path.relative_to(ROOT / "robustnb").parts
        if len(parts) > 1:
            room = Path(*(part for part in parts[:-1]))
            assert list((ROOT / "tests" / room).rglob("test_*.py")), f"no tests/{room}"
        elif path.stem != "__init__":
            used = rf"robustnb\.{path.stem}\b|from robustnb import [^\n]*\b{path.stem}\b"
            assert re.search(used, written), f"no test uses robustnb.{path.stem}"


# From the lowest room to the highest; a room imports from itself and those before it.
LAYERS = (
    "", "data", "models", "stats", "attacks", "training", "zoo", "smoothing", "influence",
    "features", "blackbox", "transfer_learning", "theory", "gallery", "lesson", "reproduce",
)  # fmt: skip


def imports_at_once() -> dict[str, set[str]]:
    """Which modules each module imports when it is loaded itself."""
    found: dict[str, set[str]] = {}
    for path in modules():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        found[name_of(path)] = set()
        for node in tree.body:
            if isinstance(node, ast.Import):
                found[name_of(path)] |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                inner = {f"{node.module}.{alias.name}" for alias in node.names}
                found[name_of(path)] |= {node.module} | inner
    return {name: {other for other in all_ if other in found} for name, all_ in found.items()}


def test_imports_go_down_and_in_no_circle():
    graph = imports_at_once()

    def room(name: str) -> int:
        parts = name.split(".")
        top = parts[1] if len(parts) > 2 or parts[-1] in LAYERS else ""
        return LAYERS.index("stats" if name == "robustnb.stats" else top)

    upwards = [
        f"{name} imports {other}"
        for name, others in graph.items()
        for other in others
        if room(other) > room(name) and name != "robustnb"
    ]
    assert upwards == []
    waiting = dict(graph)
    while waiting:
        free = [name for name, others in waiting.items() if not others & waiting.keys() - {name}]
        assert free, f"a circle of imports among {sorted(waiting)}"
        for name in free:
            del waiting[name]


def test_no_module_bears_the_name_of_something_its_package_exports():
    # once imported, the module would hide the function: `from package import name` gives either
    for path in (ROOT / "robustnb").rglob("__init__.py"):
        package = importlib.import_module(".".join(path.relative_to(ROOT).parent.parts))
        inside = {p.stem for p in path.parent.glob("*.py")} | {
            p.name for p in path.parent.iterdir()
        }
        assert inside.isdisjoint(getattr(package, "__all__", ())), package.__name__


def test_a_lazy_package_knows_its_names_and_refuses_others():
    import robustnb.attacks as package
    from robustnb._lazy import lazy

    get, names, everything = lazy(
        "robustnb.attacks", {"pgd": "robustnb.attacks.projected_gradient"}
    )
    assert names() == everything == ["pgd"] and "pgd" in dir(package)
    assert get("pgd") is package.pgd
    with pytest.raises(AttributeError, match="no attribute 'gdp'"):
        get("gdp")


def test_the_commands_of_the_makefile_are_those_its_help_tells():
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.search(r"(?m)^\.PHONY: (.+)$", text).group(1).split())
    rules = set(re.findall(r"(?m)^([a-z]+):", text))
    assert targets == rules
    assert {"book", "test"} <= set(re.findall(r"(?m)^# make ([a-z]+)", text))


def test_no_test_fails_because_the_machine_is_slow():
    from hypothesis import HealthCheck, settings

    patience = settings()
    assert patience.deadline is None and HealthCheck.too_slow in patience.suppress_health_check
    limited = re.compile(r"(?:communicate|wait|join|run|wait_for\w+)\([^\n]*\btimeout\s*=\s*\d")
    hits = [
        f"{name_of(path)}: {line.strip()}"
        for path in sources(".py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if limited.search(line)
    ]
    assert hits == []
    assert limited.search("process.communicate(time" + "out=60)")


def test_the_makefile_works_in_a_folder_of_any_name():
    """A script's first line cannot name every path, and make does not quote its own folder."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert set(re.findall(r"\$\(BIN\)/([\w-]+)", text)) == {"python"}
    assert "CURDIR" not in text and '"$$PWD/' in text
