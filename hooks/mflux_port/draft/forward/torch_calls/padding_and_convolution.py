"""Padding, resizing and convolving: calls of the table that need more than one line of MLX."""

from __future__ import annotations

import ast

from mflux_port.draft.forward.torch_calls.entry import Arguments, filled

_MODES = {"constant": "constant", "replicate": "edge"}  # torch's names, and MLX's


def pad(call: Arguments) -> ast.expr:
    mode, raw = call.value("mode", "constant"), call.raw["pad"]
    if mode not in _MODES:
        call.refuse(f"mode {mode}")
    value = call.get("value") if call.has("value") else None
    zero = value is None or isinstance(value, ast.Constant) and value.value == 0
    if isinstance(raw, (ast.Tuple, ast.List)) and not any(isinstance(part, ast.Starred) for part in raw.elts):
        widths = _widths([call.writer.expr(part) for part in raw.elts], call.rank())
    elif (known := _known_widths(call, raw)) is not None:
        widths = _widths([ast.Constant(size) for size in known], call.rank())
    elif mode == "replicate" or zero:
        return call.writer.helper("pad_last", call.get("x"), call.get("pad"), ast.Constant(_MODES[mode]))
    else:
        call.refuse("by computed widths, with something other than zeros")
    out = filled("mx.pad(x, widths)", {"x": call.get("x"), "widths": widths})
    if mode == "replicate":
        out.keywords.append(ast.keyword("mode", ast.Constant("edge")))
    elif not zero:
        out.keywords.append(ast.keyword("constant_values", value))
    return out


def _known_widths(call: Arguments, raw: ast.expr) -> tuple[int, ...] | None:
    # Widths that are assigned to a name, where the config decides them.
    found = call.writer.value(raw)
    is_whole = isinstance(found, tuple) and all(type(size) is int and size >= 0 for size in found)
    return found if is_whole and call.writer.from_config(raw) else None


def _widths(sizes: list[ast.expr], rank: int) -> ast.List:
    pairs = [ast.Tuple(sizes[at : at + 2], ast.Load()) for at in range(0, len(sizes), 2)][::-1]
    none = [ast.parse("(0, 0)", mode="eval").body for _ in range(rank - len(pairs))]
    return ast.List([*none, *pairs], ast.Load())


def interpolate(call: Arguments) -> ast.expr:
    mode = call.value("mode", "nearest")
    if mode not in ("nearest", "nearest-exact"):
        call.refuse(f"mode {mode}")
    if call.has("size"):
        return _resized(call, mode)
    factor, rank = call.value("scale_factor"), call.rank()
    factors = tuple(factor) if isinstance(factor, tuple) else (factor,) * (rank - 2)
    if any(int(one) != one or one < 1 for one in factors):
        call.refuse("by a factor that is not a whole number")
    return repeated(call.get("x"), factors)


def _resized(call: Arguments, mode: str) -> ast.expr:
    fact = call.fact("size")
    if mode != "nearest" or call.has("scale_factor") or fact is None or not fact.always("tuple", "list", "size"):
        call.refuse(f"to a size of this kind, with mode {mode}")
    return call.writer.helper("nearest", call.get("x"), call.get("size"))


def repeated(x: ast.expr, factors: tuple) -> ast.expr:
    """Repeat every element ``factors`` times along the axes from the third on: nearest neighbour upsampling."""
    for axis, factor in enumerate(factors, start=2):
        if factor != 1:
            x = filled("mx.repeat(x, n, axis=d)", {"x": x, "n": ast.Constant(int(factor)), "d": ast.Constant(axis)})
    return x


def convolution(rank: int):
    def write(call: Arguments) -> ast.expr:
        bias = call.get("bias") if call.has("bias") else None
        values = {name: call.get(name) for name in ("x", "weight", "stride", "padding", "dilation", "groups")}
        held = call.writer.held_weight(call.raw["weight"])
        text = "mx.moveaxis(x, 1, -1)", "weight" if held else "mx.moveaxis(weight, 1, -1)"
        out = filled(f"mx.conv{rank}d({text[0]}, {text[1]}, stride, padding, dilation, groups)", values)
        out = filled("out + bias", {"out": out, "bias": bias}) if bias is not None else out
        return filled("mx.moveaxis(out, -1, 1)", {"out": out})

    return write


def average_pool(call: Arguments) -> ast.expr:
    return call.writer.helper("average_pool", call.get("x"), call.get("kernel_size"))
