"""A module tree from a header alone. What names and shapes do not show is a doubt with candidates, never a fact."""

from __future__ import annotations

import re

from mflux_port.checkpoint.headers import Tensor
from mflux_port.draft.tree.nodes import DICT, LIST, MODULE, Node, is_place
from mflux_port.errors import PortError

_DEPTH, _LENGTH = 40, 10_000  # no model comes near; a name made to do harm ends there
_EMBEDDING = re.compile("embed_tokens|token_embedding|position_embedding|^wte$|^shared$|relative_attention_bias")


def header_tree(tensors: dict[str, Tensor], config: dict) -> Node:
    """The tree of attribute names that a checkpoint's tensors have, with the layers that their shapes allow."""
    root: dict = {}
    for name, tensor in tensors.items():
        *path, last = name.split(".")
        place = root
        for part in path:
            place = place.setdefault(part, {}) if len(path) <= _DEPTH else None
            if not isinstance(place, dict):
                raise PortError(f"tensor {name[:200]!r} fits into no tree of modules; is this a model's checkpoint?")
        if isinstance(place.setdefault(last, tensor), dict):
            raise PortError(f"{name[:200]!r} is a tensor and has tensors below it; is this a model's checkpoint?")
    eps = sorted({value for name, value in config.items() if name.endswith("eps") and isinstance(value, float)})
    if any(map(is_place, root)):
        first = next(filter(is_place, root))
        raise PortError(f"tensor names begin with a number ({first}), which no attribute can have; rename them")
    return _module("model", root, repr(eps[0]) if len(eps) == 1 else "", top=True)


def _module(name: str, entries: dict, eps: str, top: bool = False) -> Node:
    arrays = {key: tensor for key, tensor in entries.items() if isinstance(tensor, Tensor)}
    branches = {key: inner for key, inner in entries.items() if not isinstance(inner, Tensor)}
    if "weight" in arrays and not branches and not top and arrays.keys() <= {"weight", "bias"}:
        return _layer(name, arrays["weight"].shape, arrays.get("bias"), eps)
    numbered = bool(branches) and not arrays and all(map(is_place, branches))
    if numbered:
        # Places without weights (activations, dropout) keep the others' numbers right.
        last = max(map(int, branches))
        if last >= _LENGTH:
            raise PortError(f"{name} has a tensor of number {last}, more than {_LENGTH}; is this a model's checkpoint?")
        children = {str(i): _module(name, branches.get(str(i), {}), eps) for i in range(last + 1)}
        return Node(LIST, children=children)
    if not entries:
        return Node("Identity", remarks=["a place without weights"])
    odd = bool(branches) and not arrays and not top and not all(key.isidentifier() for key in branches)
    children = {key: _module(name if odd else key, inner, eps) for key, inner in branches.items()}
    shapes = {key: tuple(map(str, tensor.shape)) for key, tensor in arrays.items()}
    return Node(DICT if odd else MODULE, _class_name(name), parameters=shapes, children=children)


def _layer(name: str, shape: tuple[int, ...], bias: Tensor | None, eps: str) -> Node:
    with_bias = str(bias is not None)
    if len(shape) == 2 and bias is None and _EMBEDDING.search(name):
        return Node("Embedding", arguments={"num_embeddings": str(shape[0]), "dims": str(shape[1])})
    if len(shape) == 2:
        sizes = {"input_dims": str(shape[1]), "output_dims": str(shape[0]), "bias": with_bias}
        doubt = "" if bias is not None or "embed" not in name else "Linear or Embedding"
        return Node("Linear", arguments=sizes, doubt=doubt)
    if len(shape) == 1:
        said = f"eps, {eps} only in config.json" if eps else "eps, which config.json does not say"
        doubt = f"formula and {said}: the reference's module says both"
        if bias is None:
            return Node("RMSNorm", arguments={"dims": str(shape[0]), "eps": eps or "1e-6"}, doubt=doubt)
        doubt = f"LayerNorm or GroupNorm; {doubt}"
        return Node("LayerNorm", arguments={"dims": str(shape[0]), "eps": eps or "1e-6"}, doubt=doubt)
    rank = len(shape) - 2
    if rank in (1, 2, 3):
        flipped = is_flipped(shape, bias.shape if bias else None)
        sizes = {"in_channels": str(shape[1]), "out_channels": str(shape[0])}
        if flipped:
            sizes = {"in_channels": str(shape[0]), "out_channels": str(shape[1])}
        kernel = shape[2] if len(set(shape[2:])) == 1 else shape[2:]
        sizes |= {"kernel_size": str(kernel), "bias": with_bias}
        doubt = (
            "stride and padding" if flipped is not None else f"Conv{rank}d or ConvTranspose{rank}d; stride and padding"
        )
        return Node(f"Conv{'Transpose' if flipped else ''}{rank}d", arguments=sizes, doubt=doubt)
    return Node(
        MODULE, _class_name(name), parameters={"weight": tuple(map(str, shape))}, doubt="a weight of unknown use"
    )


def is_flipped(shape: tuple[int, ...], bias: tuple[int, ...] | None) -> bool | None:
    """Whether a convolution's weight has its channels in the transposed order; None when the shapes fit both."""
    if bias is None or shape[0] == shape[1]:
        return None
    return bias[0] == shape[1] if bias[0] in shape[:2] else None


def _class_name(name: str) -> str:
    words = re.split("[^A-Za-z0-9]+", re.sub(r"s$", "", name))
    return "".join(word[:1].upper() + word[1:] for word in words if word) or "Part"
