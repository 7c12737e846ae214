"""Types, sizes and new arrays: calls of the table that need more than one line of MLX."""

from __future__ import annotations

import ast

from mflux_port.draft.forward.torch_calls.entry import Arguments, filled


def to(call: Arguments) -> ast.expr:
    given = [*call.rest, *([call.raw["dtype"]] if "dtype" in call.raw else [])]
    for raw in given:
        fact = call.writer.fact(raw)
        if fact is not None and fact.always("tensor"):
            return filled("x.astype(y.dtype)", {"x": call.get("x"), "y": call.writer.expr(raw)})
        if fact is not None and fact.always("dtype"):
            wanted = call.writer.dtype(raw)
            complex_ = call.writer.is_complex(call.raw["x"])
            return (
                call.get("x")
                if wanted is None or complex_
                else filled("x.astype(t)", {"x": call.get("x"), "t": wanted})
            )
        if fact is not None and not fact.always("device", "str", "none", "bool"):
            call.refuse("an argument that is not a type, array or device")
    return call.get("x")


def size(call: Arguments) -> ast.expr:
    if "dim" in call.raw:
        return filled("x.shape[d]", {"x": call.get("x"), "d": call.get("dim")})
    return filled("x.shape", {"x": call.get("x")})


def arange(call: Arguments) -> ast.expr:
    named = [call.raw[name] for name in ("start", "end", "step") if name in call.raw]
    if call.rest and named and ("start" in call.raw or "end" in call.raw and len(call.rest) != 1):
        call.refuse("numbers given both by position and by name")
    values = [call.writer.expr(value) for value in (*call.rest, *named)]
    out = ast.Call(filled("mx.arange", {}), values, [])
    if "dtype" in call.raw and call.has("dtype"):
        wanted = call.writer.dtype(call.raw["dtype"])
        out.keywords.append(ast.keyword("dtype", wanted))
    return out


def made(name: str):
    def write(call: Arguments) -> ast.expr:
        out = filled(f"{name}(sizes)", {"sizes": _shape(call)})
        wanted = call.get("dtype") if "dtype" in call.raw else None
        out.keywords += [ast.keyword("dtype", wanted)] if wanted is not None else []
        return out

    return write


def made_like(name: str):
    def write(call: Arguments) -> ast.expr:
        wanted = call.get("dtype") if "dtype" in call.raw else None
        wanted = wanted or filled("x.dtype", {"x": call.get("x")})
        return filled(f"{name}(sizes, dtype=t)", {"sizes": _shape(call), "t": wanted})

    return write


def _shape(call: Arguments) -> ast.expr:
    if len(call.rest) == 1:
        fact = call.writer.fact(call.rest[0])
        if fact is not None and fact.always("int"):
            return ast.Tuple([call.writer.expr(call.rest[0])], ast.Load())
    return call.sizes()


def full_like(call: Arguments) -> ast.expr:
    x = call.get("x")
    wanted = call.get("dtype") if "dtype" in call.raw else None
    values = {"x": x, "v": call.get("fill_value"), "t": wanted or filled("x.dtype", {"x": x})}
    return filled("mx.full(x.shape, v, dtype=t)", values)


def meshgrid(call: Arguments) -> ast.expr:
    indexing = ast.Constant(call.value("indexing", "ij"))
    rest = call.rest
    if len(rest) == 1 and isinstance(rest[0], (ast.List, ast.Tuple)):
        rest = rest[0].elts
    elif len(rest) == 1 and not isinstance(rest[0], ast.Starred):
        fact = call.writer.fact(rest[0])
        rest = rest if fact is None or fact.always("tensor") else [ast.Starred(rest[0], ast.Load())]
    values = [call.writer.expr(value) for value in rest]
    return ast.Call(filled("mx.meshgrid", {}), values, [ast.keyword("indexing", indexing)])
