"""What a device lacks: an operation, or memory. The model is correct."""

from __future__ import annotations

import re

ON_CPU = "run it with --device cpu"
LESS = "--dtype bfloat16 halves it, a smaller --size shrinks all but the weights"
LACKS = re.compile(
    r"not (currently )?implemented for the \w+ device"  # PyTorch on mps
    r"|Could not run .* from the '\w+' backend"  # PyTorch, any device
    r"|MPS framework doesn't support|not supported (on|for|by) MPS"
    r"|is not correctly aligned"  # PyTorch on cuda: attention over a few channels, as in a twin
    r"|has no (GPU|CUDA|CPU) implementation|not (yet )?supported on the GPU|No (Metal|CUDA) back-end"  # MLX
)


MEMORY = re.compile(
    r"out of memory|Insufficient Memory|maximum allowed buffer size"  # CUDA, mps, Metal
    r"|unable to allocate|(can't|cannot) allocate memory|not enough memory",  # the CPU
    re.IGNORECASE,
)


class DeviceError(BaseException):
    """One line for the user. Not an Exception, so that handlers for a model's own errors do not catch it."""


def lacking(error: BaseException) -> str:
    """The sentence of an error that says that a device lacks an operation or a dtype; else empty."""
    return _sentence(error, LACKS)


def out_of_memory(error: BaseException) -> str:
    """The sentence of an error that says that there is too little memory; else empty."""
    return _sentence(error, MEMORY) or "out of memory" * isinstance(error, MemoryError)


def stop_if_lacking(error: BaseException, device: str, cure: str = ON_CPU) -> None:
    """Raise DeviceError when ``device``, such as "MLX on Device(gpu, 0)", lacks an operation or memory."""
    reason = lacking(error)
    if reason:
        raise DeviceError(f"{device} lacks an operation ({reason}); {cure}") from None
    reason = out_of_memory(error)
    if reason:
        raise DeviceError(f"{device} has too little memory ({reason}); {LESS}") from None


def _sentence(error: BaseException, says: re.Pattern) -> str:
    text = " ".join(str(error).split())
    return next((part[:200] for part in re.split(r"\.(?:\s|$)", text) if says.search(part)), "")
