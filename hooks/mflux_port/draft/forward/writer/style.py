"""Passes over written functions that change their style, not what they compute."""

from __future__ import annotations

import ast
import copy


def tidy(node: ast.FunctionDef) -> ast.FunctionDef:
    """Remove unused code from a written function."""
    while _swept(node):
        pass
    loads = {one.id for one in ast.walk(node) if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Load)}
    node = _Plainer(loads).visit(node)
    _return_at_once(node.body)
    return node


def _return_at_once(body: list[ast.stmt]) -> None:
    # x = f(y) and then return x: return f(y).
    if len(body) < 2 or not isinstance(body[-1], ast.Return) or not isinstance(body[-2], ast.Assign):
        return
    given, result = body[-2], body[-1].value
    if isinstance(result, ast.Name) and len(given.targets) == 1 and ast.unparse(given.targets[0]) == result.id:
        body[-2:] = [ast.copy_location(ast.Return(given.value), given)]
        body[-1].is_spaced = getattr(given, "is_spaced", False)


def lifted(node: ast.FunctionDef, taken: set[str]) -> list[ast.FunctionDef]:
    """The functions inside a written function that use none of its variables: they become static methods."""
    found = []
    for inner in [one for one in node.body if isinstance(one, ast.FunctionDef)]:
        if _free_names(inner) - _names_of(node) != _free_names(inner):
            continue
        name = f"_{inner.name.lstrip('_')}"
        if name in taken:
            continue
        _Renamed(inner.name, name).visit(node)
        node.body.remove(inner)
        inner.name, inner.decorator_list = name, [ast.Name("staticmethod", ast.Load())]
        inner.returns = inner.returns or None
        found.append(inner)
    return found


def _free_names(node: ast.FunctionDef) -> set[str]:
    own = {arg.arg for arg in node.args.args} | {node.name}
    names = [one for one in ast.walk(node) if isinstance(one, ast.Name)]
    own |= {one.id for one in names if isinstance(one.ctx, ast.Store)}
    return {one.id for one in names} - own


def _names_of(node: ast.FunctionDef) -> set[str]:
    own = {arg.arg for arg in node.args.args}
    for one in ast.walk(node):
        if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store):
            own.add(one.id)
        elif isinstance(one, ast.FunctionDef) and one is not node:
            own.add(one.name)
    return own


class _Renamed(ast.NodeTransformer):
    """Turn calls of a local function into calls of a static method."""

    def __init__(self, old: str, new: str):
        self.old, self.new = old, new

    def visit_Name(self, node: ast.Name) -> ast.expr:
        if node.id != self.old:
            return node
        return ast.Attribute(ast.Name("CLASS", ast.Load()), self.new, ast.Load())


class _Plainer(ast.NodeTransformer):
    """Remove lists of lists, and counters that nothing reads."""

    def __init__(self, loads: set[str]):
        self.loads = loads

    def visit_Call(self, node: ast.Call) -> ast.expr:
        self.generic_visit(node)
        if isinstance(node.func, ast.Name) and node.func.id == "list" and len(node.args) == 1:
            inner = node.args[0]
            if isinstance(inner, ast.Call) and ast.unparse(inner.func) in _LISTS:
                return inner
        return node

    def visit_ListComp(self, node: ast.ListComp) -> ast.expr:
        self.generic_visit(node)
        one = node.generators[0]
        plain = len(node.generators) == 1 and not one.ifs and isinstance(node.elt, ast.Name)
        if plain and ast.unparse(one.target) == node.elt.id and isinstance(one.iter, (ast.Name, ast.Attribute)):
            return ast.Call(ast.Name("list", ast.Load()), [one.iter], [])
        return node

    def visit_For(self, node: ast.For) -> ast.stmt:
        self.generic_visit(node)
        counted = isinstance(node.iter, ast.Call) and ast.unparse(node.iter.func) == "enumerate"
        pair = isinstance(node.target, ast.Tuple) and len(node.target.elts) == 2
        if counted and pair and len(node.iter.args) == 1 and not node.iter.keywords:
            counter = node.target.elts[0]
            if isinstance(counter, ast.Name) and counter.id not in self.loads:
                node.target, node.iter = node.target.elts[1], node.iter.args[0]
        return node

    def visit_Assign(self, node: ast.Assign) -> ast.stmt:
        self.generic_visit(node)
        for target in node.targets:
            if isinstance(target, ast.Tuple):
                for one in ast.walk(target):
                    if isinstance(one, ast.Name) and one.id not in self.loads:
                        one.id = "_"
        return node


_LISTS = {"list", "mx.split", "SHARED.split_sizes", "SHARED.unbind", "mx.meshgrid"}


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
            elif _has_equal_sides(node):
                self.removed = True
                node.body[0].is_spaced = getattr(node, "is_spaced", False)
                kept += node.body
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


def _has_equal_sides(node: ast.stmt) -> bool:
    # A test with two equal branches: they differed only in what was folded.
    if (
        not isinstance(node, ast.If)
        or not node.body
        or any(isinstance(one, ast.NamedExpr) for one in ast.walk(node.test))
    ):
        return False
    return [ast.dump(one) for one in node.body] == [ast.dump(one) for one in node.orelse]


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
    read = {one.id for one in ast.walk(attend) if isinstance(one, ast.Name)}
    given = {name: value for name, value in given.items() if name in read or not isinstance(value, ast.Constant)}
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
