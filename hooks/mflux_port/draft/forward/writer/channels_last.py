"""Neighbouring layers that take channels last share one change of axes before the first and one after the last.

The table writes ``SHARED.channels_last(layer, x)`` for every convolution, and ``SHARED.channels_last_norm`` for every
norm over channels, which change the axes twice. Between two such layers with nothing but element-wise functions, both
changes cancel out.
"""

from __future__ import annotations

import ast

from mflux_port.draft.forward.torch_calls.entry import filled

# A layer's call with both changes of axes, and the same without them.
_LAYERS = {"SHARED.channels_last": "layer(x)", "SHARED.channels_last_norm": "SHARED.float32_norm(layer, x)"}
_BEFORE, _AFTER = "mx.moveaxis(x, 1, -1)", "mx.moveaxis(x, -1, 1)"
_ELEMENTWISE = {"nn.silu", "nn.relu", "nn.relu6", "nn.gelu", "nn.gelu_approx", "nn.leaky_relu", "nn.elu", "nn.mish",
                "nn.softplus", "nn.hardswish", "nn.log_sigmoid", "mx.tanh", "mx.sigmoid"}  # fmt: skip


def join_layers(node: ast.FunctionDef) -> None:
    """Rewrite runs of layers in a written function that need their axes changed only once."""
    loads: dict[str, int] = {}
    for one in ast.walk(node):
        if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Load):
            loads[one.id] = loads.get(one.id, 0) + 1
    for one in ast.walk(node):
        for name in ("body", "orelse"):
            block = getattr(one, name, None)
            if isinstance(block, list):
                for run in _runs(block, loads):
                    _join(run)


def _runs(block: list[ast.stmt], loads: dict[str, int]) -> list[list[ast.stmt]]:
    """Statements in a row, each of which only applies layers to the result of the one before it."""
    found: list[list[ast.stmt]] = [[]]
    for statement in block:
        chain = _chain(statement)
        if found[-1] and not (chain and _follows(statement, found[-1][-1], loads)):
            found.append([])
        if chain:
            found[-1].append(statement)
    trimmed = (_trimmed(run) for run in found)
    return [run for run in trimmed if sum(_layers(statement) for statement in run) > 1]


def _follows(statement: ast.stmt, before: ast.stmt, loads: dict[str, int]) -> bool:
    # Nothing else reads the result of the statement before it.
    inner, given = _innermost(statement.value), before.targets[0].id if isinstance(before, ast.Assign) else None
    if not isinstance(inner, ast.Name) or inner.id != given:
        return False
    replaced = isinstance(statement, ast.Assign) and statement.targets[0].id == given
    return replaced or isinstance(statement, ast.Return) or loads[given] == 1


def _trimmed(run: list[ast.stmt]) -> list[ast.stmt]:
    places = [place for place, statement in enumerate(run) if _layers(statement)]
    return run[places[0] : places[-1] + 1] if places else []


def _chain(statement: ast.stmt) -> bool:
    # A statement that applies one layer or element-wise function after another.
    named = isinstance(statement, ast.Assign) and [type(target) for target in statement.targets] == [ast.Name]
    if not (named or isinstance(statement, ast.Return)) or statement.value is None:
        return False
    return _argument(statement.value) is not None


def _argument(value: ast.expr) -> ast.expr | None:
    """The expression that a layer or an element-wise function is applied to; None for any other expression."""
    if not isinstance(value, ast.Call) or value.keywords or not value.args:
        return None
    called = ast.unparse(value.func)
    return value.args[1] if called in _LAYERS else value.args[0] if called in _ELEMENTWISE else None


def _innermost(value: ast.expr) -> ast.expr:
    while (inner := _argument(value)) is not None:
        value = inner
    return value


def _layers(statement: ast.stmt) -> int:
    value, count = statement.value, 0
    while (inner := _argument(value)) is not None:
        count += ast.unparse(value.func) in _LAYERS
        value = inner
    return count


def _join(run: list[ast.stmt]) -> None:
    for statement in run:
        statement.value = _rewritten(statement.value, statement is run[0])
    run[-1].value = filled(_AFTER, {"x": run[-1].value})


def _rewritten(value: ast.expr, is_first: bool) -> ast.expr:
    """The same layers called without a change of axes, with one before the innermost if ``is_first``."""
    inner = _argument(value)
    if inner is None:
        return filled(_BEFORE, {"x": value}) if is_first else value
    inner = _rewritten(inner, is_first)
    text = _LAYERS.get(ast.unparse(value.func))
    if text is not None:
        return filled(text, {"layer": value.args[0], "x": inner})
    return ast.Call(value.func, [inner, *value.args[1:]], [])
