"""The `robustnb-api` directive: what a room of the library offers, read from its source.

Nothing is imported, so the page needs neither torch nor the network, and a docstring cannot break
the build: it is plain text, of which paragraphs, `code`, examples and headings are understood.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from inspect import cleandoc
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util.docutils import SphinxDirective
from sphinx.util.logging import getLogger

LOGGER = getLogger(__name__)
LINE = 76  # what fits beside both columns of a laptop screen
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


@dataclass(frozen=True)
class Entry:
    """One public name and where it is defined."""

    name: str
    module: str
    file: Path
    node: Definition | ast.Assign | ast.AnnAssign


def package_root() -> Path:
    spec = find_spec("robustnb")
    if spec is None or spec.origin is None:
        raise ExtensionError("robustnb is not installed; run `pip install -e .`")
    return Path(spec.origin).parent


def source_of(module: str) -> Path | None:
    """The file that holds `module`, or None if there is none."""
    base = package_root().joinpath(*module.split(".")[1:])
    for candidate in (base / "__init__.py", base.with_suffix(".py")):
        if candidate.is_file():
            return candidate
    return None


def exports(tree: ast.Module) -> dict[str, str]:
    """The dict that a package hands to `lazy`: public name -> defining module."""
    assigned = {
        target.id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "lazy":
            given = node.args[1]
            table = assigned.get(given.id, given) if isinstance(given, ast.Name) else given
            return {str(name): str(module) for name, module in ast.literal_eval(table).items()}
    return {}


def definitions(tree: ast.Module) -> dict[str, Definition | ast.Assign | ast.AnnAssign]:
    """Top-level names of a module that its author meant for others."""
    found: dict[str, Definition | ast.Assign | ast.AnnAssign] = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found[node.name] = node
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found[node.targets[0].id] = node
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found[node.target.id] = node
    return {name: node for name, node in found.items() if not name.startswith("_")}


def entries(module: str) -> Iterator[Entry]:
    """The public names of a room: what its package exports, else what its modules define."""
    file = source_of(module)
    if file is None:
        return
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for name, home in sorted(exports(tree).items(), key=lambda item: (item[1], item[0])):
        source = source_of(home)
        known = definitions(ast.parse(source.read_text(encoding="utf-8"))) if source else {}
        if source is None or name not in known:
            LOGGER.warning("%s exports %s, which %s does not define", module, name, home)
            continue
        yield Entry(name, home, source, known[name])
    if file.name != "__init__.py":
        for name, node in definitions(tree).items():
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                yield Entry(name, module, file, node)


def arguments_of(node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    """Each argument as written, with `*` and `/` where they stand; `self` and `cls` left out."""
    args = node.args
    plain = [*args.posonlyargs, *args.args]
    defaults: list[ast.expr | None] = [None] * (len(plain) - len(args.defaults))
    defaults += args.defaults
    shown = [one_argument(arg, default) for arg, default in zip(plain, defaults, strict=True)]
    if args.posonlyargs:
        shown.insert(len(args.posonlyargs), "/")
    if args.vararg:
        shown.append("*" + one_argument(args.vararg, None))
    elif args.kwonlyargs:
        shown.append("*")
    for arg, value in zip(args.kwonlyargs, args.kw_defaults, strict=True):
        shown.append(one_argument(arg, value))
    if args.kwarg:
        shown.append("**" + one_argument(args.kwarg, None))
    return [text for text in shown if text not in {"self", "cls"}]


def one_argument(arg: ast.arg, default: ast.expr | None) -> str:
    text = arg.arg + (f": {ast.unparse(arg.annotation)}" if arg.annotation else "")
    if default is None:
        return text
    return text + (" = " if arg.annotation else "=") + ast.unparse(default)


def call(name: str, arguments: list[str], returns: ast.expr | None) -> str:
    """A signature on one line if it fits, else one argument a line."""
    tail = f" -> {ast.unparse(returns)}" if returns is not None else ""
    line = f"{name}({', '.join(arguments)}){tail}"
    if len(line) <= LINE:
        return line
    return f"{name}(\n" + "".join(f"    {text},\n" for text in arguments) + f"){tail}"


def signature(node: Definition | ast.Assign | ast.AnnAssign) -> str:
    """How the name is used."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return call(node.name, arguments_of(node), node.returns)
    if isinstance(node, ast.ClassDef):
        return class_signature(node)
    text = ast.unparse(node)
    return text if len(text) <= 4 * LINE else text[: 4 * LINE].rsplit(" ", 1)[0] + " ..."


def class_signature(node: ast.ClassDef) -> str:
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and item.name == "__init__":
            return "class " + call(node.name, arguments_of(item), None)
    fields = [ast.unparse(item) for item in node.body if isinstance(item, ast.AnnAssign)]
    decorators = [ast.unparse(item) for item in node.decorator_list]
    if fields and any("dataclass" in text for text in decorators):
        return "class " + call(node.name, fields, None)
    bases = ", ".join(ast.unparse(base) for base in node.bases)
    return f"class {node.name}({bases})" if bases else f"class {node.name}"


def inline(text: str) -> list[nodes.Node]:
    """Plain text with `code` (or ``code``) in it."""
    parts = re.split(r"``([^`]+)``|`([^`]+)`", text)
    out: list[nodes.Node] = []
    for plain, double, single in zip(
        parts[::3], [*parts[1::3], ""], [*parts[2::3], ""], strict=True
    ):
        if plain:
            out.append(nodes.Text(plain))
        if double or single:
            out.append(nodes.literal("", double or single))
    return out


def block(text: str) -> nodes.Node:
    """One paragraph of a docstring: an example, something indented, a list, or prose."""
    lines = text.split("\n")
    if lines[0].lstrip().startswith(">>>"):
        return nodes.literal_block("", cleandoc(text), language="pycon")
    if all(line.startswith("    ") for line in lines):
        return nodes.literal_block("", cleandoc(text), language="none")
    if all(re.match(r"\s*[-*] |  ", line) for line in lines):
        points = re.split(r"^\s*[-*] ", text, flags=re.M)[1:]
        made = [nodes.list_item("", paragraph(point)) for point in points]
        return nodes.bullet_list("", *made) if made else paragraph(text)
    if len(lines) > 1 and re.fullmatch(r"[-=]{3,}", lines[1].strip()):
        rest = [nodes.literal_block("", "\n".join(lines[2:]), language="none")] if lines[2:] else []
        return nodes.container("", nodes.rubric("", lines[0].strip()), *rest)
    return paragraph(text)


def paragraph(text: str) -> nodes.paragraph:
    return nodes.paragraph("", "", *inline(" ".join(text.split())))


def prose(docstring: str | None) -> list[nodes.Node]:
    """A docstring as paragraphs."""
    return [block(part) for part in re.split(r"\n\s*\n", cleandoc(docstring or "")) if part.strip()]


def methods(node: ast.AST) -> list[nodes.Node]:
    """The public methods of a class that say what they do."""
    items = []
    for item in getattr(node, "body", []):
        public = isinstance(item, ast.FunctionDef) and not item.name.startswith("_")
        if not isinstance(node, ast.ClassDef) or not public:
            continue
        text = ast.get_docstring(item)
        if text:
            is_property = any(ast.unparse(mark) == "property" for mark in item.decorator_list)
            shown = item.name if is_property else call(item.name, arguments_of(item), item.returns)
            term = nodes.term("", "", nodes.literal("", " ".join(shown.split())))
            items.append(
                nodes.definition_list_item("", term, nodes.definition("", *prose(text)[:1]))
            )
    return [nodes.definition_list("", *items)] if items else []


class RobustnbApi(SphinxDirective):
    """List the public names of the module given as its argument."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        module = self.arguments[0]
        file = source_of(module)
        if file is None:
            raise self.error(f"there is no module {module}")
        self.env.note_dependency(str(file))
        tree = ast.parse(file.read_text(encoding="utf-8"))
        shown = prose(ast.get_docstring(tree))
        found = list(entries(module))
        if len(found) > 1:
            shown.append(self.contents(module, found))
        return [*shown, *(self.section(module, entry) for entry in found)]

    def contents(self, module: str, found: list[Entry]) -> nodes.Node:
        links: list[nodes.Node] = []
        for entry in found:
            target = nodes.make_id(f"api-{module}-{entry.name}")
            link = nodes.reference("", "", nodes.literal("", entry.name), refid=target)
            links += [nodes.Text(", "), link] if links else [link]
        return nodes.paragraph("", "", *links, classes=["rnb-api-names"])

    def section(self, module: str, entry: Entry) -> nodes.Node:
        self.env.note_dependency(str(entry.file))
        path = entry.file.relative_to(package_root().parent)
        made = nodes.section(ids=[nodes.make_id(f"api-{module}-{entry.name}")])
        made += nodes.title("", "", nodes.literal("", entry.name))
        made += nodes.literal_block("", signature(entry.node), language="python")
        if isinstance(entry.node, Definition):
            made += prose(ast.get_docstring(entry.node))
        made += methods(entry.node)
        where = nodes.literal("", f"{path}:{entry.node.lineno}")
        made += nodes.paragraph("", "Source: ", where, classes=["rnb-source"])
        return made


class RobustnbRooms(SphinxDirective):
    """A list of rooms: each line of the content names a page beside this one and its module."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        items = [self.room(*line.split()) for line in self.content if line.strip()]
        return [nodes.definition_list("", *items, classes=["rnb-rooms"])]

    def room(self, page: str, module: str) -> nodes.Node:
        file = source_of(module)
        if file is None:
            raise self.error(f"there is no module {module}")
        self.env.note_dependency(str(file))
        told = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
        names: list[nodes.Node] = []
        for entry in entries(module):
            self.env.note_dependency(str(entry.file))
            target = nodes.make_id(f"api-{module}-{entry.name}")
            names += [self.link(f"{page}.html#{target}", entry.name), nodes.Text(", ")]
        term = nodes.term("", "", self.link(f"{page}.html", module))
        sentence = paragraph(re.split(r"\n\s*\n", told)[0])
        listed = nodes.paragraph("", "", *names[:-1], classes=["rnb-api-names"])
        return nodes.definition_list_item("", term, nodes.definition("", sentence, listed))

    def link(self, address: str, text: str) -> nodes.Node:
        return nodes.reference("", "", nodes.literal("", text), refuri=address, internal=True)


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("robustnb-api", RobustnbApi)
    app.add_directive("robustnb-rooms", RobustnbRooms)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
