"""Passes over written functions that change how they read and not what they compute."""

from __future__ import annotations

import ast
import copy


def tidy(node: ast.FunctionDef) -> ast.FunctionDef:
    """A written function without what nothing reads."""
    while _swept(node):
        pass
    return node


def _swept(node: ast.FunctionDef) -> bool:
    loads = {one.id for one in ast.walk(node) if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Load)}
    sweeper = _Sweeper(loads)
    node.body = sweeper.block(node.body) or [ast.Pass()]
    return sweeper.removed


class _Sweeper:
    def __init__(self, loads: set[str]):
        self.loads, self.removed = loads, False

    def block(self, body: list[ast.stmt]) -> list[ast.stmt]:
        kept = []
        for node in body:
            for name in ("body", "orelse"):
                if isinstance(getattr(node, name, None), list) and getattr(node, name):
                    setattr(node, name, self.block(getattr(node, name)))
            if self._is_dead(node):
                self.removed = True
            else:
                kept.append(node)
        return kept

    def _is_dead(self, node: ast.stmt) -> bool:
        if isinstance(node, ast.Assign) and all(map(_is_names, node.targets)):
            names = {one.id for target in node.targets for one in ast.walk(target) if isinstance(one, ast.Name)}
            return not names & self.loads or _gives_itself(node)
        if isinstance(node, ast.FunctionDef):
            return node.name not in self.loads
        if isinstance(node, ast.Pass):
            return True
        if isinstance(node, ast.If) and not node.body:
            if not node.orelse:
                return True
            from mflux_port.draft.forward.writer.branches import negated

            node.test, node.body, node.orelse = negated(node.test), node.orelse, []
        return isinstance(node, ast.For) and not node.body


def _is_names(target: ast.expr) -> bool:
    return isinstance(target, ast.Name) or isinstance(target, ast.Tuple) and all(map(_is_names, target.elts))


def _gives_itself(node: ast.Assign) -> bool:
    return len(node.targets) == 1 and ast.unparse(node.targets[0]) == ast.unparse(node.value)


def merged_processor(outer: ast.FunctionDef, attend: ast.FunctionDef) -> ast.FunctionDef | None:
    """``outer`` with the body of ``attend``, when it only returns a call of it; else None."""
    if len(outer.body) != 1 or not isinstance(outer.body[0], ast.Return):
        return None
    call = outer.body[0].value
    if not isinstance(call, ast.Call) or ast.unparse(call.func) != f"self.{attend.name}":
        return None
    names = [arg.arg for arg in attend.args.args[1:]]
    given = dict(zip(names, call.args, strict=False)) | {one.arg: one.value for one in call.keywords}
    if not all(isinstance(value, ast.Name) for value in given.values()):
        return None
    renamed = {inner: value.id for inner, value in given.items()}
    used = {one.id for one in ast.walk(attend) if isinstance(one, ast.Name)} | {
        arg.arg for one in ast.walk(attend) if isinstance(one, ast.arguments) for arg in one.args
    }
    if any(outer_name != inner and outer_name in used for inner, outer_name in renamed.items()):
        return None
    merged = copy.deepcopy(attend)
    for one in ast.walk(merged):
        if isinstance(one, ast.Name) and one.id in renamed:
            one.id = renamed[one.id]
        elif isinstance(one, ast.arg) and one.arg in renamed:
            one.arg = renamed[one.arg]
    merged.name, merged.args, merged.returns = outer.name, outer.args, outer.returns or merged.returns
    return merged
