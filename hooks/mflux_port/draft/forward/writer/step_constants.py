"""A transformer's rotary embeddings and positions, which are the same in every step, as a method.

``get_rotary_embeddings`` takes the forward pass's arguments that it reads, with their defaults. The forward pass takes
its result as ``rotary_embeddings`` and computes it itself if it is not given.
"""

from __future__ import annotations

import ast
import copy
import re
from collections.abc import Callable

METHOD, ARGUMENT = "get_rotary_embeddings", "rotary_embeddings"
_PER_STEP = ("hidden_states", "x", "sample", "latents", "latent_model_input", "timestep", "timesteps", "t", "guidance")
OF_A_SHAPE = ("shape", "ndim", "dtype", "size")


def split_off(
    node: ast.FunctionDef,
    is_table: Callable[[str], bool],
    type_of: Callable[[str], str],
    reads_shape: Callable[[str, int | str], bool],
) -> ast.FunctionDef | None:
    """Move the rotary embeddings out of a forward pass. Returns the new method, None if there is nothing to move.

    ``is_table``: whether an attribute of the model is a number, or a module without weights; ``type_of``: of a name;
    ``reads_shape``: whether such a module reads nothing but the shape of an argument, by its place or keyword.
    """
    reader = _Reader(node, is_table, reads_shape)
    same = [statement for statement in node.body if reader.reads(statement)]
    tables = _made_of_modules(same)
    rest = [statement for statement in node.body if statement not in same]
    wanted = sorted(tables & _loads(rest) & reader.stored_once(node.body))
    moved = _slice(same, set(wanted))
    parameters = [arg for arg in node.args.args[1:] if arg.arg in _loads(moved)]
    if not wanted or not parameters or any(type_of(name) in ("", "None") for name in wanted):
        return None
    method = _method(moved, wanted, _taken(node, parameters), type_of)
    kept = _slice(same, _loads(rest) - set(wanted))
    node.body = [*_given(wanted, parameters), *(one for one in node.body if one in kept or one in rest)]
    node.body[len(_given(wanted, parameters))].is_spaced = True
    kind = method.returns
    node.args.args.append(ast.arg(ARGUMENT, ast.BinOp(copy.deepcopy(kind), ast.BitOr(), ast.Constant(None))))
    node.args.defaults.append(ast.Constant(None))
    if len(wanted) == 1:
        _rename(node.body, wanted[0])
    return method


def _given(wanted: list[str], parameters: list[ast.arg]) -> list[ast.stmt]:
    names = ", ".join(arg.arg for arg in parameters)
    lines = [f"if {ARGUMENT} is None:\n    {ARGUMENT} = self.{METHOD}({names})"]
    lines += [f"{', '.join(wanted)} = {ARGUMENT}"] if len(wanted) > 1 else []
    return [statement for line in lines for statement in ast.parse(line).body]


def _taken(node: ast.FunctionDef, parameters: list[ast.arg]) -> ast.arguments:
    plain = len(node.args.args) - len(node.args.defaults)
    defaults = [
        value for arg, value in zip(node.args.args[plain:], node.args.defaults, strict=True) if arg in parameters
    ]
    return copy.deepcopy(ast.arguments([], [ast.arg("self"), *parameters], None, [], [], None, defaults))


def _method(body: list[ast.stmt], wanted: list[str], arguments: ast.arguments, type_of: Callable) -> ast.FunctionDef:
    kinds = [type_of(name) for name in wanted]
    returns = kinds[0] if len(kinds) == 1 else f"tuple[{', '.join(kinds)}]"
    result = ast.parse(f"return {', '.join(wanted)}").body[0]
    annotation = ast.parse(returns, mode="eval").body
    return ast.FunctionDef(METHOD, arguments, [*copy.deepcopy(body), result], [], annotation, type_params=[])


def _rename(body: list[ast.stmt], name: str) -> None:
    for statement in body:
        for node in ast.walk(statement):
            if isinstance(node, ast.Name) and node.id == name:
                node.id = ARGUMENT


class _Reader:
    """Walks a forward pass and records which names are the same in every step."""

    def __init__(self, node: ast.FunctionDef, is_table: Callable, reads_shape: Callable):
        names = [arg.arg for arg in node.args.args[1:]]
        self.is_table, self.reads_shape = is_table, reads_shape
        self.given = set(names)
        self.same = {name for name in names if name not in _PER_STEP and "hidden" not in name and "embed" not in name}
        self.changing: set[str] = set()

    def reads(self, statement: ast.stmt) -> bool:
        """Whether a statement computes the same in every step."""
        same = isinstance(statement, (ast.Assign, ast.If)) and self._is_same(statement)
        stores = _stores([statement])
        (self.same if same else self.changing).update(stores)
        (self.changing if same else self.same).difference_update(stores)
        self.given -= stores
        return same

    def _is_same(self, node: ast.AST) -> bool:
        if isinstance(node, ast.Return):
            return False
        if isinstance(node, ast.Attribute):
            return self._is_same_attribute(node)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            return node.id in self.same or node.id not in self.changing | self.given and node.id != "self"
        if isinstance(node, ast.Call) and re.fullmatch(r"self\.\w+", ast.unparse(node.func)):
            return self._is_same(node.func) and self._has_same_arguments(node, node.func.attr)
        return all(self._is_same(child) for child in ast.iter_child_nodes(node))

    def _has_same_arguments(self, node: ast.Call, module: str) -> bool:
        arguments = [*enumerate(node.args), *((keyword.arg, keyword.value) for keyword in node.keywords)]
        return all(self._is_same(value) or self._is_shape(value, module, key) for key, value in arguments)

    def _is_shape(self, value: ast.expr, module: str, key: int | str) -> bool:
        return isinstance(value, ast.Name) and value.id in self.given and self.reads_shape(module, key)

    def _is_same_attribute(self, node: ast.Attribute) -> bool:
        if isinstance(node.value, ast.Name) and node.value.id == "self":
            return self.is_table(node.attr)
        if isinstance(node.value, ast.Name) and node.value.id in self.given and node.attr in OF_A_SHAPE:
            return True
        return self._is_same(node.value)

    def stored_once(self, body: list[ast.stmt]) -> set[str]:
        """Names to which no statement assigns a value that changes from step to step."""
        return _stores(body) - self.changing


def _made_of_modules(same: list[ast.stmt]) -> set[str]:
    # Names computed with a call of one of the model's modules.
    found: set[str] = set()
    for statement in same:
        calls = any(
            isinstance(node, ast.Call) and ast.unparse(node.func).startswith("self.") for node in ast.walk(statement)
        )
        if calls or _loads([statement]) & found:
            found |= _stores([statement])
    return found


def _slice(statements: list[ast.stmt], wanted: set[str]) -> list[ast.stmt]:
    # The statements that compute the names.
    needed, kept = set(wanted), []
    for statement in reversed(statements):
        if _stores([statement]) & needed:
            kept.append(statement)
            needed |= _loads([statement])
    return kept[::-1]


def _stores(body: list[ast.stmt]) -> set[str]:
    return {
        node.id
        for one in body
        for node in ast.walk(one)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }


def _loads(body: list[ast.stmt]) -> set[str]:
    return {
        node.id
        for one in body
        for node in ast.walk(one)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    }
