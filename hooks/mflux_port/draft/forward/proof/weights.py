"""The twin's weights in the drafted modules: by path, with MLX's axis order in convolutions."""

from __future__ import annotations


def load_weights(port, model) -> None:
    """Set every parameter and stored buffer of a torch model in the drafted module of the same path."""
    from mflux_port.draft.forward.proof.arrays import to_mlx

    for name, tensor in model.state_dict(keep_vars=True).items():
        path, _, leaf = name.rpartition(".")
        owner = _find(port, path)
        if owner is not None and leaf in owner:
            owner[leaf] = to_mlx(_ordered(model.get_submodule(path), leaf, tensor.detach()))


def _find(port, path: str):
    for name in path.split(".") if path else ():
        if isinstance(port, list):
            port = port[int(name)] if int(name) < len(port) else None
        else:
            port = port.get(name) if isinstance(port, dict) else getattr(port, name, None)
        if port is None:
            return None
    return port


def _ordered(module, leaf: str, tensor):
    from torch import nn

    if leaf != "weight" or tensor.ndim < 3:
        return tensor
    if isinstance(module, nn.modules.conv._ConvTransposeNd):
        return tensor.transpose(0, 1).movedim(1, -1)
    return tensor.movedim(1, -1) if isinstance(module, nn.modules.conv._ConvNd) else tensor
