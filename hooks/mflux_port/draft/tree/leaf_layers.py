"""Find the layer of mlx.nn for a reference's leaf module: from its torch class, or by running it if it has its own
forward.

A leaf whose arrays fit an MLX layer but whose formula differs becomes a class derived from that layer: the arrays
load as they are, and its ``__call__`` must be ported.
"""

from __future__ import annotations

import inspect
from pathlib import PurePath

from mflux_port.draft.tree.leaf_runs import rms_eps, runs_plainly
from mflux_port.draft.tree.nodes import MODULE, Node

ACTIVATIONS = ("SiLU", "GELU", "ReLU", "Tanh", "Sigmoid")  # with the same name in torch.nn and mlx.nn
SILENT = ("Dropout", "Identity")  # no weights, and nothing to port


def leaf(module) -> Node | None:
    """The node of a module without children; None for one that no layer of mlx.nn can hold."""
    from torch import nn

    if any(True for _ in module.children()):
        return None
    for base, describe in _layers():
        if isinstance(module, base):
            return _layer(module, describe)
    if "weight" in module._parameters and (eps := rms_eps(module)) is not None:
        return _rms_norm(module, eps)
    name = type(module).__name__
    if name in ACTIVATIONS and type(module) is getattr(nn, name):
        exact = getattr(module, "approximate", "none") == "none"
        return Node(name, arguments={} if exact else {"approx": "'tanh'"})
    return Node("Identity") if isinstance(module, (nn.Identity, nn.Dropout)) else None


def call(module) -> tuple[str, ...]:
    """The parameters of a module's ``forward``, as source for a signature."""
    plain = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    parameters = list(inspect.signature(type(module).forward).parameters.values())[1:]
    named = [one for one in parameters if one.kind in plain]
    needed = [one.name for one in named if one.default is inspect.Parameter.empty]
    return (*needed, *(f"{one.name}=None" for one in named if one.name not in needed))


def shape(tensor) -> tuple[str, ...]:
    """A tensor's shape as source."""
    return tuple(str(size) for size in tensor.shape)


def source_file(cls: type) -> str:
    """The file of a class below its library: ``diffusers/models/normalization.py``."""
    return str(PurePath(*cls.__module__.split("."))).replace("\\", "/") + ".py"


def settings(module) -> dict[str, str]:
    """What a module holds besides its arrays and their sizes: eps, scales and paddings, needed to port its formula."""
    known = {"training", "_reversed_padding_repeated_twice", *getattr(type(module), "__constants__", ())}
    kept = {name: value for name, value in vars(module).items() if name not in known}
    return {name: repr(value) for name, value in kept.items() if type(value) is float or _is_numbers(value)}


def _is_numbers(value: object) -> bool:
    return type(value) is tuple and bool(value) and all(type(number) in (int, float) for number in value)


def _layers():
    from torch import nn

    return (
        (nn.Linear, _linear), (nn.Embedding, _embedding), (nn.LayerNorm, _layer_norm), (nn.GroupNorm, _group_norm),
        (nn.modules.batchnorm._BatchNorm, _batch_norm), (nn.modules.conv._ConvTransposeNd, _convolution),
        (nn.modules.conv._ConvNd, _convolution),
    )  # fmt: skip


def _layer(module, describe) -> Node | None:
    node, odd = describe(module)
    if node is None or not _arrays_fit(module, node):
        return None
    if not odd and runs_plainly(module):
        if not type(module).__module__.startswith("torch.nn"):
            node.class_name, node.file = type(module).__name__, source_file(type(module))
        return node
    return _own_class(module, node, odd or f"a formula other than that of nn.{node.kind}, which has the same arrays")


def _own_class(module, node: Node, why: str) -> Node:
    cls, arrays = type(module), dict(module.named_parameters())
    extra = {name: shape(value) for name, value in arrays.items() if name not in ("weight", "bias")}
    own = Node(MODULE, cls.__name__, source_file(cls), node.arguments, extra, remarks=[why], call=call(module))
    own.base, own.settings = node.kind, settings(module)
    return own


def _arrays_fit(module, node: Node) -> bool:
    # Weight normalization and other parametrizations replace the weight by other arrays.
    expected = node.arguments.get("affine", "True") == "True"
    return ("weight" in module._parameters) and (module._parameters["weight"] is not None) == expected


def _rms_norm(module, eps: float) -> Node:
    node = Node("RMSNorm", arguments={"dims": str(module.weight.shape[0]), "eps": repr(eps)})
    if getattr(module, "eps", eps) is None:
        node.doubt = "torch uses the eps of the input's type when none is given"
        node.candidates = (f"{eps!r} (float32)", "0.0078125 (bfloat16)")
    return node


def _linear(module) -> tuple[Node, str]:
    sizes = {"input_dims": module.in_features, "output_dims": module.out_features, "bias": module.bias is not None}
    return Node("Linear", arguments=_source(sizes)), ""


def _embedding(module) -> tuple[Node, str]:
    sizes = {"num_embeddings": module.num_embeddings, "dims": module.embedding_dim}
    odd = f"max_norm={module.max_norm!r}" if module.max_norm is not None else ""
    return Node("Embedding", arguments=_source(sizes)), odd


def _layer_norm(module) -> tuple[Node | None, str]:
    if len(module.normalized_shape) != 1:
        return None, ""
    affine = module.weight is not None
    arguments = _source({"dims": module.normalized_shape[0], "eps": module.eps, "affine": affine})
    if affine and module.bias is None:
        arguments["bias"] = "False"
    return Node("LayerNorm", arguments=arguments), ""


def _group_norm(module) -> tuple[Node, str]:
    sizes = {"num_groups": module.num_groups, "dims": module.num_channels, "eps": module.eps, "affine": module.affine}
    return Node("GroupNorm", arguments=_source(sizes | {"pytorch_compatible": True})), ""


def _batch_norm(module) -> tuple[Node, str]:
    sizes = {"num_features": module.num_features, "eps": module.eps, "affine": module.affine}
    if not module.track_running_stats:
        sizes["track_running_stats"] = False
    return Node("BatchNorm", arguments=_source(sizes)), ""


def _convolution(module) -> tuple[Node | None, str]:
    rank, odd, channels = len(module.kernel_size), [], module.in_channels
    if module.padding_mode != "zeros":
        odd.append(f"padding_mode={module.padding_mode!r}")
    values = {
        name: getattr(module, name) for name in ("kernel_size", "stride", "padding", "dilation", "output_padding")
    }
    if isinstance(module.padding, str):
        values["padding"], sided = _padding(module)
        odd += sided
    if module.groups != 1 and (module.transposed or rank == 3):
        # mlx.nn has no groups here; a plain layer of fewer channels holds the same arrays.
        if module.transposed:
            return None, ""
        channels //= module.groups
        odd.append(f"groups={module.groups}")
    sizes = {"in_channels": channels, "out_channels": module.out_channels}
    for name, entry in values.items():
        if name == "kernel_size" or any(value != (0 if "padding" in name else 1) for value in entry):
            sizes[name] = entry[0] if len(set(entry)) == 1 else tuple(entry)
    if module.groups != 1 and channels == module.in_channels:
        sizes["groups"] = module.groups
    kind = f"Conv{'Transpose' if module.transposed else ''}{rank}d"
    return Node(kind, arguments=_source(sizes | {"bias": module.bias is not None})), ", ".join(odd)


def _padding(module) -> tuple[tuple[int, ...], list[str]]:
    # torch's padding by name: "same" adds what the kernel removes; an odd row goes to the end.
    rank = len(module.kernel_size)
    if module.padding == "valid":
        return (0,) * rank, []
    total = [step * (size - 1) for step, size in zip(module.dilation, module.kernel_size, strict=True)]
    if any(size % 2 for size in total):
        return (0,) * rank, ["padding='same' with one more at the end"]
    return tuple(size // 2 for size in total), []


def _source(values: dict) -> dict[str, str]:
    return {name: repr(value) for name, value in values.items()}
