"""Products, extrema, sorting and indices: calls of the table that need more than one line of MLX."""

from __future__ import annotations

import ast
from collections.abc import Callable

from mflux_port.draft.forward.torch_calls.entry import Arguments, filled


def einsum(call: Arguments) -> ast.expr:
    if not isinstance(call.rest[0], ast.Constant):
        call.refuse("without its formula as text")
    formula = call.rest[0].value.replace(" ", "")
    values = [ast.Constant(formula), *(call.writer.expr(value) for value in call.rest[1:])]
    return ast.Call(filled("mx.einsum", {}), values, [])


def baddbmm(call: Arguments) -> ast.expr:
    if call.value("beta", 1) != 0:
        call.refuse("with a beta other than 0")
    alpha = call.writer.expr(call.raw["alpha"]) if "alpha" in call.raw else ast.Constant(1)
    return filled("alpha * (x @ y)", {"alpha": alpha, "x": call.get("other"), "y": call.get("third")})


def scaled(text: str) -> Callable[[Arguments], ast.expr]:
    """A sum whose second operand may be scaled by ``alpha``."""

    def write(call: Arguments) -> ast.expr:
        values = {"x": call.get("x"), "other": call.get("other")}
        if "alpha" in call.raw:
            values["other"] = filled("alpha * other", {"alpha": call.get("alpha"), "other": values["other"]})
        return filled(text, values)

    return write


def linear(call: Arguments) -> ast.expr:
    out = filled("x @ weight.T", {"x": call.get("x"), "weight": call.get("weight")})
    return filled("out + bias", {"out": out, "bias": call.get("bias")}) if call.has("bias") else out


def where(call: Arguments) -> ast.expr:
    if "x" not in call.raw:
        return call.writer.helper("nonzero_places", call.get("condition"))
    values = {name: call.get(name) for name in ("condition", "x", "other")}
    return filled("mx.where(condition, x, other)", values)


def extreme(name: str):
    def write(call: Arguments) -> ast.expr:
        fact = call.fact("dim")
        if fact is not None and "tensor" in fact.kinds:
            values = {"x": call.get("x"), "y": call.get("dim")}
            return filled(f"mx.{name}imum(x, y)", values)
        values = {"x": call.get("x"), "dim": call.get("dim"), "keepdim": call.get("keepdim")}
        if "dim" not in call.raw:
            return filled(f"mx.{name}(x)", values)
        best = filled(f"mx.{name}(x, axis=dim, keepdims=keepdim)", values)
        places = filled(f"mx.arg{name}(x, axis=dim, keepdims=keepdim)", values)
        return ast.Tuple([best, places], ast.Load())

    return write


def argsort(call: Arguments) -> ast.expr:
    x = call.get("x")
    x = ast.UnaryOp(ast.USub(), x) if call.value("descending", False) else x
    return filled("mx.argsort(x, axis=dim)", {"x": x, "dim": call.get("dim")})


def sort(call: Arguments) -> ast.expr:
    return call.writer.helper("sort", call.get("x"), call.get("dim"), ast.Constant(call.value("descending", False)))


def topk(call: Arguments) -> ast.expr:
    dim = call.value("dim", -1)
    if dim not in (-1, call.rank() - 1):
        call.refuse("along an axis other than the last")
    return call.writer.helper("top_k", call.get("x"), call.get("k"))


def spread(name: str):
    def write(call: Arguments) -> ast.expr:
        ddof = int(call.value("unbiased", True)) if "correction" not in call.raw else call.value("correction")
        values = {"x": call.get("x"), "dim": call.get("dim"), "keepdim": call.get("keepdim"), "n": ast.Constant(ddof)}
        return filled(f"{name}(x, axis=dim, keepdims=keepdim, ddof=n)", values)

    return write


def nonzero(call: Arguments) -> ast.expr:
    places = call.writer.helper("nonzero_places", call.get("x"))
    return places if call.value("as_tuple", False) else filled("mx.stack(p, axis=-1)", {"p": places})


def bincount(call: Arguments) -> ast.expr:
    length = call.get("minlength") if "minlength" in call.raw else None
    return call.writer.helper("count_each", call.get("x"), length)


def masked_scatter(call: Arguments) -> ast.expr:
    x = call.get("x")
    mask = filled("mx.broadcast_to(mask, x.shape)", {"mask": call.get("mask"), "x": x})
    return call.writer.helper("put_where", x, mask, filled("x.reshape(-1)", {"x": call.get("source")}))


def scatter_add(call: Arguments) -> ast.expr:
    return call.writer.helper("scatter_add", *(call.get(name) for name in ("x", "dim", "index", "src")))


def index_add(call: Arguments) -> ast.expr:
    if call.value("dim") != 0:
        call.refuse("along an axis other than the first")
    values = {"x": call.get("x"), "index": call.get("index"), "src": call.get("src")}
    return filled("x.at[index].add(src)", values)


def polar(call: Arguments) -> ast.expr:
    angle, raw = call.get("angle"), call.raw["x"]
    ones = isinstance(raw, ast.Call) and ast.unparse(raw.func).endswith("ones_like")
    if ones:
        return filled("mx.stack([mx.cos(t), mx.sin(t)], axis=-1)", {"t": angle})
    return filled("mx.stack([r * mx.cos(t), r * mx.sin(t)], axis=-1)", {"r": call.get("x"), "t": angle})


def conjugate(call: Arguments) -> ast.expr:
    x = call.get("x")
    return filled("x * mx.array([1, -1])", {"x": x}) if call.writer.is_complex(call.raw["x"]) else x


def gelu(call: Arguments) -> ast.expr:
    raw = call.raw.get("approximate", ast.Constant("none"))
    value = call.writer.value(raw)
    if value == "tanh":
        return filled("nn.gelu_approx(x)", {"x": call.get("x")})
    if value == "none":
        return filled("nn.gelu(x)", {"x": call.get("x")})
    values = {"x": call.get("x"), "a": call.writer.expr(raw)}
    return filled("nn.gelu_approx(x) if a == 'tanh' else nn.gelu(x)", values)
