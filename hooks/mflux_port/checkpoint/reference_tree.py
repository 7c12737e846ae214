"""The reference's own module tree, built on torch's meta device: no weights, only shapes. Needs torch and the reference.

Sizes become expressions of the config's names where the reference itself shows how: it is built again with one number
of its config doubled and quadrupled, and a size that follows as a product in both is written as that product.
"""

from __future__ import annotations

import importlib.util
import inspect
from pathlib import PurePath

from mflux_port.checkpoint.inference import dimensions
from mflux_port.checkpoint.layout import Component
from mflux_port.checkpoint.nodes import DICT, LIST, MODULE, Node
from mflux_port.checkpoint.sizes import Observation, express

_SILENT = ("Dropout", "Identity", "ModuleList", "ModuleDict", "Sequential")
_ACTIVATIONS = {"SiLU": "SiLU", "GELU": "GELU", "ReLU": "ReLU", "Tanh": "Tanh", "Sigmoid": "Sigmoid"}


def has_reference(component: Component) -> bool:
    """Whether torch and the library of the component's class are installed."""
    names = ("torch", component.library)
    return component.library in ("diffusers", "transformers") and all(map(importlib.util.find_spec, names))


def reference_tree(component: Component) -> Node | None:
    """The tree of the component's reference class; None when the installed library has no such class."""
    base = _build(component, component.config)
    if base is None:
        return None
    tree = _describe(base)
    _mark_tied(tree, base)
    section, sizes = _sizes(component.config)
    observations = []
    for name, value in _variables(sizes).items():
        twice, again = (_vary(component, section, name, value, factor) for factor in (2, 4))
        if twice is not None and again is not None:
            observations.append(Observation(name, value, _describe(twice), _describe(again)))
    return express(tree, observations)


def _mark_tied(tree: Node, module) -> None:
    holders: dict[int, list[str]] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        holders.setdefault(id(parameter), []).append(name.rpartition(".")[0])
    for path in (path for paths in holders.values() if len(paths) > 1 for path in paths):
        node = tree.find(path)
        if node is not None:
            node.tied = True


def _sizes(config: dict) -> tuple[str, dict]:
    nested = config.get("text_config")
    return ("text_config", dimensions(nested)) if isinstance(nested, dict) else ("", dimensions(config))


def _variables(sizes: dict) -> dict[str, int]:
    found = {}
    for name, value in sizes.items():
        if isinstance(value, int):
            found[name] = value
        else:
            found |= {f"{name}[{index}]": number for index, number in enumerate(value)}
    return {name: value for name, value in found.items() if value > 0}


def _vary(component: Component, section: str, name: str, value: int, factor: int):
    # Rotary embeddings want head sizes that fit: such a config is tried again with the axes scaled along, up or down.
    key, _, index = name.partition("[")
    for axes in (1.0, factor, 1 / factor):
        config = dict(component.config)
        inner = dict(config[section]) if section else config
        for other, sizes in list(inner.items()):
            if axes != 1.0 and other.startswith("axes_dim") and isinstance(sizes, list):
                inner[other] = [int(size * axes) for size in sizes]
        for other, entries in list(inner.items()):
            # A kind for every layer: as many as there are layers.
            if isinstance(entries, list) and len(entries) == value and all(isinstance(kind, str) for kind in entries):
                inner[other] = entries * factor
        if index:
            inner[key] = [*inner[key]]
            inner[key][int(index[:-1])] = value * factor
        else:
            inner[key] = value * factor
        if section:
            config[section] = inner
        module = _build(component, config)
        if module is not None:
            return module
    return None


def _build(component: Component, config: dict):
    import torch

    library = __import__(component.library)
    reference = getattr(library, component.class_name, None)
    if reference is None:
        return None
    try:
        with torch.device("meta"):
            if component.library == "diffusers":
                return reference.from_config({name: value for name, value in config.items() if name != "_class_name"})
            return reference(reference.config_class.from_dict(config))
    except Exception:  # noqa: BLE001 - a config that the reference refuses simply shows nothing
        return None


def _describe(module) -> Node:
    from torch import nn

    if isinstance(module, (nn.ModuleList, nn.Sequential)):
        return Node(LIST, children=_children(module, keep_places=True))
    if isinstance(module, nn.ModuleDict):
        return Node(DICT, children=_children(module))
    leaf = _leaf(module)
    if leaf is not None:
        return leaf
    node = Node(MODULE, type(module).__name__, _file(type(module)), children=_children(module), call=_call(module))
    node.parameters = {name: _shape(value) for name, value in module.named_parameters(recurse=False)}
    state = module.state_dict(keep_vars=True)
    for name, value in module.named_buffers(recurse=False):
        if name in state:
            node.parameters[name] = _shape(value)
    for name, child in module.named_children():
        if name not in node.children and type(child).__name__ not in _SILENT:
            node.remarks.append(f"{name}: {type(child).__name__} holds no weights ({_file(type(child))})")
    return node


def _call(module) -> tuple[str, ...]:
    plain = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    parameters = list(inspect.signature(type(module).forward).parameters.values())[1:]
    named = [one for one in parameters if one.kind in plain]
    needed = [one.name for one in named if one.default is inspect.Parameter.empty]
    return (*needed, *(f"{one.name}=None" for one in named if one.name not in needed))


def _children(module, keep_places: bool = False) -> dict[str, Node]:
    children = {}
    for name, child in module.named_children():
        node = _describe(child)
        if node.is_leaf or node.children or node.parameters:
            if keep_places or node.kind not in ("Identity", *_ACTIVATIONS.values()):
                children[name] = node
        elif keep_places:
            children[name] = Node("Identity", remarks=[f"{type(child).__name__} ({_file(type(child))})"])
    if keep_places and all(node.kind in ("Identity", *_ACTIVATIONS.values()) for node in children.values()):
        return {}
    return children


def _leaf(module) -> Node | None:
    from torch import nn

    table = (
        (nn.Linear, _linear), (nn.Embedding, _embedding), (nn.LayerNorm, _layer_norm), (nn.GroupNorm, _group_norm),
        (nn.modules.batchnorm._BatchNorm, _batch_norm), (nn.modules.conv._ConvTransposeNd, _convolution),
        (nn.modules.conv._ConvNd, _convolution),
    )  # fmt: skip
    for base, describe in table:
        if isinstance(module, base) and not any(True for _ in module.children()):
            node = describe(module)
            if not type(module).__module__.startswith("torch.nn"):
                node.class_name, node.file = type(module).__name__, _file(type(module))
            return node
    if _is_rms_norm(module):
        eps = getattr(module, "variance_epsilon", getattr(module, "eps", None))
        return Node("RMSNorm", arguments={"dims": str(module.weight.shape[0]), "eps": _eps(eps)})
    name = type(module).__name__
    if name in _ACTIVATIONS and type(module).__module__.startswith("torch.nn"):
        exact = getattr(module, "approximate", "none") == "none"
        return Node(_ACTIVATIONS[name], arguments={} if exact else {"approx": "'tanh'"})
    return Node("Identity") if isinstance(module, (nn.Identity, nn.Dropout)) else None


def _linear(module) -> Node:
    sizes = {"input_dims": module.in_features, "output_dims": module.out_features, "bias": module.bias is not None}
    return Node("Linear", arguments=_source(sizes))


def _embedding(module) -> Node:
    sizes = {"num_embeddings": module.num_embeddings, "dims": module.embedding_dim}
    return Node("Embedding", arguments=_source(sizes))


def _layer_norm(module) -> Node:
    affine = module.weight is not None
    arguments = _source({"dims": module.normalized_shape[-1], "eps": module.eps, "affine": affine})
    if affine and module.bias is None:
        arguments["bias"] = "False"
    return Node("LayerNorm", arguments=arguments)


def _group_norm(module) -> Node:
    sizes = {"num_groups": module.num_groups, "dims": module.num_channels, "eps": module.eps, "affine": module.affine}
    return Node("GroupNorm", arguments=_source(sizes | {"pytorch_compatible": True}))


def _batch_norm(module) -> Node:
    sizes = {"num_features": module.num_features, "eps": module.eps, "affine": module.affine}
    return Node("BatchNorm", arguments=_source(sizes))


def _convolution(module) -> Node:
    rank = len(module.kernel_size)
    flipped = "Transpose" if type(module).__mro__ and module.transposed else ""
    sizes = {"in_channels": module.in_channels, "out_channels": module.out_channels}
    for name in ("kernel_size", "stride", "padding", "dilation"):
        values = tuple(getattr(module, name)) if not isinstance(getattr(module, name), str) else ()
        default = 0 if name == "padding" else 1
        if name == "kernel_size" or any(value != default for value in values):
            sizes[name] = values[0] if rank == 1 or len(set(values)) == 1 else values
    if module.groups != 1:
        sizes["groups"] = module.groups
    return Node(f"Conv{flipped}{rank}d", arguments=_source(sizes | {"bias": module.bias is not None}))


def _is_rms_norm(module) -> bool:
    name = type(module).__name__.replace("_", "")
    own = dict(module.named_parameters())
    # Gemma's adds one to its weight: that is another formula.
    plain = name.endswith("RMSNorm") and "Gemma" not in name and set(own) == {"weight"} and own["weight"].dim() == 1
    return plain and not any(True for _ in module.buffers())


def _eps(eps: float | None) -> str:
    import torch

    return repr(float(torch.finfo(torch.float32).eps if eps is None else eps))


def _source(values: dict) -> dict[str, str]:
    return {name: repr(value) for name, value in values.items()}


def _shape(tensor) -> tuple[str, ...]:
    return tuple(str(size) for size in tensor.shape)


def _file(cls: type) -> str:
    parts = cls.__module__.split(".")
    return str(PurePath(*parts)).replace("\\", "/") + ".py"
