"""Helpers for reading a syntax tree."""

from __future__ import annotations

import ast
from collections.abc import Iterator

UNKNOWN = object()


def dotted(node: ast.AST | None) -> str:
    """``a.b.c`` for a chain of names, without calls and subscripts; empty for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        left = dotted(node.value)
        return f"{left}.{node.attr}" if left else node.attr
    return ""


def walk(root: ast.AST) -> list[ast.AST]:
    """Every node of a tree, outer nodes first. Leaves out contexts (Load, Store): half of the nodes, and never used."""
    found = [root]
    for node in found:  # the list grows while it is read; ast.walk takes twice the time
        for name in node._fields:
            value = getattr(node, name, None)
            if isinstance(value, list):
                found += [item for item in value if isinstance(item, ast.AST)]
            elif isinstance(value, ast.AST) and name != "ctx":
                found.append(value)
    return found


def source(node: ast.AST) -> str:
    """An expression's source code."""
    try:
        return ast.unparse(node)
    except RecursionError:
        return "an expression"


def calls(nodes: list[ast.AST], *names: str) -> list[ast.Call]:
    """The calls whose dotted name is one of ``names`` or ends in one of them."""
    found = []
    for node in nodes:
        if isinstance(node, ast.Call):
            called = dotted(node.func)
            if any(called == name or called.endswith(f".{name}") for name in names):
                found.append(node)
    return found


def keyword(call: ast.Call, name: str) -> ast.expr | None:
    return next((item.value for item in call.keywords if item.arg == name), None)


def has_keyword(call: ast.Call, name: str) -> bool:
    """Whether the keyword is given; also true for ``**arguments``, which may contain it."""
    return any(item.arg in (name, None) for item in call.keywords)


def literal(node: ast.AST | None, names: dict[str, object] | None = None):
    """The value of a literal, or of a name in ``names``; UNKNOWN for anything else."""
    if isinstance(node, ast.Name) and names and node.id in names:
        return names[node.id]
    try:
        return ast.literal_eval(node) if node is not None else UNKNOWN
    except (ValueError, TypeError, RecursionError):  # not a literal, an unhashable key, or nested too deeply
        return UNKNOWN


def constants(tree: ast.Module) -> dict[str, object]:
    """The module's upper-case names that have literal values."""
    found: dict[str, object] = {}
    for name, value in assignments(tree.body):
        if name.isupper():
            known = literal(value, found)
            if known is not UNKNOWN:
                found[name] = known
    return found


def assignments(body: list[ast.stmt]) -> Iterator[tuple[str, ast.expr]]:
    """Name and value of each plain assignment in a body."""
    for node in body:
        if isinstance(node, ast.Assign):
            for target in node.targets:
                yield dotted(target), node.value
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            yield dotted(node.target), node.value


def classes(tree: ast.Module) -> list[ast.ClassDef]:
    return [node for node in tree.body if isinstance(node, ast.ClassDef)]


def functions(tree: ast.Module) -> list[ast.FunctionDef]:
    return [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def methods(node: ast.ClassDef) -> dict[str, ast.FunctionDef]:
    return {item.name: item for item in node.body if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef)}


def parameters(function: ast.FunctionDef) -> list[str]:
    arguments = function.args
    return [item.arg for item in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]


def declared_options(nodes: list[ast.AST]) -> list[str]:
    """The options that calls of ``add_argument`` declare."""
    texts = [literal(part) for call in calls(nodes, "add_argument") for part in call.args]
    return [text for text in texts if isinstance(text, str) and text.startswith("-")]


def attribute_names(nodes: list[ast.AST]) -> set[str]:
    """The names of all attributes: ``c`` in ``a.b.c``, and ``b``."""
    return {node.attr for node in nodes if isinstance(node, ast.Attribute)}


def variable_names(nodes: list[ast.AST]) -> set[str]:
    """The names of all variables, classes and functions that are used without a dot before them."""
    return {node.id for node in nodes if isinstance(node, ast.Name)}


def called_names(nodes: list[ast.AST]) -> set[str]:
    """The names of all called functions and methods, without the part before the last dot."""
    return {dotted(node.func).rpartition(".")[2] for node in nodes if isinstance(node, ast.Call)}


def function_names(nodes: list[ast.AST]) -> set[str]:
    """The names of all functions and methods that are defined."""
    return {node.name for node in nodes if isinstance(node, ast.FunctionDef)}


def strings(nodes: list[ast.AST]) -> list[str]:
    """Every string, and the fixed parts of f-strings."""
    return [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]


def imports(tree: ast.Module) -> dict[str, str]:
    """The names that the module imports, in function bodies too, each with its origin ``module.name``."""
    found: dict[str, str] = {}
    for node in walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.asname or alias.name: alias.name for alias in node.names}
    return found


def entries(table: ast.Dict, names: dict[str, object]) -> dict[str, object]:
    """A dict literal's values by their string keys. A computed value is given as its source; ``**`` is skipped."""
    found: dict[str, object] = {}
    for key, value in zip(table.keys, table.values, strict=True):
        known = literal(value, names)
        if isinstance(literal(key), str):
            found[literal(key)] = source(value) if known is UNKNOWN else known
    return found


def duplicate_keys(table: ast.Dict) -> list[str]:
    """Keys that a dict literal has more than once: the last one wins silently."""
    keys = [node.value for node in table.keys if isinstance(node, ast.Constant)]
    return sorted({str(key) for key in keys if keys.count(key) > 1})
