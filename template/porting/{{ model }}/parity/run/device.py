"""The device that MLX computes on."""

from __future__ import annotations

import mlx.core as mx

from parity import devices
from parity.errors import ParityError


def use(name: str) -> None:
    """Compute on ``cpu`` or ``gpu``. Raises ParityError when MLX has no such device here."""
    try:
        mx.set_default_device(getattr(mx, name))
    except (ValueError, RuntimeError) as error:
        reason = str(error).rstrip(".")
        raise ParityError(f"--device {name}: {reason}; leave it out, or install the MLX that has it") from None


def stop_if_lacking(error: BaseException) -> None:
    """Raise DeviceError when the device lacks an operation of the port.

    MLX says so when it computes, not when it is called.
    """
    cure = f"{devices.ON_CPU}, or let the port give stream=mx.cpu to it"
    devices.stop_if_lacking(error, f"MLX on {mx.default_device()}", cure)
