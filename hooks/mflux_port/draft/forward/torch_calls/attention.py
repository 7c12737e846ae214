"""Attention and its masks: torch's own, diffusers' and transformers'."""

from __future__ import annotations

import ast
from collections.abc import Callable

from mflux_port.draft.forward.torch_calls.entry import Arguments, filled


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


def _attention(call: Arguments, query, key, value) -> ast.expr:
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
    given = call.fact("attn_mask")
    # torch gives zeros for a row that sees nothing, MLX other numbers.
    return call.writer.helper("seen_rows", out, mask) if given is not None and given.hides_rows else out


def library_attention(call: Arguments) -> ast.expr:
    """transformers': (batch, heads, tokens, size) in, (batch, tokens, heads, size) and no weights out."""
    values = {"q": call.get("query"), "k": call.get("key"), "v": call.get("value")}
    scale = call.get("scaling") if call.has("scaling") else filled("q.shape[-1] ** -0.5", {"q": values["q"]})
    out = filled("mx.fast.scaled_dot_product_attention(q, k, v, scale=s)", values | {"s": scale})
    masks = [
        name for name in ("attention_mask", "position_bias") if (fact := call.fact(name)) and "tensor" in fact.kinds
    ]
    if len(masks) == 2:
        mask = _biased_mask(call)
    else:
        mask = call.get(masks[0]) if masks else None
    modules = list(call.fact("module").objects.values())
    causal = call.value("is_causal") if call.has("is_causal") else None
    causal = {bool(getattr(one, "is_causal", True)) for one in modules} if causal is None else {causal}
    if len(causal) > 1:
        call.refuse("some causal, some not")
    given = call.fact("attention_mask")
    if len(masks) == 2 and causal == {True} and "none" in given.kinds:
        call.refuse("a position bias in causal attention whose mask some runs do not have")
    if mask is None and causal == {True}:
        mask = ast.Constant("causal")
    elif len(masks) == 1 and causal == {True} and given is not None and "none" in given.kinds:
        mask = filled("'causal' if mask is None else mask", {"mask": mask})
    if mask is not None:
        out.keywords.append(ast.keyword("mask", mask))
    return ast.Tuple([filled("x.transpose(0, 2, 1, 3)", {"x": out}), ast.Constant(None)], ast.Load())


def _biased_mask(call: Arguments) -> ast.expr:
    mask, bias = call.get("attention_mask"), call.get("position_bias")
    given = call.fact("attention_mask")
    if "none" in call.fact("position_bias").kinds:
        call.refuse("a position bias that some runs do not have")
    if given.always("tensor") and "bool" not in given.dtypes:
        return filled("a + b", {"a": mask, "b": bias})
    return call.writer.helper("masked_bias", bias, mask)


def causal_mask(call: Arguments) -> ast.expr:
    """transformers' mask of a decoder: no token sees later ones or padding."""
    fact = call.writer.fact(call.node)
    if fact is not None and fact.always("none"):
        return ast.Constant(None)
    mask = call.get("attention_mask") if call.has("attention_mask") else None
    return _of_kind(call, call.writer.helper("causal_mask", call.get("inputs_embeds"), mask))


def _of_kind(call: Arguments, mask: ast.expr) -> ast.expr:
    # Attention written out in the reference adds its mask: 0 where a token is seen, the lowest number elsewhere.
    fact = call.writer.fact(call.node)
    adds = fact is not None and fact.always("tensor") and "bool" not in fact.dtypes
    return call.writer.helper("added_mask", mask, call.get("inputs_embeds")) if adds else mask


def window_mask(helper: str) -> Callable[[Arguments], ast.expr]:
    """transformers' mask of a sliding window: no token sees those farther away than the config's ``sliding_window``."""

    def write(call: Arguments) -> ast.expr:
        fact = call.writer.fact(call.node)
        if fact is None or fact.always("none"):
            call.refuse("no recorded run is longer than the window")
        window = call.writer.of_config(ast.Attribute(call.raw["config"], "sliding_window", ast.Load()))
        mask = call.get("attention_mask") if call.has("attention_mask") else None
        return _of_kind(call, call.writer.helper(helper, call.get("inputs_embeds"), mask, window))

    return write


def padding_mask(call: Arguments) -> ast.expr:
    """transformers' mask of an encoder: no token sees padding."""
    fact = call.writer.fact(call.node)
    if fact is not None and fact.always("none") or not call.has("attention_mask"):
        return ast.Constant(None)
    mask, given = call.get("attention_mask"), call.fact("attention_mask")
    whole = "mask[:, None, None, :].astype(mx.bool_)"
    if fact is not None and fact.always("tensor") and "bool" not in fact.dtypes:
        return _of_kind(call, filled(whole, {"mask": mask}))
    sometimes = given is not None and "none" in given.kinds
    return filled(f"None if mask is None else {whole}" if sometimes else whole, {"mask": mask})


def multi_head_attention(call: Arguments) -> ast.expr:
    if call.value("use_separate_proj_weight", False):
        weights = ast.List([call.get(f"{one}_proj_weight") for one in "qkv"], ast.Load())
    else:
        weights = filled("mx.split(weight, 3)", {"weight": call.get("in_proj_weight")})
    values = [call.get(name) for name in ("query", "key", "value", "num_heads")]
    more = [call.get(name) for name in ("in_proj_bias", "out_proj_weight", "out_proj_bias")]
    out = call.writer.helper("multi_head_attention", *values, weights, *more)
    return ast.Tuple([out, ast.Constant(None)], ast.Load())
