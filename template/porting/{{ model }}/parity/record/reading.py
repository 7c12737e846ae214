"""Read a checkpoint's files tensor by tensor: mapped as a whole, a file stays in memory next to its float32 copy."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator

import safetensors.torch
import torch
from safetensors import safe_open

BY_TENSOR = "pread"  # safetensors' name for it; older releases can only map


def can_read_by_tensor() -> bool:
    """Whether the installed safetensors can."""
    return "backend" in inspect.signature(safetensors.torch.load_file).parameters


@contextlib.contextmanager
def by_tensor() -> Iterator[None]:
    """Inside this context, diffusers and transformers load float32 networks without the whole file in memory."""
    if not can_read_by_tensor():
        yield
        return
    import transformers.modeling_utils as transformers

    whole, opened = safetensors.torch.load_file, transformers.safe_open
    safetensors.torch.load_file = _load_file
    transformers.safe_open = lambda file, *args, **kwargs: opened(file, *args, **kwargs | {"backend": BY_TENSOR})
    try:
        yield
    finally:
        safetensors.torch.load_file, transformers.safe_open = whole, opened


def _load_file(filename, device="cpu", **_) -> dict[str, torch.Tensor]:
    with safe_open(filename, framework="pt", device=str(device), backend=BY_TENSOR) as file:
        return {name: _widened(file.get_tensor(name)) for name in file.keys()}


def _widened(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.float() if tensor.dtype in (torch.bfloat16, torch.float16) else tensor
