"""Torch calls, each with its test case, and calls that the table must refuse.

``x`` is (2, 3, 4), ``y`` another of its shape, ``w`` (4, 4), ``i`` whole numbers (2, 3, 4) below 3, ``m`` truth values
(2, 3, 4), ``image`` (2, 4, 6, 6), ``z`` complex (2, 3, 4), ``row`` (3,) integers, ``kernel`` (4, 4, 3, 3).
"""

from __future__ import annotations

WRITTEN = {
    "cat": "torch.cat([x, y], dim=1)",
    "concat of a tuple": "torch.concat((x, y), -1)",
    "stack": "torch.stack([x, y], dim=-1)",
    "vstack": "torch.vstack([x, y])",
    "chunk": "torch.cat(x.chunk(2, dim=-1)[::-1], dim=-1)",
    "split by a size": "torch.cat(x.split(2, dim=2)[::-1], dim=2)",
    "split by a size that does not divide": "torch.cat(x.split(3, dim=2)[::-1], dim=2)",
    "split by sizes": "torch.cat(torch.split(x, [1, 3], dim=-1)[::-1], dim=-1)",
    "unbind": "x.unbind(1)[2] + x.unbind()[0][0]",
    "narrow": "x.narrow(1, 1, 2)",
    "select": "x.select(1, 2)",
    "view": "x.view(2, -1)",
    "view by a tuple": "x.view((6, 4))",
    "reshape": "torch.reshape(x, (4, 6))",
    "permute": "x.permute(2, 0, 1)",
    "permute as a function": "torch.permute(x, (1, 0, 2))",
    "expand": "x[:, :1].expand(-1, 5, -1)",
    "expand with a new axis": "x[0].expand(7, -1, 4)",
    "expand_as": "x[:, :1].expand_as(y)",
    "repeat": "x.repeat(1, 2, 1)",
    "tile": "torch.tile(x, (1, 2, 1))",
    "unflatten": "x.unflatten(-1, (2, -1))",
    "flatten": "x.flatten(1)",
    "flatten a part": "x[None].flatten(1, 2)",
    "flatten all": "torch.flatten(x)",
    "transpose": "x.transpose(0, -1)",
    "t": "w.t()",
    "movedim": "x.movedim(0, -1)",
    "unsqueeze": "x.unsqueeze(-1) * y[..., None]",
    "squeeze": "x[:, :1].squeeze(1)",
    "squeeze an axis longer than one": "x.squeeze(1)",
    "roll": "torch.roll(x, 1, dims=1)",
    "flip": "torch.flip(x, [-1])",
    "repeat_interleave": "x.repeat_interleave(2, dim=1)",
    "repeat_interleave by an array": "torch.repeat_interleave(x[0], row, dim=0)",
    "pixel_shuffle": "F.pixel_shuffle(image, 2)",
    "pixel_unshuffle": "F.pixel_unshuffle(image, 3)",
    "pad": "F.pad(x, (1, 2))",
    "pad two axes with a value": "F.pad(x, (1, 0, 0, 2), value=3.0)",
    "pad by repeating the edge": "F.pad(image, (1, 1, 1, 1), mode='replicate')",
    "interpolate": "F.interpolate(image, scale_factor=2.0, mode='nearest')",
    "interpolate to a size": "F.interpolate(image, size=(9, 4))",
    "dropout": "F.dropout(x, 0.5, training=False)",
    "Buffer": "torch.nn.Buffer(x, persistent=False) * 2",
    "contiguous and detach": "x.contiguous().detach().clone()",
    "to a type": "x.to(torch.float32) + i.to(x.dtype)",
    "to another's type": "i.to(x)",
    "type_as": "i.type_as(x)",
    "float and long": "i.float() + x.long()",
    "size": "x * x.size(1) + x.size()[0]",
    "dim and numel": "x * x.dim() + x.numel()",
    "arange": "torch.arange(3, device=x.device) * 2 + torch.arange(1, 7, 2)",
    "arange by names": "torch.arange(start=0, end=x.shape[1], dtype=torch.float32)",
    "linspace": "torch.linspace(0, 1, 5)",
    "zeros and ones": "torch.zeros(2, x.shape[1]) + torch.ones((2, 3), dtype=x.dtype)",
    "full": "torch.full((2, 2), 3.5)",
    "zeros_like and ones_like": "torch.zeros_like(x) + torch.ones_like(x)",
    "full_like": "torch.full_like(x, 2.5)",
    "new_zeros and new_ones": "x.new_zeros(2, 3) + x.new_ones((2, 3))",
    "tensor": "torch.tensor([1.0, 2.0]) * 2",
    "eye": "torch.eye(3)",
    "meshgrid": "torch.stack(torch.meshgrid(torch.arange(3), torch.arange(4), indexing='ij'))",
    "triu and tril": "torch.triu(w, diagonal=1) + torch.tril(w)",
    "einsum": "torch.einsum('bij, bkj -> bik', x, y)",
    "outer": "torch.outer(x[0, 0], y[0, 0])",
    "matmul": "x @ w + torch.matmul(y, w)",
    "bmm": "torch.bmm(x, y.transpose(1, 2))",
    "linear": "F.linear(x, w, w[0])",
    "mul, add, sub, div": "torch.mul(x, y) + torch.add(x, y) - torch.sub(x, y) + x.div(2.0)",
    "pow and neg": "x.pow(2) + torch.pow(y, 3) + x.neg()",
    "lerp": "torch.lerp(x, y, 0.3)",
    "add and sub with a factor": "torch.add(x, y, alpha=2) + torch.sub(x, y, alpha=0.5)",
    "addcmul": "torch.addcmul(x, y, y)",
    "exp, log, sqrt, rsqrt": "x.exp() + torch.log(x.abs() + 1) + (x**2 + 1).sqrt() + torch.rsqrt(y**2 + 1)",
    "cos, sin, tanh, sigmoid": "x.cos() + torch.sin(x) + x.tanh() + torch.sigmoid(x)",
    "round, floor, ceil, sign": "x.round() + torch.floor(x) + x.ceil() + x.sign()",
    "nan_to_num": "torch.nan_to_num(x / x)",
    "clamp": "x.clamp(min=-0.5, max=0.5) + x.clamp(0.1) + torch.clamp(x, max=0.2)",
    "maximum and minimum": "torch.maximum(x, y) - torch.minimum(x, y)",
    "comparisons": "torch.eq(i, 1) & (x > y) | x.lt(y)",
    "logical": "torch.logical_and(m, x > 0) | torch.logical_not(m)",
    "not": "~m",
    "where": "torch.where(m, x, y)",
    "where with a number": "torch.where(m, 1.0, 0.0)",
    "masked_fill": "x.masked_fill(m, -1.5)",
    "mean and sum": "x.mean(dim=-1, keepdim=True) + x.sum(1, keepdim=True).mean() + x.sum((0, 1))",
    "any and all": "m.any(dim=-1) & m.all(dim=1).any()",
    "max and min of all": "x.max() - x.min()",
    "max along an axis": "x.max(dim=-1).values + x.max(dim=-1)[0] + x.min(-1, keepdim=True)[0][..., 0]",
    "max of two": "torch.max(x, y)",
    "amax": "x.amax(dim=1)",
    "argmax": "x.argmax(dim=-1)",
    "argsort": "x.argsort(dim=-1, descending=True)",
    "sort": "torch.sort(x, dim=-1, descending=True)[0]",
    "topk": "torch.topk(x, 2, dim=-1)[0] + x.topk(2)[1]",
    "cumsum and cumprod": "x.cumsum(dim=1) + torch.cumprod(x, dim=-1)",
    "norm": "torch.norm(x, dim=-1, keepdim=True) + x.norm()",
    "norm of a vector": "torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)",
    "var and std": "x.var(dim=-1) + x.var(dim=-1, unbiased=False) + x.std(-1)",
    "softmax": "x.softmax(-1) + F.softmax(y, dim=1, dtype=torch.float32)",
    "normalize": "F.normalize(x, dim=-1)",
    "gather": "torch.gather(x, 1, i)",
    "index_select": "torch.index_select(x, 1, row)",
    "index by an array": "x[:, row]",
    "nonzero": "torch.nonzero(x > 0)",
    "nonzero as a tuple": "x[torch.nonzero(x > 0, as_tuple=True)]",
    "index by a mask": "x[m]",
    "bincount": "torch.bincount(i.flatten(), minlength=5)",
    "one_hot": "F.one_hot(i, 4)",
    "embedding": "F.embedding(row, w)",
    "scatter": "torch.zeros_like(x).scatter(1, i, y)",
    "scatter_add": "torch.zeros_like(x).scatter_add(1, i, y)",
    "index_add": "torch.zeros_like(x).index_add(0, row[:2] - 1, y)",
    "scatter_reduce": "torch.zeros_like(x).scatter_reduce(1, i, y, reduce='sum')",
    "in place on a new array": "torch.zeros_like(x).scatter_(1, i, y) + x.clone().clamp_(min=0.1)",
    "masked_scatter": "x.masked_scatter(m[..., :1], y)",
    "bincount of open length": "torch.bincount(i.flatten())",
    "comparisons by their long names": "torch.greater(x, y) | torch.less_equal(x, 0.1) & torch.not_equal(i, 1) | torch.less(y, 0) & torch.greater_equal(x, 0)",
    "silu, relu, gelu": "F.silu(x) + F.relu(x) + F.gelu(x) + F.gelu(y, approximate='tanh')",
    "softplus, leaky_relu, elu": "F.softplus(x) + F.leaky_relu(x) + F.elu(x) + F.mish(x)",
    "glu": "F.glu(x, dim=-1)",
    "layer_norm": "F.layer_norm(x, (4,), w[0], w[1], 1e-6) + F.layer_norm(x, (x.shape[-1],))",
    "rms_norm": "F.rms_norm(x, (4,), w[0], 1e-6) + F.rms_norm(y, (4,))",
    "group_norm": "F.group_norm(image, 2, w[0], w[1], 1e-6)",
    "avg_pool2d": "F.avg_pool2d(image, 2)",
    "attention": "F.scaled_dot_product_attention(x, y, x)",
    "attention whose mask hides rows": "F.scaled_dot_product_attention(image, image, image, attn_mask=image > 0.9)",
    "attention with heads and a mask": "F.scaled_dot_product_attention(image, image, image, attn_mask=(image > 0.3) | (torch.arange(6) == 2), scale=0.5)",
    "causal attention": "F.scaled_dot_product_attention(image, image, image, is_causal=True)",
    "mask of a sliding window": "create_sliding_window_causal_mask(self.config, x, m[..., 0], None)",
    "mask of a window on both sides": "create_bidirectional_sliding_window_mask(self.config, x, m[..., 0])",
    "mask that eager attention adds": "create_causal_mask(self.config, x, m[..., 0], None)",
    "complex product": "torch.view_as_real(z * torch.polar(torch.ones_like(x), x))",
    "complex pairs": "torch.view_as_real(torch.view_as_complex(x.reshape(2, 3, 2, 2)) * torch.polar(y.abs(), x)[..., :2])",
    "complex shapes": "torch.view_as_real(torch.cat([z, z], dim=-1).unsqueeze(1).transpose(1, -1).flatten(2))",
    "complex parts": "z.real + z.imag",
    "hstack and tensor_split": "torch.hstack([x, y]) + torch.cat(torch.tensor_split(torch.hstack([x, y]), 2, dim=1))[:2].repeat(1, 2, 1)",
    "broadcast_to and view_as": "torch.broadcast_to(x[:, :1], (2, 3, 4)).view_as(y) + x[0, 0].broadcast_to(2, 3, 4)",
    "fliplr": "torch.fliplr(x)",
    "pad_sequence": "torch.nn.utils.rnn.pad_sequence([x[0], x[1, :2]], batch_first=True)",
    "types by name": "x.type(torch.float32) + i.bool().float() + x.half().float() + x.bfloat16().float()",
    "numbers out of an array": "x * i.max().item() + x[0, 0, :2].tolist()[0]",
    "is_tensor": "x * float(torch.is_tensor(x))",
    "finfo": "x.clamp(min=torch.finfo(x.dtype).min)",
    "new_full and new_tensor": "x.new_full((2, 2), 1.5) + x.new_tensor([1.0, 2.0])",
    "baddbmm": "torch.baddbmm(torch.empty(2, 3, 3), x, y.transpose(1, 2), beta=0, alpha=0.5)",
    "whole division": "torch.floor_divide(i, 2) + torch.remainder(i, 2)",
    "more functions of one number": "x.abs().log2() + torch.log1p(x.abs()) + torch.expm1(x) + torch.tan(x) + x.square() + torch.erf(x)",
    "still more of them": "torch.reciprocal(x) + torch.cosh(x) + torch.sinh(x) + torch.arctan(x) + torch.atan2(x, y)",
    "what is not a number": "torch.isnan(x / 0) | torch.isinf(x / 0) | torch.isfinite(x)",
    "clamp_min": "torch.clamp_min(x, 0.1)",
    "gt and logical_or": "torch.logical_or(x.gt(y), m)",
    "equal": "x * float(torch.equal(x, x))",
    "amin and argmin": "x.amin(dim=1) + x.argmin(dim=1)",
    "diff": "torch.diff(x)",
    "log_softmax": "F.log_softmax(x, dim=-1)",
    "take_along_dim": "torch.take_along_dim(x, i, dim=1)",
    "isin": "torch.isin(i, row)",
    "conj": "torch.view_as_real(z.conj() * z)",
    "relu6, hardswish, logsigmoid": "F.relu6(4 * x) + F.hardswish(x) + F.logsigmoid(x)",
    "conv1d": "F.conv1d(image[:, :, 0], kernel[:, :, 0], bias=w[0], padding=1)",
    "conv2d": "F.conv2d(image, kernel, stride=2, padding=1)",
    "conv3d": "F.conv3d(image[:, :, None], kernel[:, :, None])",
    "multi_head_attention_forward": "heads(x, w)",
    "in place by a statement": "in_place(x, y)",
    "assignment by a mask": "put(x, m, y)",
    "assignment of one row by a mask": "put_row(x, m, y)",
    "assignment to a copy": "x + copied(x)",
    "experts by index_add": "experts(x, w)",
    "experts by counts in numpy": "counted_experts(x, w)",
    "assignment by a mask of an array": "put_rows(x, m, y)",
    "slice assignment": "put_slice(x, y)",
    "a loop over sizes": "summed(x)",
}  # fmt: skip
REFUSED = {
    "chunks of different sizes": ("torch.cat(x.chunk(3, dim=-1), dim=-1)", "different sizes"),
    "a keyword that is not read": ("torch.sum(x, dim=-1, out=None)", "the keyword out is not read"),
    "smallest of topk": ("torch.topk(x, 2, largest=False)[0]", "largest other than True"),
    "pad by reflection": ("F.pad(image, (1, 1, 1, 1), mode='reflect')", "mode reflect"),
    "bilinear": ("F.interpolate(image, scale_factor=2.0, mode='bilinear')", "mode bilinear"),
    "to a size": ("F.interpolate(image, size=12)", "to a size"),
    "norm of another order": ("torch.norm(x, p=1, dim=-1)", "p other than 2"),
    "layer_norm over two axes": ("F.layer_norm(x, (3, 4))", "more than the last axis"),
    "not in the table": ("torch.fft.fft(x).real", "fft is not in the table"),
    "dropout that is on": ("F.scaled_dot_product_attention(x, y, x, dropout_p=0.5) * 0", "dropout_p other than 0.0"),
    "complex where it is not read": ("torch.exp(z).real", "exp: complex numbers"),
    "a number that depends on the data": ("x.topk(int(i.max()) + 1, dim=int(i.min()) - 1)[0]", "is not decided by the config"),
    "in place within an expression": ("x.mul_(2.0) + y", "mul_ is not in the table"),
    "scatter_reduce by a maximum": ("x.scatter_reduce(1, i, y, reduce='amax')", "reduce other than sum"),
}  # fmt: skip
HEAD = """
import torch
from torch import nn
import torch.nn.functional as F
from transformers import PreTrainedConfig
from transformers.masking_utils import (
    create_bidirectional_sliding_window_mask, create_causal_mask, create_sliding_window_causal_mask
)


class Config(PreTrainedConfig):
    sliding_window: int = 1


def heads(x, w):
    return F.multi_head_attention_forward(
        query=x, key=x, value=x, embed_dim_to_check=4, num_heads=2, q_proj_weight=w, k_proj_weight=w, v_proj_weight=w,
        in_proj_weight=None, in_proj_bias=torch.cat([w[0], w[1], w[2]]), bias_k=None, bias_v=None, add_zero_attn=False,
        dropout_p=0, out_proj_weight=w, out_proj_bias=w[3], training=False, need_weights=False, use_separate_proj_weight=True,
    )[0]


def in_place(x, y):
    x = x + 1
    x.mul_(y)
    x += y
    return x


def put(x, m, y):
    x = x.clone()
    x[m] = 0.5
    return x


def put_row(x, m, y):
    x = x.clone()
    x[m[..., 0]] = y[:1, 0]
    return x


def copied(x):
    y = x.clone()
    y[:, 1] = 0.0
    return y


def experts(x, w):
    x = x.reshape(-1, 4)
    scores, chosen = torch.topk((x @ w).softmax(-1), 2, dim=-1)
    out = torch.zeros_like(x)
    for number in range(4):
        rows, place = torch.where(chosen == number)
        if rows.numel() == 0:
            continue
        out.index_add_(0, rows, (x[rows] + number) * scores[rows, place, None])
    return out


def counted_experts(x, w):
    x = x.reshape(-1, 4)
    chosen = (x @ w).argmax(-1)
    order = chosen.argsort()
    out = torch.zeros_like(x)
    start = 0
    for number, end in enumerate(chosen.bincount().cpu().numpy().cumsum(0)):
        if start != end:
            out[order[start:end]] = x[order[start:end]] * number
        start = end
    return out


def put_rows(x, m, y):
    x = x.clone()
    x[m] = y[m]
    return x


def put_slice(x, y):
    x = x.clone()
    x[:, 1:, :2] = y[:, 1:, :2]
    return x


def summed(x):
    found = []
    for place in range(x.shape[1]):
        found.append(x[:, place] * place)
    return torch.stack(found, dim=1)
"""


def module_source() -> str:
    """A module with one class per case, and a class that calls them all."""
    cases = [*WRITTEN.values(), *(text for text, _ in REFUSED.values())]
    classes = [
        f"class Case{number}(nn.Module):\n    {_init(name)}\n\n"
        f"    def forward(self, x, y, w, i, m, image, z, row, kernel):\n        return {text}\n"
        for number, (name, text) in enumerate(zip(names(), cases, strict=True))
    ]
    children = "".join(f"        self.case_{number} = Case{number}()\n" for number in range(len(cases)))
    calls = "".join(
        f"        self.case_{number}(x, y, w, i, m, image, z, row, kernel)\n" for number in range(len(cases))
    )
    model = (
        f"class Model(nn.Module):\n    def __init__(self):\n        super().__init__()\n{children}"
        f"\n    def forward(self, x, y, w, i, m, image, z, row, kernel):\n{calls}        return x\n"
    )
    return "\n\n".join([HEAD, *classes, model])


def _init(name: str) -> str:
    kind = "eager" if "eager" in name else "sdpa"
    config = f"self.config = Config(attn_implementation={kind!r})" if name.startswith("mask ") else "pass"
    return f"def __init__(self):\n        super().__init__()\n        {config}"


def names() -> list[str]:
    """The names of the cases by number."""
    return [*WRITTEN, *REFUSED]
