"""A header's tensors grouped by the module that holds them."""

from __future__ import annotations

from collections.abc import Mapping

from mflux_port.checkpoint.headers import Tensor

Arrays = dict[str, Tensor]


def by_module(tensors: Mapping[str, Tensor]) -> dict[str, Arrays]:
    """Module path -> array name -> tensor. Arrays below a weight (``weight.absmax``) count for its module."""
    found: dict[str, Arrays] = {}
    for name, tensor in tensors.items():
        path, array = split(name)
        found.setdefault(path, {})[array] = tensor
    return found


def split(name: str) -> tuple[str, str]:
    """Split a tensor's name into module path and array name."""
    path, below, rest = name.partition(".weight.")
    if below and not rest.endswith((".weight", ".bias")):
        return path, f"weight.{rest}"
    path, _, array = name.rpartition(".")
    return path, array
