"""Remove the parts of a returned tuple that nothing in the class reads."""

from __future__ import annotations

import ast

from mflux_port.draft.forward.writer.style import tidy


def without_unread_parts(nodes: list[ast.FunctionDef]) -> None:
    """Remove the items of returned tuples that every call in the class assigns to ``_``."""
    changed = True
    while changed:
        changed = any([_shortened(node, nodes) for node in nodes if _is_private(node.name)])


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def _shortened(node: ast.FunctionDef, nodes: list[ast.FunctionDef]) -> bool:
    returned = [one.value for one in ast.walk(node) if isinstance(one, ast.Return)]
    targets = _targets(node.name, nodes)
    if not targets or not all(isinstance(one, ast.Tuple) for one in [*returned, *targets]):
        return False
    lengths = {len(one.elts) for one in [*returned, *targets]}
    if len(lengths) != 1 or any(isinstance(part, ast.FunctionDef) for part in ast.walk(node) if part is not node):
        return False
    unread = [place for place in range(lengths.pop()) if all(_is_unread(one.elts[place]) for one in targets)]
    if not unread or len(unread) == len(targets[0].elts):
        return False
    for one in [*returned, *targets, *_annotation(node, len(targets[0].elts))]:
        one.elts = [part for place, part in enumerate(one.elts) if place not in unread]
    for one in nodes:
        _Single(node.name, one is node).visit(one)
    tidy(node)
    return True


def _targets(name: str, nodes: list[ast.FunctionDef]) -> list[ast.expr]:
    # The targets of a method's results; none if one of its calls is not a separate assignment.
    parts = [part for node in nodes for part in ast.walk(node)]
    named = [part for part in parts if isinstance(part, ast.Attribute) and part.attr == name]
    found = [part.targets[0] for part in parts if isinstance(part, ast.Assign) and len(part.targets) == 1
             and isinstance(part.value, ast.Call) and getattr(part.value.func, "attr", "") == name]  # fmt: skip
    return found if len(found) == len(named) else []


def _is_unread(target: ast.expr) -> bool:
    return isinstance(target, ast.Name) and target.id == "_"


def _annotation(node: ast.FunctionDef, length: int) -> list[ast.Tuple]:
    returns = node.returns
    if (
        isinstance(returns, ast.Subscript)
        and isinstance(returns.slice, ast.Tuple)
        and len(returns.slice.elts) == length
    ):
        return [returns.slice]
    node.returns = None
    return []


class _Single(ast.NodeTransformer):
    """The only item that is left in a tuple."""

    def __init__(self, name: str, is_own: bool):
        self.name, self.is_own = name, is_own

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        self.generic_visit(node)
        if self.is_own and isinstance(node.returns, ast.Subscript) and _is_one(node.returns.slice):
            node.returns = node.returns.slice.elts[0]
        return node

    def visit_Return(self, node: ast.Return) -> ast.Return:
        if self.is_own and _is_one(node.value):
            node.value = node.value.elts[0]
        return node

    def visit_Assign(self, node: ast.Assign) -> ast.Assign:
        called = getattr(node.value, "func", None)
        if getattr(called, "attr", "") == self.name and _is_one(node.targets[0]):
            node.targets = [node.targets[0].elts[0]]
        return node


def _is_one(node: ast.AST | None) -> bool:
    return isinstance(node, ast.Tuple) and len(node.elts) == 1
