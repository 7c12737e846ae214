"""Arrays that a checkpoint holds but no port loads: counters, and tables that the reference recomputes."""

from __future__ import annotations

import re
from collections.abc import Mapping

from mflux_port.checkpoint.headers import Tensor

_INTEGERS = ("I64", "I32", "I16", "I8", "U8", "U16", "U32", "U64", "BOOL")
# Array name -> why it need not be loaded. Only integers, booleans and scalars: floats under these names may be weights.
COMPUTED = {
    "num_batches_tracked": "a counter of torch's training, which MLX's BatchNorm does not have",
    "position_ids": "the numbers 0, 1, 2 and so on, which the port computes",
    "relative_position_index": "a table of indices, which the port computes from the window's size",
    "relative_coords_table": "a table of coordinates, which the port computes from the window's size",
    "attn_mask": "a mask, which the port computes",
    "causal_mask": "a mask, which the port computes",
    "masked_bias": "a constant of a mask, which the port computes",
    "token_type_ids": "zeros, which the port computes",
    "num_updates": "a counter of training",
    "decay": "a constant of training",
    "n_averaged": "a counter of averaged weights",
    "global_step": "a counter of training",
    "step": "a counter of training",
    "initted": "a switch of training",
}
# Lists of floats that training never changes: of a rotary embedding, and of a noise schedule at the top level of a
# file.
_FREQUENCIES = re.compile(r"(?:.+\.)?(?:original_)?inv_freq")
_SCHEDULE = re.compile(
    r"(?:[A-Za-z_]+\.)?(?:betas|\w*alphas_cumprod\w*|posterior_(?:\w*variance\w*|mean_coef[12])|(?:log_)?sigmas|logvar"
    r"|lvlb_weights)"
)


def is_buffer(name: str, tensor: Tensor) -> bool:
    """Whether a port leaves this array out. ``name`` is the last part of its name."""
    return name in COMPUTED and (tensor.dtype in _INTEGERS or tensor.elements == 1)


def buffers(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """The arrays that a port need not have, by name, with the reason."""
    found = {}
    for name, tensor in tensors.items():
        last = name.rpartition(".")[2]
        if is_buffer(last, tensor):
            found[name] = COMPUTED[last]
        elif len(tensor.shape) == 1 and _FREQUENCIES.fullmatch(name):
            found[name] = "the frequencies of a rotary embedding, which the port computes"
        elif len(tensor.shape) == 1 and _SCHEDULE.fullmatch(name):
            found[name] = "a table of the noise schedule, which the port computes"
    return found
