"""Calls of the table that one line of MLX source does not tell: each a function from arguments to an expression."""

from __future__ import annotations

import ast

from mflux_port.draft.forward.table.call import Arguments, filled


def helper(name: str, *arguments: str):
    """A call of one of the functions in ``helpers.py``."""

    def write(call: Arguments) -> ast.expr:
        return call.writer.helper(name, *(call.get(argument) for argument in arguments))

    return write


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
        call.refuse("sections that are no number")
    call.entry = type(call.entry)("x chunks dim=0", chunk)
    return chunk(call)


def split(call: Arguments) -> ast.expr:
    raw, fact = call.raw["split_size_or_sections"], call.fact("split_size_or_sections")
    values = {"x": call.get("x"), "dim": call.get("dim")}
    if fact is not None and fact.always("int"):
        values["n"] = call.get("split_size_or_sections")
        return filled("mx.split(x, x.shape[dim] // n, axis=dim)", values)
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
    if isinstance(values["b"], ast.Constant) and values["b"].value == -1 or ast.unparse(values["b"]) == "-1":
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
    # torch leaves an axis of more than one alone, MLX refuses it.
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


def pad(call: Arguments) -> ast.expr:
    mode, raw = call.value("mode", "constant"), call.raw["pad"]
    if mode not in ("constant", "replicate"):
        call.refuse(f"mode {mode}")
    value = call.get("value") if call.has("value") else None
    zero = value is None or isinstance(value, ast.Constant) and value.value == 0
    if isinstance(raw, (ast.Tuple, ast.List)) and not any(isinstance(part, ast.Starred) for part in raw.elts):
        widths = _widths([call.writer.expr(part) for part in raw.elts], call.rank())
    elif mode == "constant" and zero:
        return call.writer.helper("pad_last", call.get("x"), call.get("pad"))
    else:
        call.refuse("widths that are computed, not with zeros")
    out = filled("mx.pad(x, widths)", {"x": call.get("x"), "widths": widths})
    if mode == "replicate":
        out.keywords.append(ast.keyword("mode", ast.Constant("edge")))
    elif not zero:
        out.keywords.append(ast.keyword("constant_values", value))
    return out


def _widths(sizes: list[ast.expr], rank: int) -> ast.List:
    pairs = [ast.Tuple(sizes[at : at + 2], ast.Load()) for at in range(0, len(sizes), 2)][::-1]
    none = [ast.parse("(0, 0)", mode="eval").body for _ in range(rank - len(pairs))]
    return ast.List([*none, *pairs], ast.Load())


def interpolate(call: Arguments) -> ast.expr:
    mode = call.value("mode", "nearest")
    if mode not in ("nearest", "nearest-exact"):
        call.refuse(f"mode {mode}")
    if call.has("size") or not call.has("scale_factor"):
        call.refuse("to a size, not by a factor")
    factor, rank = call.value("scale_factor"), call.rank()
    factors = tuple(factor) if isinstance(factor, tuple) else (factor,) * (rank - 2)
    if any(int(one) != one or one < 1 for one in factors):
        call.refuse("by a factor that is not whole")
    return repeated(call.get("x"), factors)


def repeated(x: ast.expr, factors: tuple) -> ast.expr:
    """Every element ``factors`` times along the axes from the third on: enlarged to the nearest neighbour."""
    for axis, factor in enumerate(factors, start=2):
        if factor != 1:
            x = filled("mx.repeat(x, n, axis=d)", {"x": x, "n": ast.Constant(int(factor)), "d": ast.Constant(axis)})
    return x


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
        call.refuse("numbers both by place and by name")
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
        call.refuse("along another axis than the last")
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
    if "minlength" not in call.raw:
        call.refuse("without minlength: a length that follows from the data")
    return call.writer.helper("count_each", call.get("x"), call.get("minlength"))


def scatter_add(call: Arguments) -> ast.expr:
    return call.writer.helper("scatter_add", *(call.get(name) for name in ("x", "dim", "index", "src")))


def index_add(call: Arguments) -> ast.expr:
    if call.value("dim") != 0:
        call.refuse("along another axis than the first")
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


def layer_norm(call: Arguments) -> ast.expr:
    _needs_one_axis(call)
    values = {name: call.get(name) for name in ("x", "weight", "bias", "eps")}
    return filled("mx.fast.layer_norm(x, weight, bias, eps)", values)


def rms_norm(call: Arguments) -> ast.expr:
    _needs_one_axis(call)
    eps = call.get("eps") if call.has("eps") else ast.Constant(1.1920928955078125e-07)
    values = {"x": call.get("x"), "weight": call.get("weight"), "eps": eps}
    return filled("mx.fast.rms_norm(x, weight, eps)", values)


def _needs_one_axis(call: Arguments) -> None:
    fact, raw = call.fact("normalized_shape"), call.raw["normalized_shape"]
    one = isinstance(raw, (ast.Tuple, ast.List)) and len(raw.elts) == 1 or fact is not None and fact.lengths == {1}
    if not one:
        call.refuse("over more than the last axis")


def group_norm(call: Arguments) -> ast.expr:
    values = (call.get(name) for name in ("x", "num_groups", "weight", "bias", "eps"))
    return call.writer.helper("group_norm", *values)


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


def attention(call: Arguments) -> ast.expr:
    """torch's own: (batch, heads, tokens, size) in and out."""
    query, key, value = (call.get(name) for name in ("query", "key", "value"))
    ranks = {call.rank(name) for name in ("query", "key", "value")}
    if ranks not in ({3}, {4}):
        call.refuse(f"arrays of rank {ranks}")
    if ranks == {3}:
        query, key, value = (filled("x[:, None]", {"x": x}) for x in (query, key, value))
        return filled("x.squeeze(1)", {"x": _attention(call, query, key, value)})
    return _attention(call, query, key, value)


def tokens_first_attention(call: Arguments) -> ast.expr:
    """diffusers': (batch, tokens, heads, size) in and out."""
    swapped = (filled("x.transpose(0, 2, 1, 3)", {"x": call.get(name)}) for name in ("query", "key", "value"))
    return filled("x.transpose(0, 2, 1, 3)", {"x": _attention(call, *swapped)})


def _attention(call: Arguments, query, key, value) -> ast.Call:
    scale = call.get("scale") if call.has("scale") else None
    if scale is None:
        scale = filled("q.shape[-1] ** -0.5", {"q": call.get("query")})
    values = {"q": query, "k": key, "v": value, "s": scale}
    out = filled("mx.fast.scaled_dot_product_attention(q, k, v, scale=s)", values)
    mask = call.get("attn_mask") if call.has("attn_mask") else None
    causal = call.value("is_causal", False)
    if causal and mask is not None:
        call.refuse("a mask and is_causal together")
    if causal or mask is not None:
        out.keywords.append(ast.keyword("mask", ast.Constant("causal") if causal else mask))
    return out


def library_attention(call: Arguments) -> ast.expr:
    """transformers': (batch, heads, tokens, size) in, (batch, tokens, heads, size) and no weights out."""
    values = {"q": call.get("query"), "k": call.get("key"), "v": call.get("value")}
    scale = call.get("scaling") if call.has("scaling") else filled("q.shape[-1] ** -0.5", {"q": values["q"]})
    out = filled("mx.fast.scaled_dot_product_attention(q, k, v, scale=s)", values | {"s": scale})
    masks = [
        name for name in ("attention_mask", "position_bias") if (fact := call.fact(name)) and "tensor" in fact.kinds
    ]
    if len(masks) == 2:
        if any("none" in call.fact(name).kinds or "bool" in call.fact(name).dtypes for name in masks):
            call.refuse("a position bias with a mask of truth values, or one that some runs do not have")
        mask = filled("a + b", {"a": call.get("attention_mask"), "b": call.get("position_bias")})
    else:
        mask = call.get(masks[0]) if masks else None
    modules = list(call.fact("module").objects.values())
    causal = call.value("is_causal") if call.has("is_causal") else None
    causal = {bool(getattr(one, "is_causal", True)) for one in modules} if causal is None else {causal}
    if len(causal) > 1:
        call.refuse("some causal, some not")
    given = call.fact("attention_mask")
    if mask is None and causal == {True}:
        mask = ast.Constant("causal")
    elif mask is not None and causal == {True} and given is not None and "none" in given.kinds:
        mask = filled("'causal' if mask is None else mask", {"mask": mask})
    if mask is not None:
        out.keywords.append(ast.keyword("mask", mask))
    return ast.Tuple([filled("x.transpose(0, 2, 1, 3)", {"x": out}), ast.Constant(None)], ast.Load())


def causal_mask(call: Arguments) -> ast.expr:
    """transformers' mask of a decoder: no token sees later ones or padding."""
    fact = call.writer.fact(call.node)
    if fact is not None and fact.always("none"):
        return ast.Constant(None)
    mask = call.get("attention_mask") if call.has("attention_mask") else None
    return call.writer.helper("causal_mask", call.get("inputs_embeds"), mask)


def padding_mask(call: Arguments) -> ast.expr:
    """transformers' mask of an encoder: no token sees padding."""
    fact = call.writer.fact(call.node)
    if fact is not None and fact.always("none") or not call.has("attention_mask"):
        return ast.Constant(None)
    mask = call.get("attention_mask")
    return filled("mask[:, None, None, :].astype(mx.bool_)", {"mask": mask})


def multi_head_attention(call: Arguments) -> ast.expr:
    if call.value("use_separate_proj_weight", False):
        weights = ast.List([call.get(f"{one}_proj_weight") for one in "qkv"], ast.Load())
    else:
        weights = filled("mx.split(weight, 3)", {"weight": call.get("in_proj_weight")})
    values = [call.get(name) for name in ("query", "key", "value", "num_heads")]
    more = [call.get(name) for name in ("in_proj_bias", "out_proj_weight", "out_proj_bias")]
    out = call.writer.helper("multi_head_attention", *values, weights, *more)
    return ast.Tuple([out, ast.Constant(None)], ast.Load())
