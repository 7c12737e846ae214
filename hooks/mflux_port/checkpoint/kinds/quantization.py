"""Find the scheme of quantized weights, from the arrays that are stored next to them and from the config.

A port needs plain weights: mflux loads what a mapping names without converting it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mflux_port.checkpoint.headers import Tensor
from mflux_port.checkpoint.kinds.buffers import is_buffer
from mflux_port.checkpoint.kinds.kind import Kind
from mflux_port.checkpoint.kinds.modules import Arrays, by_module

_FLOATS = ("F64", "F32", "F16", "BF16", "C64")
_PACKED = ("U8", "I8", "U16", "I16", "U32", "I32")
_DOWNLOAD = "download the unquantized checkpoint, or dequantize it with {tool} and save it again"
_ORIGINAL = "download the original checkpoint: mflux converts and quantizes that itself"


@dataclass(frozen=True)
class Scheme:
    """``arrays``: one of these names must be next to a weight; ``beside``: one of these must be there too.

    ``types``: the types that the weight may be stored as; empty for any.
    """

    name: str
    arrays: tuple[str, ...]
    beside: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    tool: str = "the library that wrote it"

    def fits(self, arrays: Mapping[str, Tensor]) -> bool:
        found = any(name in arrays for name in self.arrays)
        if not found or self.beside and not any(name in arrays for name in self.beside):
            return False
        return not self.types or any(tensor.dtype in self.types for tensor in arrays.values())


# Where two schemes share array names, the scheme with the rarer names comes first.
# fmt: off
SCHEMES = (
    Scheme("bitsandbytes int8",     ("SCB", "CB", "SCBt", "weight_format"), tool="bitsandbytes"),
    Scheme("bitsandbytes nf4",      ("weight.quant_state.bitsandbytes__nf4",), tool="bitsandbytes"),
    Scheme("bitsandbytes fp4",      ("weight.quant_state.bitsandbytes__fp4",), tool="bitsandbytes"),
    Scheme("bitsandbytes 4-bit",    ("weight.absmax", "weight.quant_map", "weight.nested_absmax", "weight.nested_quant_map",
                                     "weight.quant_state", "absmax", "quant_map"), tool="bitsandbytes"),
    Scheme("SVDQuant (nunchaku)",   ("wscales", "wzeros", "wtscale", "wcscales", "smooth_factor", "smooth_factor_orig"),
           tool="nunchaku"),
    Scheme("compressed-tensors",    ("weight_packed", "weight_shape", "weight_g_idx", "weight_global_scale"),
           tool="compressed-tensors"),
    Scheme("GPTQ",                  ("g_idx",), beside=("qweight", "qzeros"), tool="GPTQModel"),
    Scheme("AWQ or GPTQ",           ("qweight", "qzeros"), tool="AutoAWQ or GPTQModel"),
    Scheme("quanto",                ("weight._data", "weight._scale", "weight._packed", "weight._shift", "output_scale"),
           tool="optimum-quanto"),
    Scheme("torchao",               ("_weight_qdata", "_weight_scale", "_weight_zero_point", "weight:qdata", "weight:scale",
                                     "weight:_data", "weight.tensor_impl", "weight.qdata", "weight.int_data"), tool="torchao"),
    Scheme("HQQ",                   ("W_q",), tool="hqq"),
    Scheme("NVFP4 (ModelOpt)",      ("weight_scale_2", "weight_double_scale"), tool="NVIDIA ModelOpt"),
    Scheme("MXFP4",                 ("weight_blocks", "gate_up_proj_blocks", "down_proj_blocks"), tool="transformers"),
    Scheme("EETQ",                  ("weight_scales",), tool="eetq"),
    Scheme("AQLM",                  ("codebooks",), beside=("codes", "scales"), tool="aqlm"),
    Scheme("QuIP#",                 ("Qidxs", "Qidxs_list"), tool="quip-sharp"),
    Scheme("VPTQ",                  ("centroids",), beside=("indices", "centroids"), tool="vptq"),
    Scheme("fp8 with scales",       ("weight_scale", "weight_scale_inv", "scale_weight"),
           types=("F8_E4M3", "F8_E5M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), tool="the program that wrote it"),
    Scheme("integers with scales",  ("weight_scale", "weight_zero_point"), types=_PACKED),
    Scheme("weights with scales",   ("weight_scale", "weight_scale_inv", "scale_weight", "weight_zero_point")),
    Scheme("scaled inputs",         ("input_scale", "scale_input", "input_scale_ub", "input_global_scale"),
           beside=("weight",)),
    Scheme("MLX",                   ("scales", "biases"), beside=("weight",), types=("U32",), tool="mlx"),
    Scheme("SDNQ",                  ("zero_point", "scale", "svd_up", "svd_down"), beside=("weight",),
           types=(*_PACKED, "F8_E4M3", "F8_E5M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), tool="sdnq"),
)
# fmt: on
_MARKERS = ("scaled_fp8", "comfy_quant")  # these names mark a file as quantized; they hold no weight
_WEIGHTS = ("weight", "bias")


def quantized(tensors: Mapping[str, Tensor], config: Mapping) -> list[Kind]:
    """One Kind for every scheme in the header, and one if the config names a scheme that the header does not show."""
    members: dict[str, list[str]] = {}
    tools: dict[str, str] = {}
    markers = [name for name in tensors if name.rpartition(".")[2] in _MARKERS]
    for path, arrays in by_module(tensors).items():
        scheme = next((scheme for scheme in SCHEMES if scheme.fits(arrays)), None)
        if scheme is not None:
            tools[scheme.name] = scheme.tool
            members.setdefault(scheme.name, []).extend(_members(path, arrays))
        elif odd := _odd_types(arrays):
            name, kind = odd[0]
            members.setdefault(kind, []).extend(_members(path, arrays) if path else [name for name, _ in odd])
    if markers:
        first = next(iter(members), "weights with scales")
        members[first] = list(dict.fromkeys([*members.get(first, ()), *markers]))
    named = method(config)
    kinds = [_kind(scheme, tuple(names), tools.get(scheme), named) for scheme, names in members.items()]
    if named and not kinds:
        what = f"config.json names the quantization {named}, and the header shows plain weights"
        kinds.append(Kind("quantization", what, "compare the weights with the unquantized checkpoint", blocks=False))
    return kinds


def doubles(tensors: Mapping[str, Tensor]) -> list[Kind]:
    """A list of one Kind for weights of 64 bits: no Mac GPU supports them, so MLX refuses the file."""
    names = [name for name, tensor in tensors.items() if tensor.dtype == "F64"]
    if not names:
        return []
    count = Kind("F64", "", "", tuple(names)).count
    fix = "save them as F32 before you load the file with mflux"
    return [Kind("F64", f"weights of 64 bits, which MLX cannot read ({count})", fix, blocks=False)]


def method(config: Mapping) -> str:
    """The quantization that a config.json names, or ''."""
    for key in ("quantization_config", "quantization", "compression_config"):
        entry = config.get(key)
        if isinstance(entry, dict) and entry:
            name = str(entry.get("quant_method") or entry.get("quant_algo") or entry.get("format") or "")
            bits = next((entry[size] for size in ("bits", "w_bit", "weights_dtype") if size in entry), "")
            return " ".join(filter(None, (name or ("MLX" if "group_size" in entry else "unnamed"), f"{bits}"[:20])))
    return ""


def _members(path: str, arrays: Arrays) -> list[str]:
    # In a quantized module, all arrays; at the root and above other modules, only those of the scheme.
    if path:
        return [tensor.name for tensor in arrays.values()]
    known = {name for scheme in SCHEMES for name in scheme.arrays} | {*_WEIGHTS, *_MARKERS}
    return [tensor.name for name, tensor in arrays.items() if name in known]


def _odd_types(arrays: Arrays) -> list[tuple[str, str]]:
    # Weights that are not plain floats (bytes, packed bits or 8-bit floats) and have no known companion array.
    found = []
    for name, tensor in arrays.items():
        if tensor.dtype in _FLOATS or name in _MARKERS or is_buffer(name, tensor):
            continue
        if tensor.dtype.startswith("F"):
            found.append((tensor.name, f"{tensor.dtype} without scales"))
        elif tensor.dtype in _PACKED or name in _WEIGHTS:
            found.append((tensor.name, f"{tensor.dtype} of an unknown scheme"))
    return found


def _kind(scheme: str, names: tuple[str, ...], tool: str | None, named: str) -> Kind:
    what = f"quantized weights: {scheme}" + (f", config.json says {named}" if named else "")
    if scheme == "MLX":
        return Kind(scheme, what, _ORIGINAL, names)
    return Kind(scheme, what, _DOWNLOAD.format(tool=tool or "the program that wrote it"), names)
