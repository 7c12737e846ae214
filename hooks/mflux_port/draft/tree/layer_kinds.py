"""Find the layer of mlx.nn that fits the arrays of one module, from their names and shapes alone. One line per kind.

``arrays`` lists names with their ranks, ``?`` marks those that may be absent. A kind with ``layer`` becomes that layer;
any other stays unresolved, with what it can be.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from mflux_port.checkpoint.headers import Tensor
from mflux_port.draft.tree.nodes import Node

Arrays = Mapping[str, Tensor]
Doubt = tuple[str, tuple[str, ...]]

_EMBEDDING = re.compile("embed_tokens|token_embedding|position_embedding|^wte$|^wpe$|^shared$|relative_attention_bias")
_LARGEST_KERNEL = {1: 31, 2: 64, 3: 64}  # by the number of axes; a patch embedding's kernel is as large as its patch
# Names that only a layer's own arrays have: never drafted as bare arrays.
_OF_A_LAYER = re.compile(
    r"weight$|bias$|weight_(?:g|v|ih|hh|hr|orig|mask|u|scale|packed)\w*|bias_(?:ih|hh|k|v)\w*|in_proj_(?:weight|bias)"
    r"|[qkv]_proj_weight|running_(?:mean|var)|num_batches_tracked|original\d*$|qweight|qzeros|scales|biases"
)


@dataclass
class Match:
    """A module's layer. ``moved``: array name -> (name in the layer, transform) if they differ."""

    node: Node | None
    moved: dict[str, tuple[tuple[str, str], ...]] = field(default_factory=dict)
    unresolved: Doubt | None = None


@dataclass(frozen=True)
class LayerKind:
    """``when`` narrows a kind that names and ranks do not distinguish: (module name, arrays) -> bool."""

    name: str
    arrays: str
    layer: Callable[[str, Arrays, str], Match] | None
    when: Callable[[str, Arrays], bool] | None = None
    candidates: tuple[str, ...] = ()

    def fits(self, name: str, arrays: Arrays) -> bool:
        ranks = _RANKS[self.arrays]
        known = all(array in ranks and len(tensor.shape) in ranks[array][0] for array, tensor in arrays.items())
        complete = all(optional or array in arrays for array, (_, optional) in ranks.items())
        return known and complete and (self.when is None or self.when(name, arrays))


def _linear(name: str, arrays: Arrays, eps: str) -> Match:
    outputs, inputs = arrays["weight"].shape
    sizes = {"input_dims": str(inputs), "output_dims": str(outputs), "bias": str("bias" in arrays)}
    doubt = "" if "bias" in arrays or "embed" not in name else "Linear or Embedding"
    return Match(Node("Linear", arguments=sizes, doubt=doubt))


def _embedding(name: str, arrays: Arrays, eps: str) -> Match:
    count, dims = arrays["weight"].shape
    return Match(Node("Embedding", arguments={"num_embeddings": str(count), "dims": str(dims)}))


def _norm(name: str, arrays: Arrays, eps: str) -> Match:
    known = f"eps, {eps} only in config.json" if eps else "eps, which is not in config.json"
    doubt = f"formula and {known}: see the reference's module"
    arguments = {"dims": str(arrays["weight"].shape[0]), "eps": eps or "1e-6"}
    if "bias" not in arrays:
        return Match(Node("RMSNorm", arguments=arguments, doubt=doubt))
    return Match(Node("LayerNorm", arguments=arguments, doubt=f"LayerNorm or GroupNorm; {doubt}"))


def _batch_norm(name: str, arrays: Arrays, eps: str) -> Match:
    features = arrays["running_mean"].shape[0]
    arguments = {"num_features": str(features), "affine": str("weight" in arrays)}
    return Match(Node("BatchNorm", arguments=arguments, doubt="BatchNorm or InstanceNorm; eps"))


def _prelu(name: str, arrays: Arrays, eps: str) -> Match:
    return Match(Node("PReLU", arguments={"num_parameters": "1"}, doubt="PReLU, RMSNorm or a scale of one number"))


def _conv(name: str, arrays: Arrays, eps: str) -> Match:
    shape, bias = arrays["weight"].shape, arrays["bias"].shape if "bias" in arrays else None
    rank, flipped = len(shape) - 2, is_flipped(shape, bias)
    inputs, outputs = (shape[0], shape[1]) if flipped else (shape[1], shape[0])
    kernel = shape[2] if len(set(shape[2:])) == 1 else shape[2:]
    sizes = {"in_channels": str(inputs), "out_channels": str(outputs), "kernel_size": str(kernel)}
    doubt = "stride and padding" if flipped is not None else f"Conv{rank}d or ConvTranspose{rank}d; stride and padding"
    kind = f"Conv{'Transpose' if flipped else ''}{rank}d"
    return Match(Node(kind, arguments=sizes | {"bias": str(bias is not None)}, doubt=doubt))


def _attention(name: str, arrays: Arrays, eps: str) -> Match:
    # torch documents the order of its packed projections: query, key, value.
    parts = (("query_proj", "q"), ("key_proj", "k"), ("value_proj", "v"))
    moved = {}
    for last in ("weight", "bias"):
        if f"in_proj_{last}" in arrays:
            moved[f"in_proj_{last}"] = tuple((f"{part}.{last}", f"_third_{letter}") for part, letter in parts)
    for part, letter in parts:
        if f"{letter}_proj_weight" in arrays:
            moved[f"{letter}_proj_weight"] = ((f"{part}.weight", ""),)
    dims = arrays["out_proj.weight"].shape[0]
    sizes = {"dims": str(dims), "num_heads": "1", "bias": str("in_proj_bias" in arrays)}
    for array, argument in (("k_proj_weight", "key_input_dims"), ("v_proj_weight", "value_input_dims")):
        if array in arrays:
            sizes[argument] = str(arrays[array].shape[1])
    return Match(Node("MultiHeadAttention", arguments=sizes, doubt="num_heads, which the header does not give"), moved)


def _recurrent(name: str, arrays: Arrays, eps: str) -> Match:
    gates, hidden = arrays["weight_hh_l0"].shape
    kind, first, second = {4: ("LSTM", "Wx", "Wh"), 3: ("GRU", "Wx", "Wh")}.get(gates // hidden, ("RNN", "Wxh", "Whh"))
    sizes = {"input_size": str(arrays["weight_ih_l0"].shape[1]), "hidden_size": str(hidden), "bias": "False"}
    moved = {"weight_ih_l0": ((first, ""),), "weight_hh_l0": ((second, ""),)}
    return Match(Node(kind, arguments=sizes), moved)


def _is_embedding(name: str, arrays: Arrays) -> bool:
    return bool(_EMBEDDING.search(name))


def _is_one_number(name: str, arrays: Arrays) -> bool:
    return arrays["weight"].shape == (1,)


def _bias_fits(name: str, arrays: Arrays) -> bool:
    return "bias" not in arrays or arrays["bias"].shape == arrays["weight"].shape[:1]


def _is_conv(name: str, arrays: Arrays) -> bool:
    shape = arrays["weight"].shape
    small = max(shape[2:]) <= _LARGEST_KERNEL[len(shape) - 2]
    return small and ("bias" not in arrays or arrays["bias"].shape[0] in shape[:2])


def _is_packed(name: str, arrays: Arrays) -> bool:
    outputs, inputs = arrays["in_proj_weight"].shape
    bias = "in_proj_bias" not in arrays or arrays["in_proj_bias"].shape == (outputs,)
    both = ("in_proj_bias" in arrays) == ("out_proj.bias" in arrays)
    return outputs == 3 * inputs and arrays["out_proj.weight"].shape == (inputs, inputs) and bias and both


def _is_one_size(name: str, arrays: Arrays) -> bool:
    return len({tensor.shape for tensor in arrays.values()}) == 1


def _is_separate(name: str, arrays: Arrays) -> bool:
    dims = arrays["out_proj.weight"].shape[0]
    outputs = {arrays[f"{letter}_proj_weight"].shape[0] for letter in "qkv"}
    return outputs == {dims} and arrays["q_proj_weight"].shape == arrays["out_proj.weight"].shape == (dims, dims)


def _has_gates(name: str, arrays: Arrays) -> bool:
    gates, hidden = arrays["weight_hh_l0"].shape
    return hidden > 0 and gates in (hidden, 3 * hidden, 4 * hidden) and arrays["weight_ih_l0"].shape[0] == gates


_FOLD = ("fold it into one weight with torch.nn.utils.remove_weight_norm and save the model again",)
_FOLD_NEW = (
    "fold it into one weight with torch.nn.utils.parametrize.remove_parametrizations and save the model again",
)
_LSTM = ("add bias_ih and bias_hh into the one bias of nn.LSTM, and map weight_ih to Wx, weight_hh to Wh",)

# fmt: off
KINDS = (
    #         kind                          arrays and ranks                                  layer        only when
    LayerKind("embedding",                  "weight:2",                                       _embedding,  _is_embedding),
    LayerKind("linear",                     "weight:2 bias:1?",                               _linear,     _bias_fits),
    LayerKind("one number",                 "weight:1",                                       _prelu,      _is_one_number),
    LayerKind("norm with a scale",          "weight:1",                                       _norm),
    LayerKind("norm with scale and shift",  "weight:1 bias:1",                                _norm,       _bias_fits),
    LayerKind("batch norm",                 "weight:1 bias:1 running_mean:1 running_var:1",   _batch_norm, _is_one_size),
    LayerKind("batch norm without scale",   "running_mean:1 running_var:1",                   _batch_norm, _is_one_size),
    LayerKind("convolution",                "weight:3,4,5 bias:1?",                           _conv,       _is_conv),
    LayerKind("packed attention",           "in_proj_weight:2 in_proj_bias:1? out_proj.weight:2 out_proj.bias:1?",
                                                                                              _attention,  _is_packed),
    LayerKind("attention of several widths", "q_proj_weight:2 k_proj_weight:2 v_proj_weight:2 out_proj.weight:2",
                                                                                              _attention,  _is_separate),
    LayerKind("recurrent without bias",     "weight_ih_l0:2 weight_hh_l0:2",                  _recurrent,  _has_gates),
    # What a mapping of one tensor to one parameter cannot express, or MLX does not have.
    LayerKind("recurrent with two biases",  "weight_ih_l0:2 weight_hh_l0:2 bias_ih_l0:1 bias_hh_l0:1", None, candidates=_LSTM),
    LayerKind("weight norm",                "weight_g:0,1,2,3,4,5 weight_v:2,3,4,5 bias:1?",  None,        candidates=_FOLD),
    LayerKind("weight norm, parametrized",  "parametrizations.weight.original0:0,1,2,3,4,5 parametrizations.weight.original1:2,3,4,5"
                                            " bias:1?",                                       None,        candidates=_FOLD_NEW),
    LayerKind("spectral norm",              "weight_orig:2,3,4,5 weight_u:1 weight_v:1? bias:1?", None,
              candidates=("fold it into one weight with torch.nn.utils.remove_spectral_norm and save the model again",)),
    LayerKind("spectral norm, parametrized", "parametrizations.weight.original:2,3,4,5 parametrizations.weight.0._u:1"
                                            " parametrizations.weight.0._v:1 bias:1?",        None,        candidates=_FOLD_NEW),
    LayerKind("pruned weight",              "weight_orig:1,2,3,4,5 weight_mask:1,2,3,4,5 bias_orig:1? bias_mask:1? bias:1?", None,
              candidates=("multiply weight_orig by weight_mask with torch.nn.utils.prune.remove and save the model again",)),
    LayerKind("stack of matrices",          "weight:3 bias:1,2?",                             None,
              candidates=("the weights of experts, as nn.SwitchLinear of mlx_lm keeps them", "Bilinear", "Conv1d with a wide kernel")),
    LayerKind("quantized weight",           "qweight:1,2,3 qzeros:1,2,3? scales:1,2,3? g_idx:1? bias:1?", None,
              candidates=("download the unquantized checkpoint",)),
    LayerKind("weight and bias of other sizes", "weight:1,2,3,4,5 bias:0,1,2,3,4,5",          None,
              candidates=("download the checkpoint again: the bias does not fit the weight",)),
    LayerKind("weight of no known layer",   "weight:0,4,5,6,7,8 bias:1?",                     None,
              candidates=("map it as it is", "waive it")),
)
# fmt: on
_RANKS: dict[str, dict[str, tuple[tuple[int, ...], bool]]] = {
    kind.arrays: {
        name: (tuple(map(int, ranks.rstrip("?").split(","))), ranks.endswith("?"))
        for name, _, ranks in (part.rpartition(":") for part in kind.arrays.split())
    }
    for kind in KINDS
}
_FLOATS = ("F64", "F32", "F16", "BF16", "C64")
_LIKE_A_LAYER = ("arrays of a layer that is not in the table of kinds", ("look at the reference's module", "waive it"))
_INTEGERS = ("integers or booleans, which no layer loads", ("compute it in the port and waive it",))


def match(name: str, arrays: Arrays, eps: str) -> Match | None:
    """The layer of a module with these arrays, or why it is unresolved; None when the arrays are a module's own.

    ``arrays`` by name, those of parts inside the layer by dotted names; ``eps``: the one of the config, or ''.
    """
    kind = next((kind for kind in KINDS if kind.fits(name, arrays)), None)
    if kind is not None and any(tensor.dtype not in _FLOATS for tensor in arrays.values()):
        return Match(None, unresolved=_INTEGERS)
    if kind is not None and kind.layer is not None:
        return kind.layer(name, arrays, eps)
    if kind is not None:
        return Match(None, unresolved=(kind.name, kind.candidates))
    if any(_OF_A_LAYER.match(array) for array in arrays):
        return Match(None, unresolved=_LIKE_A_LAYER)
    return None


def doubt_of_array(name: str, tensor: Tensor) -> Doubt | None:
    """Why an array that a module holds besides its parts cannot be drafted as it is."""
    if tensor.dtype not in _FLOATS:
        return _INTEGERS
    return _LIKE_A_LAYER if _OF_A_LAYER.match(name) and name not in ("weight", "bias") else None


def is_flipped(shape: tuple[int, ...], bias: tuple[int, ...] | None) -> bool | None:
    """Whether a convolution's weight has its channels in the transposed order; None when the shapes fit both."""
    if bias is None or shape[0] == shape[1]:
        return None
    return bias[0] == shape[1] if bias[0] in shape[:2] else None
