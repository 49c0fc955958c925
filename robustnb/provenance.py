"""Which code a result depends on: the static import closure of robustnb, digested by meaning.

A module's digest is that of its syntax tree without docstrings, so comments, docstrings and layout
do not count. Imports inside functions count; `from package import name` follows the package's
lazy exports to the module that defines the name, and `import package as p` to the modules of the
names that are used as `p.name`. The table of exports itself does not count, so that a new name in a
package leaves the results of the others alone. Neither do the modules that only name or show
results.
"""

from __future__ import annotations

import ast
import hashlib
import json
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

PACKAGE = "robustnb"
NAMES_OR_SHOWS = frozenset({"robustnb.provenance", "robustnb.progress", "robustnb.unfinished"})


def _root() -> Path:
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise ImportError(f"{PACKAGE} is not installed; run `pip install -e .`")
    return Path(spec.origin).parent


def module_file(module: str) -> Path | None:
    """The source file of `module`, or None if there is no such module of robustnb."""
    parts = module.split(".")
    if parts[0] != PACKAGE:
        return None
    base = _root().joinpath(*parts[1:])
    for candidate in (base / "__init__.py", base.with_suffix(".py")):
        if candidate.is_file():
            return candidate
    return None


def definition(module: str, name: str) -> str:
    """The lines that define a function or class of robustnb, read without importing its module.

    Raises ImportError where there is no such module, or no such definition at its top level.
    """
    file = module_file(module)
    if file is None:
        raise ImportError(f"no module {module} of {PACKAGE}")
    text = file.read_text(encoding="utf-8")
    for node in ast.parse(text).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name:
            first = min(part.lineno for part in (node, *node.decorator_list))
            return "\n".join(text.splitlines()[first - 1 : node.end_lineno])
    raise ImportError(f"{module} defines no {name}")


class _DropWhatCannotMatter(ast.NodeTransformer):
    def visit_Call(self, node: ast.Call) -> ast.AST:
        if _is_export_table(node):
            node.args[1] = ast.Dict(keys=[], values=[])
        return self.generic_visit(node)

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        if not getattr(node, "type_params", True):
            del node.type_params  # type: ignore[attr-defined]  # unknown to Python 3.11
        body = getattr(node, "body", None)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = body[0] if body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                if isinstance(first.value.value, str):
                    node.body = node.body[1:]
        return node


@cache
def source_digest(source: str) -> str:
    """SHA-256 of Python source up to comments, docstrings, layout and tables of lazy exports."""
    tree = _DropWhatCannotMatter().visit(ast.parse(source))
    return hashlib.sha256(_dump(tree).encode()).hexdigest()


def _dump(tree: ast.AST) -> str:
    """The tree's text, the same on every Python: 3.13 leaves out empty lists unless told not to."""
    settings: dict[str, Any] = {"show_empty": True} if sys.version_info >= (3, 13) else {}
    return ast.dump(tree, **settings)


def _is_export_table(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and getattr(node.func, "id", "") == "lazy"


def _exports(tree: ast.Module) -> dict[str, str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _is_export_table(node):
            value = ast.literal_eval(node.args[1])
            return {str(name): str(module) for name, module in value.items()}
    return {}


def _parents(module: str) -> Iterator[str]:
    parts = module.split(".")
    for end in range(1, len(parts) + 1):
        yield ".".join(parts[:end])


def _exports_of(module: str) -> dict[str, str]:
    file = module_file(module)
    return {} if file is None else _exports_at(file, file.stat().st_mtime_ns)


@cache
def _exports_at(file: Path, stamp: int) -> dict[str, str]:
    return _exports(ast.parse(file.read_text(encoding="utf-8")))


def _whole_package(package: str, alias: str, tree: ast.AST) -> set[str]:
    """Modules behind the names used as `alias.name`; all of them if the package itself is used."""
    exports = _exports_of(package)
    if not exports:
        return set()
    dotted = {
        id(node.value): node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == alias
    }
    bare = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and node.id == alias and id(node) not in dotted
    ]
    used = exports if bare else set(dotted.values())
    return {exports[name] for name in used if name in exports}


def _from_import(base: str, names: Iterable[ast.alias], tree: ast.AST) -> Iterator[str]:
    if module_file(base) is None:
        return
    yield base
    exports = _exports_of(base)
    for name in names:
        inner = f"{base}.{name.name}"
        if name.name in exports:
            yield exports[name.name]
        elif module_file(inner) is not None:
            yield inner
            yield from _whole_package(inner, name.asname or name.name, tree)


def imported_modules(source: str, package: str = "") -> set[str]:
    """Modules of robustnb that `source` imports itself; `package` resolves relative imports."""
    found: set[str] = set()
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if module_file(alias.name) is not None:
                    found.add(alias.name)
                    found |= _whole_package(alias.name, alias.asname or alias.name, tree)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, base] if base else above)
            if base.split(".")[0] == PACKAGE:
                found.update(_from_import(base, node.names, tree))
    return {parent for module in found for parent in _parents(module)}


@cache
def _digest_and_imports(module: str, stamp: int) -> tuple[str, frozenset[str]]:
    file = module_file(module)
    assert file is not None
    source = file.read_text(encoding="utf-8")
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    return source_digest(source), frozenset(imported_modules(source, package))


def closure(modules: Iterable[str]) -> dict[str, str]:
    """Digest of every module of robustnb that `modules` reach by imports, themselves included.

    Raises ImportError for a module that does not exist.
    """
    digests: dict[str, str] = {}
    waiting = sorted({parent for module in modules for parent in _parents(module)})
    while waiting:
        module = waiting.pop()
        if module in digests or module in NAMES_OR_SHOWS:
            continue
        file = module_file(module)
        if file is None:
            raise ImportError(f"no module {module!r} in {_root()}")
        digest, imports = _digest_and_imports(module, file.stat().st_mtime_ns)
        digests[module] = digest
        waiting.extend(imports - digests.keys())
    return dict(sorted(digests.items()))


def digest(value: object) -> str:
    """SHA-256 of a JSON value, independent of the order of keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def closure_digest(modules: Iterable[str]) -> str:
    """One digest for the closure of `modules`."""
    return digest(closure(modules))
