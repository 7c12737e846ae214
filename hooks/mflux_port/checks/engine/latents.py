"""Calls that pack or normalize latents: image-to-image and training must make the same ones."""

from __future__ import annotations

import ast

from mflux_port.checks.engine import syntax


def packing_calls(nodes: list[ast.AST]) -> set[str]:
    """The names of the packing and normalizing methods that ``nodes`` call."""
    return {name for name in syntax.called_names(nodes) if is_packing(name)}


def is_packing(name: str) -> bool:
    return name == "pack_latents" or "normalize_latents" in name and "denormalize" not in name
