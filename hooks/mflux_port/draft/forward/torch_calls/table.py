"""The table of torch's functions and methods. One line per call; ``entry.py`` explains the format."""

from __future__ import annotations

import ast
from collections.abc import Callable

from mflux_port.draft.forward.torch_calls import arrays, attention, norms, numbers, padding_and_convolution, shapes
from mflux_port.draft.forward.torch_calls.entry import Arguments, Entry


def _same(names: str, spec: str, text) -> dict[str, Entry]:
    return dict.fromkeys(names.split(), Entry(spec, text))


def _unary(names: str) -> dict[str, Entry]:
    return {name: Entry("x", f"mx.{name}(x)") for name in names.split()}


def _helper(name: str, *arguments: str) -> Callable[[Arguments], ast.expr]:
    # A call of one of the functions in ``mlx_functions.py``.
    return lambda call: call.writer.helper(name, *(call.get(argument) for argument in arguments))


CALLS: dict[str, Entry] = {
    # Joining and cutting.
    **_same("cat concat concatenate", "tensors dim=0", "mx.concatenate(tensors, axis=dim)"),
    "stack": Entry("tensors dim=0", "mx.stack(tensors, axis=dim)"),
    "vstack": Entry("tensors", shapes.vstack),
    "hstack": Entry("tensors", shapes.hstack),
    "chunk": Entry("x chunks dim=0", shapes.chunk),
    **_same("split split_with_sizes", "x split_size_or_sections dim=0", shapes.split),
    "tensor_split": Entry("x indices_or_sections dim=0", shapes.chunk_evenly),
    "unbind": Entry("x dim=0", shapes.unbind),
    "narrow": Entry("x dim start length", shapes.narrow),
    "select": Entry("x dim index", "mx.take(x, index, axis=dim)"),
    # Shapes.
    **_same("view reshape", "x *sizes", shapes.reshape),
    "permute": Entry("x *sizes", shapes.permute),
    "expand": Entry("x *sizes", shapes.expand),
    "repeat": Entry("x *sizes", "mx.tile(x, sizes)"),
    "tile": Entry("x *sizes", "mx.tile(x, sizes)"),
    "broadcast_to": Entry("x *sizes", shapes.expand),
    "expand_as": Entry("x other", "mx.broadcast_to(x, other.shape)"),
    **_same("view_as reshape_as", "x other", "x.reshape(other.shape)"),
    "unflatten": Entry("x dim *sizes", "mx.unflatten(x, dim, sizes)"),
    "flatten": Entry("x start_dim=0 end_dim=-1", shapes.flatten),
    **_same("transpose swapaxes swapdims", "x dim0 dim1", "x.swapaxes(dim0, dim1)"),
    "t": Entry("x", "x.T"),
    **_same("movedim moveaxis", "x source destination", shapes.movedim),
    "unsqueeze": Entry("x dim", "mx.expand_dims(x, dim)"),
    "squeeze": Entry("x dim?", shapes.squeeze),
    "roll": Entry("x shifts dims?", "mx.roll(x, shifts, axis=dims)"),
    "flip": Entry("x *sizes", shapes.flip),
    "fliplr": Entry("x", "x[:, ::-1]"),
    "repeat_interleave": Entry("x repeats dim? ~output_size", shapes.repeat_interleave),
    "pixel_shuffle": Entry("x upscale_factor", _helper("pixel_shuffle", "x", "upscale_factor")),
    "pixel_unshuffle": Entry("x downscale_factor", _helper("pixel_unshuffle", "x", "downscale_factor")),
    "pad": Entry("x pad mode='constant' value?", padding_and_convolution.pad),
    "pad_sequence": Entry("sequences batch_first:True padding_value:0.0 padding_side:'right'", _helper("pad_sequence", "sequences")),
    "interpolate": Entry("x size? scale_factor? mode='nearest' align_corners:None antialias:False", padding_and_convolution.interpolate),
    # No-ops in MLX, where arrays have no device, storage or gradient.
    "Buffer": Entry("data ~persistent", "data"),  # an array that no checkpoint holds
    **_same("contiguous clone detach cpu cuda numpy requires_grad_", "x ~memory_format", "x"),
    **_same("dropout", "x ~p ~training ~inplace", "x"),
    # Types.
    **_same("to", "x *sizes ~dtype ~copy", arrays.to),
    "type": Entry("x dtype", "x.astype(dtype)"),
    "type_as": Entry("x other", "x.astype(other.dtype)"),
    **_same("float double", "x", "x.astype(mx.float32)"),
    "long": Entry("x", "x.astype(mx.int64)"),
    "int": Entry("x", "x.astype(mx.int32)"),
    "bool": Entry("x", "x.astype(mx.bool_)"),
    "half": Entry("x", "x.astype(mx.float16)"),
    "bfloat16": Entry("x", "x.astype(mx.bfloat16)"),
    # Properties of an array.
    "size": Entry("x dim?", arrays.size),
    **_same("dim ndimension", "x", "x.ndim"),
    **_same("numel nelement", "x", "x.size"),
    "item": Entry("x", "x.item()"),
    "tolist": Entry("x", "x.tolist()"),
    "is_tensor": Entry("x", "isinstance(x, mx.array)"),
    "finfo": Entry("dtype_", "mx.finfo(dtype_)"),
    # New arrays.
    "arange": Entry("*sizes start? end? step? ~dtype", arrays.arange),
    "linspace": Entry("start end steps dtype?", "mx.linspace(start, end, steps, dtype=dtype)"),
    **_same("zeros empty", "*sizes dtype?", arrays.made("mx.zeros")),
    "ones": Entry("*sizes dtype?", arrays.made("mx.ones")),
    "full": Entry("size fill_value dtype?", "mx.full(size, fill_value, dtype=dtype)"),
    "eye": Entry("n m? dtype?", "mx.eye(n, m, dtype=dtype)"),
    **_same("zeros_like empty_like", "x dtype?", "mx.zeros_like(x).astype(dtype)"),
    "ones_like": Entry("x dtype?", "mx.ones_like(x).astype(dtype)"),
    "full_like": Entry("x fill_value dtype?", arrays.full_like),
    **_same("new_zeros new_empty", "x *sizes dtype?", arrays.made_like("mx.zeros")),
    "new_ones": Entry("x *sizes dtype?", arrays.made_like("mx.ones")),
    "new_full": Entry("x size fill_value dtype=x.dtype", "mx.full(size, fill_value, dtype=dtype)"),
    "new_tensor": Entry("x data", "mx.array(data, dtype=x.dtype)"),
    **_same("tensor as_tensor from_numpy", "data dtype?", "mx.array(data, dtype=dtype)"),
    "meshgrid": Entry("*sizes indexing='ij'", arrays.meshgrid),
    "triu": Entry("x diagonal=0", "mx.triu(x, diagonal)"),
    "tril": Entry("x diagonal=0", "mx.tril(x, diagonal)"),
    # Products.
    "einsum": Entry("*sizes", numbers.einsum),
    "outer": Entry("x other", "mx.outer(x, other)"),
    **_same("matmul bmm mm", "x other", "x @ other"),
    "baddbmm": Entry("x other third ~beta ~alpha", numbers.baddbmm),
    "linear": Entry("x weight bias?", numbers.linear),
    # Arithmetic.
    **_same("mul multiply", "x other", "x * other"),
    "add": Entry("x other alpha?", numbers.scaled("x + other")),
    "sub": Entry("x other alpha?", numbers.scaled("x - other")),
    **_same("div true_divide", "x other rounding_mode:None", "x / other"),
    "floor_divide": Entry("x other", "x // other"),
    "remainder": Entry("x other", "mx.remainder(x, other)"),
    "pow": Entry("x exponent", "x**exponent"),
    "neg": Entry("x", "-x"),
    "lerp": Entry("x end weight", "x + weight * (end - x)"),
    "addcmul": Entry("x other third value:1", "x + other * third"),
    **_unary("exp log log2 log1p expm1 cos sin tan tanh sigmoid sqrt rsqrt abs square round floor ceil sign isnan isinf "
             "erf reciprocal logical_not cosh sinh arctan isfinite"),
    "atan2": Entry("x other", "mx.arctan2(x, other)"),
    "nan_to_num": Entry("x nan=0.0", "mx.nan_to_num(x, nan=nan)"),
    **_same("clamp clip", "x min=None max=None", "mx.clip(x, min, max)"),
    "clamp_min": Entry("x min", "mx.maximum(x, min)"),
    "maximum": Entry("x other", "mx.maximum(x, other)"),
    "minimum": Entry("x other", "mx.minimum(x, other)"),
    # Comparisons and choices.
    **{name: Entry("x other", f"x {sign} other") for name, sign in
       {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">=", "not_equal": "!=", "less": "<",
        "less_equal": "<=", "greater": ">", "greater_equal": ">="}.items()},
    **_same("logical_and bitwise_and", "x other", "mx.logical_and(x, other)"),
    **_same("logical_or bitwise_or", "x other", "mx.logical_or(x, other)"),
    "equal": Entry("x other", "mx.array_equal(x, other)"),
    "where": Entry("condition x? other?", numbers.where),
    "masked_fill": Entry("x mask value", "mx.where(mask, value, x)"),
    "masked_scatter": Entry("x mask source", numbers.masked_scatter),
    # Along an axis.
    "mean": Entry("x dim? keepdim? dtype?", "mx.mean(x.astype(dtype), axis=dim, keepdims=keepdim)"),
    "sum": Entry("x dim? keepdim? dtype?", "mx.sum(x.astype(dtype), axis=dim, keepdims=keepdim)"),
    "prod": Entry("x dim? keepdim?", "mx.prod(x, axis=dim, keepdims=keepdim)"),
    "any": Entry("x dim? keepdim?", "mx.any(x, axis=dim, keepdims=keepdim)"),
    "all": Entry("x dim? keepdim?", "mx.all(x, axis=dim, keepdims=keepdim)"),
    "amax": Entry("x dim? keepdim?", "mx.max(x, axis=dim, keepdims=keepdim)"),
    "amin": Entry("x dim? keepdim?", "mx.min(x, axis=dim, keepdims=keepdim)"),
    "max": Entry("x dim? keepdim?", numbers.extreme("max")),
    "min": Entry("x dim? keepdim?", numbers.extreme("min")),
    "argmax": Entry("x dim? keepdim?", "mx.argmax(x, axis=dim, keepdims=keepdim)"),
    "argmin": Entry("x dim? keepdim?", "mx.argmin(x, axis=dim, keepdims=keepdim)"),
    "argsort": Entry("x dim=-1 descending=False ~stable", numbers.argsort),
    "sort": Entry("x dim=-1 descending=False ~stable", numbers.sort),
    "topk": Entry("x k dim=-1 largest:True ~sorted", numbers.topk),
    "cumsum": Entry("x dim dtype?", "mx.cumsum(x, axis=dim).astype(dtype)"),
    "cumprod": Entry("x dim dtype?", "mx.cumprod(x, axis=dim).astype(dtype)"),
    "diff": Entry("x n:1 dim:-1", "x[..., 1:] - x[..., :-1]"),
    "norm": Entry("x p:2 dim? keepdim?", "mx.linalg.norm(x, axis=dim, keepdims=keepdim)"),
    "vector_norm": Entry(
        "x ord:2 dim? keepdim? dtype?", "mx.linalg.norm(x.astype(dtype), axis=dim, keepdims=keepdim)"),
    "var": Entry("x dim? unbiased=True correction=1 keepdim?", numbers.spread("mx.var")),
    "std": Entry("x dim? unbiased=True correction=1 keepdim?", numbers.spread("mx.std")),
    "softmax": Entry("x dim ~_stacklevel dtype?", "mx.softmax(x.astype(dtype), axis=dim)"),
    "log_softmax": Entry("x dim ~_stacklevel dtype?", "nn.log_softmax(x.astype(dtype), axis=dim)"),
    "normalize": Entry("x p:2.0 dim=1 eps=1e-12", "x / mx.maximum(mx.linalg.norm(x, axis=dim, keepdims=True), eps)"),
    # By index.
    "gather": Entry("x dim index", "mx.take_along_axis(x, index, axis=dim)"),
    "index_select": Entry("x dim index", "mx.take(x, index, axis=dim)"),
    "take_along_dim": Entry("x indices dim", "mx.take_along_axis(x, indices, axis=dim)"),
    "nonzero": Entry("x as_tuple=False", numbers.nonzero),
    "bincount": Entry("x minlength=0", numbers.bincount),
    "one_hot": Entry("x num_classes", "(x[..., None] == mx.arange(num_classes)).astype(mx.int64)"),
    "embedding": Entry("x weight", "weight[x]"),
    "isin": Entry("x other", "mx.any(x[..., None] == other, axis=-1)"),
    "scatter": Entry("x dim index src", "mx.put_along_axis(x, index, src, axis=dim)"),
    "scatter_add": Entry("x dim index src", numbers.scatter_add),
    "scatter_reduce": Entry("x dim index src reduce:'sum' include_self:True", numbers.scatter_add),
    "index_add": Entry("x dim index src alpha:1", numbers.index_add),
    # Complex numbers: an array of pairs (real, imaginary) along a last axis of two.
    "view_as_complex": Entry("x", "x"),
    "view_as_real": Entry("x", "x"),
    "polar": Entry("x angle", numbers.polar),
    "conj": Entry("x", numbers.conjugate),
    # Activations.
    "gelu": Entry("x approximate='none'", numbers.gelu),
    **_same("silu", "x ~inplace", "nn.silu(x)"),
    **_same("relu", "x ~inplace", "nn.relu(x)"),
    "relu6": Entry("x ~inplace", "nn.relu6(x)"),
    "softplus": Entry("x beta:1 threshold:20", "nn.softplus(x)"),
    "leaky_relu": Entry("x negative_slope=0.01 ~inplace", "nn.leaky_relu(x, negative_slope)"),
    "elu": Entry("x alpha=1.0 ~inplace", "nn.elu(x, alpha)"),
    "mish": Entry("x ~inplace", "nn.mish(x)"),
    "hardswish": Entry("x ~inplace", "nn.hardswish(x)"),
    "glu": Entry("x dim=-1", "nn.glu(x, axis=dim)"),
    "logsigmoid": Entry("x", "nn.log_sigmoid(x)"),
    # Layers as functions.
    "layer_norm": Entry("x normalized_shape weight=None bias=None eps=1e-05", norms.layer_norm),
    "rms_norm": Entry("x normalized_shape weight=None eps?", norms.rms_norm),
    "group_norm": Entry("x num_groups weight=None bias=None eps=1e-05", norms.group_norm),
    "conv1d": Entry("x weight bias? stride=1 padding=0 dilation=1 groups=1", padding_and_convolution.convolution(1)),
    "conv2d": Entry("x weight bias? stride=1 padding=0 dilation=1 groups=1", padding_and_convolution.convolution(2)),
    "conv3d": Entry("x weight bias? stride=1 padding=0 dilation=1 groups=1", padding_and_convolution.convolution(3)),
    "avg_pool2d": Entry("x kernel_size stride?", padding_and_convolution.average_pool),
    "scaled_dot_product_attention":
        Entry("query key value attn_mask? dropout_p:0.0 is_causal=False scale? ~enable_gqa", attention.attention),
    "multi_head_attention_forward": Entry(
        "query key value embed_dim_to_check num_heads in_proj_weight in_proj_bias bias_k:None bias_v:None "
        "add_zero_attn:False ~dropout_p out_proj_weight out_proj_bias ~training key_padding_mask:None ~need_weights "
        "attn_mask:None use_separate_proj_weight=False q_proj_weight? k_proj_weight? v_proj_weight? static_k:None "
        "static_v:None ~average_attn_weights is_causal:False", attention.multi_head_attention),
}  # fmt: skip

# Library functions that are written as one call and not traced.
LIBRARY_CALLS: dict[str, Entry] = {
    "dispatch_attention_fn": Entry(
        "query key value attn_mask? dropout_p:0.0 is_causal=False scale? ~enable_gqa ~attention_kwargs ~backend "
        "~parallel_config", attention.tokens_first_attention),
    "sdpa_attention_forward": Entry(
        "module query key value attention_mask? dropout:0.0 scaling? is_causal? ~position_ids ~sliding_window "
        "~output_attentions ~use_cache position_bias? ~cache_position ~softcap ~deterministic "
        "encoder_hidden_states:None encoder_attention_mask:None",  # it reads none of them
        attention.library_attention),
    "create_causal_mask": Entry(
        "~config inputs_embeds attention_mask? cache:None ~position_ids or_mask_function:None and_mask_function:None "
        "block_sequence_ids:None layer_idx:None ~allow_is_causal_skip ~cache_position past_key_values:None", attention.causal_mask),
    "create_bidirectional_mask": Entry(
        "~config inputs_embeds attention_mask? encoder_hidden_states:None cache:None or_mask_function:None "
        "and_mask_function:None ~allow_is_bidirectional_skip", attention.padding_mask),
    "create_sliding_window_causal_mask": Entry(
        "config inputs_embeds attention_mask? cache:None ~position_ids or_mask_function:None and_mask_function:None "
        "block_sequence_ids:None layer_idx:None ~allow_is_causal_skip ~cache_position past_key_values:None",
        attention.window_mask("causal_window_mask")),
    "create_bidirectional_sliding_window_mask": Entry(
        "config inputs_embeds attention_mask? encoder_hidden_states:None cache:None or_mask_function:None "
        "and_mask_function:None ~allow_is_bidirectional_skip", attention.window_mask("window_mask")),
}  # fmt: skip
