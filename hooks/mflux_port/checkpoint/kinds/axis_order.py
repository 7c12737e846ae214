"""The axis order of a file's arrays: PyTorch's, or that of MLX, Flax or GGUF, whose arrays a port must not transpose
again.
"""

from __future__ import annotations

from collections.abc import Mapping

from mflux_port.checkpoint.headers import Tensor
from mflux_port.checkpoint.kinds.kind import Kind

_KERNEL = 31  # no kernel of an image model is larger, and a smaller channel count could be a kernel
_TORCH = "download the original checkpoint: mflux transposes that itself"
_SAME = {"pt", "pytorch", "torch", ""}
_FORMATS = {
    "mlx": ("MLX layout", "weights that were converted to MLX", _TORCH),
    "flax": ("Flax layout", "weights of JAX and Flax", "convert it to PyTorch and save it again"),
    "tf": ("TensorFlow layout", "weights of TensorFlow", "convert it to PyTorch and save it again"),
    "jax": ("Flax layout", "weights of JAX and Flax", "convert it to PyTorch and save it again"),
}


def layouts(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> list[Kind]:
    """A list of one Kind if the file is in a layout other than torch's, otherwise an empty list."""
    if "mflux_version" in metadata or "quantization_level" in metadata:
        what = f"a copy that mflux {metadata.get('mflux_version', '')} saved".replace("  ", " ")
        return [Kind("saved by mflux", what, _TORCH, tuple(tensors))]
    named = metadata.get("format", "").lower()
    if named in _FORMATS:
        kind, what, fix = _FORMATS[named]
        return [Kind(kind, f"{what}: the header says format {named}", fix, tuple(tensors))]
    if any(name.startswith("general.") for name in metadata) or _is_gguf(tensors):
        fix = "download the original checkpoint in safetensors"
        return [Kind("GGUF layout", "weights that were converted from GGUF", fix, tuple(tensors))]
    if any(name.rpartition(".")[2] == "kernel" and len(tensor.shape) > 1 for name, tensor in tensors.items()):
        kind, what, fix = _FORMATS["flax"]
        return [Kind(kind, f"{what}: weights are called kernel", fix, tuple(tensors))]
    return _by_shape(tensors)


def _is_gguf(tensors: Mapping[str, Tensor]) -> bool:
    return any(name.startswith("blk.0.") for name in tensors) and "token_embd.weight" in tensors


def _by_shape(tensors: Mapping[str, Tensor]) -> list[Kind]:
    mlx = [name for name, tensor in tensors.items() if order(name, tensor.shape) == "mlx"]
    if not mlx:
        return []
    others = any(order(name, tensor.shape) == "torch" for name, tensor in tensors.items())
    what = "convolutions whose channels come last, as in MLX"
    if others:
        return [
            Kind(
                "mixed layout",
                f"{what}, next to others in torch's order",
                "compare both with the reference",
                tuple(mlx),
            )
        ]
    return [Kind("MLX layout", what, _TORCH, tuple(mlx))]


def order(name: str, shape: tuple[int, ...]) -> str:
    """``torch`` or ``mlx`` when a convolution's weight can only be that, otherwise ''.

    torch stores (out, in, *kernel), MLX (out, *kernel, in). A kernel is small and mostly square; there are many
    channels.
    """
    if name.rpartition(".")[2] != "weight" or len(shape) not in (3, 4, 5):
        return ""
    torch, mlx = _is_kernel(shape[2:], shape[1]), _is_kernel(shape[1:-1], shape[-1])
    return "" if torch == mlx else "torch" if torch else "mlx"


def _is_kernel(sizes: tuple[int, ...], channels: int) -> bool:
    small = max(sizes) <= _KERNEL
    square = len(sizes) > 1 and len(set(sizes)) == 1
    return small and (square and sizes[0] != channels or channels > _KERNEL or channels == 1 and square)
