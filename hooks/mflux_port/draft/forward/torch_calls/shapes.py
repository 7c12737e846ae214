"""Joining, cutting and reshaping: calls of the table that need more than one line of MLX."""

from __future__ import annotations

import ast

from mflux_port.draft.forward.torch_calls.entry import Arguments, filled


def vstack(call: Arguments) -> ast.expr:
    _needs_rank_two(call)
    return filled("mx.concatenate(tensors, axis=0)", {"tensors": call.get("tensors")})


def hstack(call: Arguments) -> ast.expr:
    _needs_rank_two(call)
    return filled("mx.concatenate(tensors, axis=1)", {"tensors": call.get("tensors")})


def _needs_rank_two(call: Arguments) -> None:
    parts = getattr(call.raw["tensors"], "elts", None)
    if parts is None or any((fact := call.writer.fact(part)) is None or (fact.rank or 0) < 2 for part in parts):
        call.refuse("of arrays whose rank is not known to be two or more")


def chunk(call: Arguments) -> ast.expr:
    fact = call.fact("x")
    count, dim = call.writer.value(call.raw["chunks"]), call.writer.value(call.raw.get("dim", ast.Constant(0)))
    if type(count) is int and type(dim) is int and fact and any(shape[dim] % count for shape in fact.shapes):
        call.refuse("chunks of different sizes")
    values = {"x": call.get("x"), "chunks": call.get("chunks"), "dim": call.get("dim")}
    return filled("mx.split(x, chunks, axis=dim)", values)


def chunk_evenly(call: Arguments) -> ast.expr:
    call.raw["chunks"] = call.raw["indices_or_sections"]
    fact = call.fact("chunks")
    if fact is None or not fact.always("int"):
        call.refuse("sections that are not a number")
    call.entry = type(call.entry)("x chunks dim=0", chunk)
    return chunk(call)


def split(call: Arguments) -> ast.expr:
    raw, fact = call.raw["split_size_or_sections"], call.fact("split_size_or_sections")
    values = {"x": call.get("x"), "dim": call.get("dim")}
    if fact is not None and fact.always("int"):
        return call.writer.helper("split_by", values["x"], call.get("split_size_or_sections"), values["dim"])
    if isinstance(raw, (ast.List, ast.Tuple)) and not any(isinstance(part, ast.Starred) for part in raw.elts):
        parts = [call.writer.expr(part) for part in raw.elts]
        places = parts[:1]
        for part in parts[1:-1]:
            places.append(ast.BinOp(places[-1], ast.Add(), part))
        if len(raw.elts) == 1:
            return ast.List([values["x"]], ast.Load())
        return filled("mx.split(x, places, axis=dim)", values | {"places": ast.List(places, ast.Load())})
    return call.writer.helper("split_sizes", values["x"], call.get("split_size_or_sections"), values["dim"])


def unbind(call: Arguments) -> ast.expr:
    dim = call.get("dim")
    if isinstance(dim, ast.Constant) and dim.value == 0:
        return filled("list(x)", {"x": call.get("x")})
    return call.writer.helper("unbind", call.get("x"), dim)


def narrow(call: Arguments) -> ast.expr:
    dim = call.value("dim")
    rank = call.rank()
    start, length = call.get("start"), call.get("length")
    part = ast.Slice(start, ast.BinOp(start, ast.Add(), length))
    index = [ast.Slice() for _ in range(dim % rank)] + [part]
    return ast.Subscript(call.get("x"), ast.Tuple(index, ast.Load()) if len(index) > 1 else part, ast.Load())


def reshape(call: Arguments) -> ast.expr:
    if len(call.rest) == 1:
        fact = call.writer.fact(call.rest[0])
        if fact is not None and fact.always("dtype"):
            return filled("x.view(t)", {"x": call.get("x"), "t": call.writer.dtype(call.rest[0])})
    return filled("x.reshape(*sizes)", {"x": call.get("x"), "sizes": call.sizes()})


def permute(call: Arguments) -> ast.expr:
    return filled("x.transpose(*sizes)", {"x": call.get("x"), "sizes": call.sizes()})


def expand(call: Arguments) -> ast.expr:
    sizes, x = call.sizes(), call.get("x")
    fact = call.fact("x")
    if not isinstance(sizes, ast.Tuple) or any(isinstance(size, ast.Starred) for size in sizes.elts):
        return call.writer.helper("expand", x, sizes)
    kept = [_is_minus_one(size) for size in sizes.elts]
    if not any(kept):
        return filled("mx.broadcast_to(x, sizes)", {"x": x, "sizes": sizes})
    if fact is None or fact.rank is None or not isinstance(x, ast.Name):
        return call.writer.helper("expand", x, sizes)
    lead = len(sizes.elts) - fact.rank
    for place, keep in enumerate(kept):
        if keep:
            sizes.elts[place] = filled("x.shape[i]", {"x": x, "i": ast.Constant(place - lead)})
    return filled("mx.broadcast_to(x, sizes)", {"x": x, "sizes": sizes})


def _is_minus_one(node: ast.expr) -> bool:
    return ast.unparse(node) == "-1"


def flatten(call: Arguments) -> ast.expr:
    if "start_dim" not in call.raw and "end_dim" not in call.raw:
        return filled("x.reshape(-1)", {"x": call.get("x")})
    values = {"x": call.get("x"), "a": call.get("start_dim"), "b": call.get("end_dim")}
    fact, end = call.fact("x"), ast.unparse(values["b"])
    if end == "-1" or fact is not None and fact.rank is not None and end == str(fact.rank - 1):
        return filled("x.flatten(a)", values)
    return filled("x.flatten(a, b)", values)


def movedim(call: Arguments) -> ast.expr:
    if any((fact := call.fact(name)) is None or not fact.always("int") for name in ("source", "destination")):
        call.refuse("more than one axis at once")
    values = {"x": call.get("x"), "a": call.get("source"), "b": call.get("destination")}
    return filled("mx.moveaxis(x, a, b)", values)


def squeeze(call: Arguments) -> ast.expr:
    if "dim" not in call.raw:
        return filled("x.squeeze()", {"x": call.get("x")})
    dim, fact = call.writer.value(call.raw["dim"]), call.fact("x")
    values = {"x": call.get("x"), "d": call.get("dim")}
    if type(dim) is not int or fact is None:
        return filled("x.squeeze(d)", values)
    ones = {shape[dim] == 1 for shape in fact.shapes if len(shape) > (dim if dim >= 0 else -dim - 1)}
    # torch ignores an axis longer than 1, MLX refuses it.
    return filled("x.squeeze(d)" if ones == {True} else "x.squeeze(d) if x.shape[d] == 1 else x", values)


def flip(call: Arguments) -> ast.expr:
    rank, dims = call.rank(), call.sizes()
    places = ast.literal_eval(dims)
    places = {place % rank for place in (places if isinstance(places, (tuple, list)) else (places,))}
    index = [ast.Slice(None, None, ast.Constant(-1)) if place in places else ast.Slice() for place in range(rank)]
    return ast.Subscript(call.get("x"), ast.Tuple(index, ast.Load()), ast.Load())


def repeat_interleave(call: Arguments) -> ast.expr:
    fact = call.fact("repeats")
    if fact is not None and "tensor" in fact.kinds:
        return call.writer.helper("repeat_each", call.get("x"), call.get("repeats"), call.get("dim") or ast.Constant(0))
    values = {"x": call.get("x"), "n": call.get("repeats"), "dim": call.get("dim")}
    return filled("mx.repeat(x, n, axis=dim)", values)
