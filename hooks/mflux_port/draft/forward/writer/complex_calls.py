"""Calls on complex arrays. In MLX code they are pairs: a real array with one more axis, of length 2, at the end."""

from __future__ import annotations

import ast

from mflux_port.draft.forward.torch_calls.entry import Arguments

_AXES = ("dim", "dim0", "dim1", "start_dim", "end_dim", "dims", "source", "destination")
_SAME = {"cat", "concat", "concatenate", "stack", "unsqueeze", "squeeze", "transpose", "swapaxes", "chunk", "split",
         "unbind", "index_select", "contiguous", "clone", "detach", "to", "conj", "view_as_real", "repeat_interleave",
         "roll", "pad_sequence", "movedim", "cpu", "select", "polar", "split_with_sizes"}  # fmt: skip
_MORE = {"expand": ast.Constant(2), "view": ast.Constant(2), "reshape": ast.Constant(2), "repeat": ast.Constant(1),
         "permute": None}  # fmt: skip


def complex_call(writer, call: Arguments, name: str) -> ast.expr:
    """A call of the table with a complex array among its arguments: axes are counted without the pair axis."""
    if name not in _SAME and name not in _MORE and name not in ("flatten", "mul", "multiply", "gather"):
        call.refuse("complex numbers")
    if name == "gather":
        call.raw["dim"] = ast.Constant(call.value("dim") % call.rank())
        out = call.write()
        out.args[1] = ast.Subscript(out.args[1], ast.parse("x[..., None]", mode="eval").body.slice, ast.Load())
        return out
    if name in ("mul", "multiply"):
        return writer.helper("multiply_complex", call.get("x"), call.get("other"))
    if name == "flatten":
        call.raw.setdefault("start_dim", ast.Constant(0))
        call.raw.setdefault("end_dim", ast.Constant(-1))
    if name == "unbind" or name in ("cat", "stack", "squeeze") and "dim" not in call.raw:
        call.raw.setdefault("dim", ast.Constant(0))
    for axis in _AXES:
        if axis in call.raw and axis in call.entry.names:
            place = call.value(axis)
            if type(place) is not int:
                call.refuse(f"complex numbers with the axis {place}")
            call.raw[axis] = ast.Constant(place if place >= 0 else place - 1)
    if name in _MORE:
        _one_more(call, name)
    return call.write()


def _one_more(call: Arguments, name: str) -> None:
    more = _MORE[name] or ast.Constant(call.rank())
    call.rest = [*_spread_sizes(call), more]


def complex_made(call: Arguments, name: str) -> ast.expr:
    """A call that creates a complex array from real ones."""
    if name not in ("zeros", "empty", "new_zeros"):
        call.refuse("complex numbers")
    call.rest = [*_spread_sizes(call), ast.Constant(2)]
    return call.write()


def _spread_sizes(call: Arguments) -> list[ast.expr]:
    # Replace one tuple of sizes with its parts.
    if len(call.rest) == 1 and isinstance(call.rest[0], (ast.Tuple, ast.List)):
        return list(call.rest[0].elts)
    fact = call.writer.fact(call.rest[0]) if len(call.rest) == 1 else None
    return [ast.Starred(call.rest[0], ast.Load())] if fact is not None and not fact.always("int") else call.rest
