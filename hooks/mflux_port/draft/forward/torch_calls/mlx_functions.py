"""MLX functions for operations that are one call in torch and several in MLX.

A port gets only those that its drafted files call.

They are static methods of the port's own class of functions. Shapes are those of the torch call of the same name.
"""

from __future__ import annotations

HELPERS = {
    "channels_last": """
def channels_last(layer: nn.Module, x: mx.array) -> mx.array:
    return mx.moveaxis(layer(mx.moveaxis(x, 1, -1)), -1, 1)
""",
    "channels_last_norm": """
def channels_last_norm(norm: nn.Module, x: mx.array) -> mx.array:
    return mx.moveaxis(norm(mx.moveaxis(x, 1, -1).astype(mx.float32)).astype(x.dtype), -1, 1)
""",
    "float32_norm": """
def float32_norm(norm: nn.Module, x: mx.array) -> mx.array:
    return norm(x.astype(mx.float32)).astype(x.dtype)
""",
    "multiply_complex": """
def multiply_complex(x: mx.array, y: mx.array) -> mx.array:
    real = x[..., 0] * y[..., 0] - x[..., 1] * y[..., 1]
    imaginary = x[..., 0] * y[..., 1] + x[..., 1] * y[..., 0]
    return mx.stack([real, imaginary], axis=-1)
""",
    "weight_dtype": """
def weight_dtype(layer: nn.Module) -> mx.Dtype:
    return layer.scales.dtype if "scales" in layer else layer.weight.dtype
""",
    "expand": """
def expand(x: mx.array, sizes: tuple[int, ...]) -> mx.array:
    shape = (1,) * (len(sizes) - x.ndim) + x.shape
    return mx.broadcast_to(x, [old if new == -1 else new for old, new in zip(shape, sizes)])
""",
    "unbind": """
def unbind(x: mx.array, axis: int) -> list[mx.array]:
    return [part.squeeze(axis) for part in mx.split(x, x.shape[axis], axis=axis)]
""",
    "split_by": """
def split_by(x: mx.array, size: int, axis: int) -> list[mx.array]:
    places = list(range(size, x.shape[axis], size))
    return mx.split(x, places, axis=axis) if places else [x]
""",
    "split_sizes": """
def split_sizes(x: mx.array, sizes: list[int], axis: int) -> list[mx.array]:
    places = [sum(sizes[: place + 1]) for place in range(len(sizes) - 1)]
    return mx.split(x, places, axis=axis) if places else [x]
""",
    "pad_sequence": """
def pad_sequence(sequences: list[mx.array]) -> mx.array:
    longest = max(len(sequence) for sequence in sequences)
    padded = [mx.pad(part, [(0, longest - len(part)), *[(0, 0)] * (part.ndim - 1)]) for part in sequences]
    return mx.stack(padded)
""",
    "pad_last": """
def pad_last(x: mx.array, widths: list[int], mode: str) -> mx.array:
    pairs = [(widths[place], widths[place + 1]) for place in range(0, len(widths), 2)][::-1]
    return mx.pad(x, [(0, 0)] * (x.ndim - len(pairs)) + pairs, mode=mode)
""",
    "pixel_shuffle": """
def pixel_shuffle(x: mx.array, factor: int) -> mx.array:
    batch, channels, height, width = x.shape
    x = x.reshape(batch, channels // factor**2, factor, factor, height, width).transpose(0, 1, 4, 2, 5, 3)
    return x.reshape(batch, channels // factor**2, height * factor, width * factor)
""",
    "pixel_unshuffle": """
def pixel_unshuffle(x: mx.array, factor: int) -> mx.array:
    batch, channels, height, width = x.shape
    x = x.reshape(batch, channels, height // factor, factor, width // factor, factor).transpose(0, 1, 3, 5, 2, 4)
    return x.reshape(batch, channels * factor**2, height // factor, width // factor)
""",
    "top_k": """
def top_k(x: mx.array, k: int) -> tuple[mx.array, mx.array]:
    places = mx.argsort(-x, axis=-1)[..., :k]
    return mx.take_along_axis(x, places, axis=-1), places
""",
    "sort": """
def sort(x: mx.array, axis: int, descending: bool) -> tuple[mx.array, mx.array]:
    places = mx.argsort(-x if descending else x, axis=axis)
    return mx.take_along_axis(x, places, axis=axis), places
""",
    "nonzero_places": """
def nonzero_places(mask: mx.array) -> tuple[mx.array, ...]:
    flat = (mask != 0).reshape(-1)
    places = mx.argsort(mx.logical_not(flat))[: int(mx.sum(flat))]
    found = []
    for size in reversed(mask.shape):
        found.append(places % size)
        places = places // size
    return tuple(reversed(found))
""",
    "where_rows": """
def where_rows(mask: mx.array, x: mx.array, y: mx.array) -> mx.array:
    return mx.where(mask.reshape(*mask.shape, *[1] * (x.ndim - mask.ndim)), x, y)
""",
    "put_where": """
def put_where(x: mx.array, mask: mx.array, values: mx.array) -> mx.array:
    lead = x.shape[: mask.ndim]
    mask = mx.broadcast_to(mask, lead)
    if not isinstance(values, mx.array) or values.ndim <= x.ndim - len(lead) or values.shape[0] == 1:
        return mx.where(mask.reshape(*lead, *[1] * (x.ndim - len(lead))), values, x)
    order = mx.maximum(mx.cumsum(mask.reshape(-1).astype(mx.int32)) - 1, 0)
    spread = values.reshape(-1, *x.shape[len(lead) :])[order].reshape(x.shape)
    return mx.where(mask.reshape(*lead, *[1] * (x.ndim - len(lead))), spread, x)
""",
    "repeat_each": """
def repeat_each(x: mx.array, counts: mx.array, axis: int) -> mx.array:
    ends = mx.cumsum(counts)
    places = mx.sum(mx.arange(int(ends[-1]))[:, None] >= ends[None, :], axis=-1)
    return mx.take(x, places, axis=axis)
""",
    "count_each": """
def count_each(x: mx.array, length: int | None) -> mx.array:
    length = int(mx.max(x)) + 1 if length is None else length
    return mx.sum(x.reshape(-1)[:, None] == mx.arange(length)[None, :], axis=0)
""",
    "scatter_add": """
def scatter_add(x: mx.array, axis: int, index: mx.array, values: mx.array) -> mx.array:
    grid = list(mx.meshgrid(*[mx.arange(size) for size in index.shape], indexing="ij"))
    grid[axis % x.ndim] = index
    values = values[tuple(slice(0, size) for size in index.shape)]
    return x.at[tuple(grid)].add(values)
""",
    "group_norm": """
def group_norm(x: mx.array, groups: int, weight: mx.array | None, bias: mx.array | None, eps: float) -> mx.array:
    rows = x.astype(mx.float32).reshape(x.shape[0], groups, -1)
    rows = mx.fast.layer_norm(rows, None, None, eps).reshape(x.shape)
    shape = (1, -1, *[1] * (x.ndim - 2))
    rows = rows if weight is None else rows * weight.reshape(shape)
    return (rows if bias is None else rows + bias.reshape(shape)).astype(x.dtype)
""",
    "nearest": """
def nearest(x: mx.array, sizes: tuple[int, ...]) -> mx.array:
    for axis, size in enumerate(sizes, start=x.ndim - len(sizes)):
        x = mx.take(x, mx.floor(mx.arange(size) * (x.shape[axis] / size)).astype(mx.int32), axis=axis)
    return x
""",
    "average_pool": """
def average_pool(x: mx.array, size: int) -> mx.array:
    batch, channels, height, width = x.shape
    x = x[:, :, : height // size * size, : width // size * size]
    return x.reshape(batch, channels, height // size, size, width // size, size).mean(axis=(3, 5))
""",
    "causal_mask": """
def causal_mask(x: mx.array, padding: mx.array | None) -> mx.array:
    length = x.shape[1]
    mask = mx.tril(mx.ones((length, length), dtype=mx.bool_))[None, None]
    return mask if padding is None else mx.logical_and(mask, padding[:, None, None, :].astype(mx.bool_))
""",
    "causal_window_mask": """
def causal_window_mask(x: mx.array, padding: mx.array | None, window: int) -> mx.array:
    places = mx.arange(x.shape[1])
    distance = places[:, None] - places[None, :]
    mask = mx.logical_and(distance >= 0, distance < window)[None, None]
    return mask if padding is None else mx.logical_and(mask, padding[:, None, None, :].astype(mx.bool_))
""",
    "window_mask": """
def window_mask(x: mx.array, padding: mx.array | None, window: int) -> mx.array:
    places = mx.arange(x.shape[1])
    mask = (mx.abs(places[:, None] - places[None, :]) <= window)[None, None]
    return mask if padding is None else mx.logical_and(mask, padding[:, None, None, :].astype(mx.bool_))
""",
    "added_mask": """
def added_mask(mask: mx.array, x: mx.array) -> mx.array:
    return mx.where(mask, 0.0, mx.finfo(x.dtype).min).astype(x.dtype)
""",
    "masked_bias": """
def masked_bias(bias: mx.array, mask: mx.array | None) -> mx.array:
    if mask is None:
        return bias
    return mx.where(mask, bias, mx.finfo(bias.dtype).min) if mask.dtype == mx.bool_ else bias + mask
""",
    "seen_rows": """
def seen_rows(x: mx.array, mask: mx.array) -> mx.array:
    return mx.where(mx.any(mask, axis=-1, keepdims=True), x, 0)
""",
    "multi_head_attention": """
def multi_head_attention(
    query: mx.array,
    key: mx.array,
    value: mx.array,
    heads: int,
    weights: list[mx.array],
    bias: mx.array,
    out_weight: mx.array,
    out_bias: mx.array,
) -> mx.array:
    parts = zip((query, key, value), weights, mx.split(bias, 3))
    query, key, value = [(x @ w.T + b).reshape(*x.shape[:2], heads, -1).transpose(1, 2, 0, 3) for x, w, b in parts]
    out = mx.fast.scaled_dot_product_attention(query, key, value, scale=query.shape[-1] ** -0.5)
    out = out.transpose(2, 0, 1, 3)
    return out.reshape(*out.shape[:2], -1) @ out_weight.T + out_bias
""",
}
