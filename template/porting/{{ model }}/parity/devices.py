"""An operation that a device lacks. The model is correct; another device supports the operation."""

from __future__ import annotations

import re

ON_CPU = "run it with --device cpu"
LACKS = re.compile(
    r"not (currently )?implemented for the \w+ device"  # PyTorch on mps
    r"|Could not run .* from the '\w+' backend"  # PyTorch, any device
    r"|MPS framework doesn't support|not supported (on|for|by) MPS"
    r"|is not correctly aligned"  # PyTorch on cuda: attention over a few channels, as in a twin
    r"|has no (GPU|CUDA|CPU) implementation|not (yet )?supported on the GPU|No (Metal|CUDA) back-end"  # MLX
)


class DeviceError(BaseException):
    """One line for the user. Not an Exception, so that handlers for a model's own errors do not catch it."""


def lacking(error: BaseException) -> str:
    """The first sentence of an error that says that a device lacks an operation or a dtype; else empty."""
    text = " ".join(str(error).split())
    return re.split(r"\.(?:\s|$)", text)[0][:200] if LACKS.search(text) else ""


def stop_if_lacking(error: BaseException, device: str, cure: str = ON_CPU) -> None:
    """Raise DeviceError when ``device``, such as "MLX on Device(gpu, 0)", lacks an operation."""
    reason = lacking(error)
    if reason:
        raise DeviceError(f"{device} lacks an operation ({reason}); {cure}") from None
