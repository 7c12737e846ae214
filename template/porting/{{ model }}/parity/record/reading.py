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
    from transformers import modeling_utils

    # diffusers calls the first one, transformers the second one.
    before = safetensors.torch.load_file, getattr(modeling_utils, "safe_open", None)
    safetensors.torch.load_file, modeling_utils.safe_open = _load_file, _safe_open
    try:
        yield
    finally:
        safetensors.torch.load_file, modeling_utils.safe_open = before


def _safe_open(filename, framework="pt", device="cpu", **_):
    return safe_open(filename, framework=framework, device=device, backend=BY_TENSOR)


def _load_file(filename, device="cpu", **_) -> dict[str, torch.Tensor]:
    with _safe_open(filename, device=str(device)) as file:
        return {name: _widened(file.get_tensor(name)) for name in file.keys()}


def _widened(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.float() if tensor.dtype in (torch.bfloat16, torch.float16) else tensor
