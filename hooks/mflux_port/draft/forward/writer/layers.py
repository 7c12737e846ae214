"""How a port calls torch's layers: the line of MLX for each call."""

from __future__ import annotations

from mflux_port.draft.tree.leaf_layers import leaf
from mflux_port.draft.tree.nodes import MODULE

# Layers without weights: the call in MLX, with {attribute} for one of the layer's own.
WEIGHTLESS = {
    "SiLU": "nn.silu(x)", "ReLU": "nn.relu(x)", "Tanh": "mx.tanh(x)", "Sigmoid": "mx.sigmoid(x)", "Mish": "nn.mish(x)",
    "Softplus": "nn.softplus(x)", "ReLU6": "nn.relu6(x)", "Hardswish": "nn.hardswish(x)", "LogSigmoid": "nn.log_sigmoid(x)",
    "LeakyReLU": "nn.leaky_relu(x, {negative_slope})", "ELU": "nn.elu(x, {alpha})", "GLU": "nn.glu(x, axis={dim})",
    "Softmax": "mx.softmax(x, axis={dim})",
}  # fmt: skip
SILENT = ("Identity", "Dropout", "Dropout1d", "Dropout2d", "Dropout3d")
_CHANNELS_FIRST = ("Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d")
_NORMS = ("GroupNorm", "BatchNorm")  # torch computes them in float32, MLX in the input's type
_KNOWN: dict[int, tuple] = {}


def layer_call(module) -> str | None:
    """How a layer's call is written: source with ``x`` for the input and ``layer`` for the layer.

    '' for a layer that returns its input, None for a module that is not one of these layers.
    """
    found = _KNOWN.get(id(module))
    if found is None or found[0] is not module:
        _KNOWN[id(module)] = found = (module, _layer_call(module))
    return found[1]


def layer_call_of(value) -> str | None:
    """The ``layer_call`` of a module, None for an object."""
    from torch import nn

    return layer_call(value) if isinstance(value, nn.Module) else None


def _layer_call(module) -> str | None:
    from torch import nn

    name = type(module).__name__
    if isinstance(module, (nn.Identity, nn.Dropout)) or type(module) in _silent():
        return ""
    if type(module).__module__.startswith("torch.nn"):
        if name in WEIGHTLESS:
            return WEIGHTLESS[name].format(**{key: repr(value) for key, value in vars(module).items()})
        if name == "GELU":
            return "nn.gelu(x)" if module.approximate == "none" else "nn.gelu_approx(x)"
    activation = _activation(module)
    if activation is not None:
        return activation
    if isinstance(module, nn.Softplus):
        return None
    node = leaf(module)
    if node is None or node.kind == MODULE:
        return None
    if node.kind in _NORMS:
        return "SHARED.channels_last_norm(layer, x)"
    return "SHARED.channels_last(layer, x)" if node.kind in _CHANNELS_FIRST else "layer(x)"


def _silent() -> tuple:
    from torch import nn

    return tuple(getattr(nn, name) for name in SILENT)


def _activation(module) -> str | None:
    """The activation of a module without weights, found by running it; None for any other module."""
    import inspect

    import torch
    from torch.nn import functional

    if any(True for _ in module.children()) or any(True for _ in module.parameters()) or list(module.buffers()):
        return None
    parameters = list(inspect.signature(type(module).forward).parameters.values())[1:]
    if len(parameters) != 1 or type(module).__module__.startswith("torch.nn"):
        return None
    numbers = torch.linspace(-6, 6, 97).reshape(1, 97)
    known = {
        "nn.silu(x)": functional.silu, "nn.gelu(x)": functional.gelu, "nn.relu(x)": functional.relu,
        "nn.gelu_approx(x)": lambda x: functional.gelu(x, approximate="tanh"),
        "x * mx.sigmoid(1.702 * x)": lambda x: x * torch.sigmoid(1.702 * x),
    }  # fmt: skip
    try:
        with torch.no_grad():
            out = module(numbers.clone())
        for text, function in known.items():
            if out.shape == numbers.shape and torch.allclose(out, function(numbers), rtol=1e-6, atol=2e-7):
                return text
    except Exception:  # noqa: BLE001 - what fails here is not an activation
        return None
    return None
