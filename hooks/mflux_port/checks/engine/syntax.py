"""Small questions to a syntax tree."""

from __future__ import annotations

import ast
from collections.abc import Iterator

UNKNOWN = object()


def dotted(node: ast.AST | None) -> str:
    """``a.b.c`` for a chain of names, calls and subscripts left out; empty for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        left = dotted(node.value)
        return f"{left}.{node.attr}" if left else node.attr
    return ""


def walk(root: ast.AST) -> list[ast.AST]:
    """Every node of a tree, outer ones first, without the contexts (Load, Store): half the nodes, and ask for nothing."""
    found = [root]
    for node in found:  # which grows meanwhile; ast.walk's generators take twice the time
        for name in node._fields:
            value = getattr(node, name, None)
            if isinstance(value, list):
                found += [item for item in value if isinstance(item, ast.AST)]
            elif isinstance(value, ast.AST) and name != "ctx":
                found.append(value)
    return found


def written(node: ast.AST) -> str:
    """An expression as source."""
    try:
        return ast.unparse(node)
    except RecursionError:
        return "an expression"


def calls(nodes: list[ast.AST], *names: str) -> list[ast.Call]:
    """The calls whose dotted name is, or ends in, one of ``names``."""
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
    """True also for a call with ``**arguments``, whose keywords nobody can read."""
    return any(item.arg in (name, None) for item in call.keywords)


def literal(node: ast.AST | None, names: dict[str, object] | None = None):
    """The value of a literal (of names among ``names`` too), UNKNOWN when it is none."""
    if isinstance(node, ast.Name) and names and node.id in names:
        return names[node.id]
    try:
        return ast.literal_eval(node) if node is not None else UNKNOWN
    except (ValueError, TypeError, RecursionError):  # no literal, an unhashable key, a tower of signs
        return UNKNOWN


def constants(tree: ast.Module) -> dict[str, object]:
    """The module's upper case names with literal values."""
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


def strings(nodes: list[ast.AST]) -> list[str]:
    """Every piece of text, f-strings' fixed parts too."""
    return [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]


def imports(tree: ast.Module) -> dict[str, str]:
    """Each name that the module imports, with ``module.name`` as its origin (function bodies included)."""
    found: dict[str, str] = {}
    for node in walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.asname or alias.name: alias.name for alias in node.names}
    return found


def entries(table: ast.Dict, names: dict[str, object]) -> dict[str, object]:
    """A dict literal's values by their text keys. A value that is computed is given as its code; ``**`` is passed over."""
    found: dict[str, object] = {}
    for key, value in zip(table.keys, table.values, strict=True):
        known = literal(value, names)
        if isinstance(literal(key), str):
            found[literal(key)] = written(value) if known is UNKNOWN else known
    return found


def twice(table: ast.Dict) -> list[str]:
    """Keys that a dict literal holds more than once: the last one wins without a word."""
    keys = [node.value for node in table.keys if isinstance(node, ast.Constant)]
    return sorted({str(key) for key in keys if keys.count(key) > 1})
