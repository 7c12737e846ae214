"""Runs in an environment with mflux and torch: find where a drafted module's plain layers differ from the reference's.

Nothing here comes from the code under test: convolutions are compared by torch's attributes, norms by running both.
"""

import copy

import mlx.core as mx
import numpy as np
import torch
from mlx import nn

CONVOLUTIONS = tuple(getattr(nn, f"Conv{kind}{rank}d") for kind in ("", "Transpose") for rank in (1, 2, 3))
NORMS = (nn.LayerNorm, nn.RMSNorm, nn.GroupNorm)
OTHERS = (nn.Linear, nn.Embedding)


def unlike(reference, drafted):
    """[path, what differs] for every layer of mlx.nn among the modules of ``drafted``."""
    modules = dict(reference.named_modules(remove_duplicate=False))
    found, seen = [], set()
    for path, layer in drafted.named_modules():
        if not type(layer).__module__.startswith("mlx.nn") or not isinstance(layer, (*CONVOLUTIONS, *NORMS, *OTHERS)):
            continue
        key = (type(modules[path]), str(modules[path]), str(layer))
        if key not in seen:
            seen.add(key)
            found += [[path, why] for why in differences(modules[path], layer)]
    return found


def differences(torch_layer, layer):
    if isinstance(layer, NORMS):
        return norm_differences(torch_layer, layer)
    plain = next(base for base in type(torch_layer).__mro__ if base.__module__.startswith("torch.nn"))
    why = [] if type(torch_layer).forward is plain.forward else ["the class has its own forward"]
    if isinstance(layer, CONVOLUTIONS):
        why += conv_differences(torch_layer, layer)
    return why


def conv_differences(torch_layer, layer):
    rank = len(torch_layer.kernel_size)
    for name in ("stride", "padding", "dilation"):
        ours, theirs = getattr(layer, name), getattr(torch_layer, name)
        ours = (ours,) * rank if isinstance(ours, int) else tuple(ours)
        theirs = tuple(k // 2 for k in torch_layer.kernel_size) if theirs == "same" else theirs
        if ours != theirs:
            yield f"{name} is {ours}, torch's {theirs}"
    if torch_layer.padding_mode != "zeros":
        yield f"padding_mode is {torch_layer.padding_mode}"
    if torch_layer.weight.shape[1] * (1 if torch_layer.transposed else torch_layer.groups) != torch_layer.in_channels:
        yield "groups"
    if not torch_layer.transposed and layer.weight.shape[-1] * torch_layer.groups != torch_layer.in_channels:
        yield f"{layer.weight.shape[-1]} channels a group"


def norm_differences(torch_layer, layer):
    torch.manual_seed(0)
    twin = copy.deepcopy(torch_layer).float().to_empty(device="cpu")
    arrays = {name: torch.nn.init.uniform_(value, 0.5, 1.5) for name, value in twin.named_parameters()}
    layer.update({name: mx.array(value.detach().numpy()) for name, value in arrays.items()})
    channels = layer.dims if isinstance(layer, nn.GroupNorm) else torch_layer.weight.shape[0] if arrays else None
    channels = channels or torch_layer.normalized_shape[0]
    # Small numbers make a wrong eps visible, uneven ones wrong groups.
    numbers = 1e-3 * torch.randn(2, 3, channels) * torch.linspace(1, 3, channels)
    with torch.no_grad():
        theirs = twin(numbers.movedim(-1, 1)).movedim(1, -1) if isinstance(layer, nn.GroupNorm) else twin(numbers)
    ours = np.array(layer(mx.array(numbers.numpy())))
    return [] if np.allclose(ours, theirs.numpy(), rtol=1e-3, atol=1e-5) else ["another result"]
