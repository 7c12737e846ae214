"""Normalisations as functions: calls of the table that need more than one line of MLX."""

from __future__ import annotations

import ast

from mflux_port.draft.forward.torch_calls.entry import Arguments, filled


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
