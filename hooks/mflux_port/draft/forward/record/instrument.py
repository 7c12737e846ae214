"""An instrumented copy of a function: every expression passes its value through ``__recorded__``."""

from __future__ import annotations

import ast
import copy
import types

from mflux_port.draft.forward.record.sources import Source

_BARE = ("super", "locals")  # calls that inspect their own frame


def instrumented(source: Source, code: types.CodeType) -> types.CodeType | None:
    """The code that replaces ``code``; None if it cannot have the same free variables."""
    tree = _Instrument(source.key).function(copy.deepcopy(source.tree))
    owner = source.parameters[0].arg if source.is_method else "None"
    start = ast.parse(f"__entered__({source.key!r}, {owner})").body
    end = ast.parse("__left__()").body
    tree.body = [*start, ast.Try(tree.body, [], [], end)]
    module = ast.Module([_outer(tree, code.co_freevars) if code.co_freevars else tree], [])
    compiled = compile(ast.fix_missing_locations(module), source.path, "exec")
    for _ in range(2 if code.co_freevars else 1):
        compiled = next(const for const in compiled.co_consts if isinstance(const, types.CodeType))
    return compiled if compiled.co_freevars == code.co_freevars else None


def _outer(tree: ast.FunctionDef, names: tuple[str, ...]) -> ast.FunctionDef:
    # An outer function whose local variables are the function's free variables.
    none = [ast.Assign([ast.Name(name, ast.Store())], ast.Constant(None)) for name in names]
    body = [*none, tree, ast.Return(ast.Name(tree.name, ast.Load()))]
    return ast.FunctionDef("__outer__", ast.arguments([], [], None, [], [], None, []), body, [], None)


class _Instrument(ast.NodeTransformer):
    def __init__(self, key: str):
        self.key = key

    def function(self, node: ast.FunctionDef) -> ast.FunctionDef:
        node.args.defaults = [ast.Constant(None) for _ in node.args.defaults]
        node.args.kw_defaults = [value and ast.Constant(None) for value in node.args.kw_defaults]
        return self._body(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        node.args.defaults = [self.visit(value) for value in node.args.defaults]
        return self._body(node)

    def _body(self, node: ast.FunctionDef) -> ast.FunctionDef:
        node.decorator_list, node.returns = [], None
        args = node.args
        every = [*args.posonlyargs, *args.args, *args.kwonlyargs, args.vararg, args.kwarg]
        every = [arg for arg in every if arg is not None]
        for arg in every:
            arg.annotation = None
        record = [ast.Expr(self._recorded(ast.Name(arg.arg, ast.Load()), arg.number)) for arg in every]
        node.body = record + [self.visit(part) for part in node.body]
        return node

    def visit_Lambda(self, node: ast.Lambda) -> ast.expr:
        node.body = self.visit(node.body)
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AnnAssign:
        node.annotation = ast.Constant(None)
        node.value = node.value and self.visit(node.value)
        return node

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.expr:
        return self._recorded(node, node.number)  # only the whole text, not its parts

    def visit_Call(self, node: ast.Call) -> ast.expr:
        if isinstance(node.func, ast.Name) and node.func.id in _BARE:
            return node
        return self._expression(node)

    def visit(self, node: ast.AST) -> ast.AST:
        if isinstance(node, ast.expr) and type(node).__name__ not in ("Lambda", "JoinedStr", "Call"):
            return self._expression(node)
        return super().visit(node)

    def _expression(self, node: ast.expr) -> ast.expr:
        number, plain = getattr(node, "number", None), (ast.Starred, ast.Constant, ast.Slice)
        read = isinstance(getattr(node, "ctx", ast.Load()), ast.Load)
        node = self.generic_visit(node)
        return self._recorded(node, number) if read and number is not None and not isinstance(node, plain) else node

    def _recorded(self, node: ast.expr, number: int) -> ast.expr:
        name = ast.Name("__recorded__", ast.Load())
        return ast.copy_location(ast.Call(name, [ast.Constant(self.key), ast.Constant(number), node], []), node)
