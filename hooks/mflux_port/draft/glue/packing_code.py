"""Packing as MLX code: the einops pattern of a fact becomes ``reshape`` and ``transpose``."""

from __future__ import annotations

import re
from dataclasses import dataclass

_PATTERN = re.compile(r"b c .*-> b (\(h w\) )?\((?P<inner>[cpq ]+)\)( h w)?(, p = q = (?P<patch>\d+))?")
_AXES = {"c": 1, "p": 3, "q": 5}


@dataclass(frozen=True)
class Packing:
    """``inner``: the axes of a feature, in order; ``patch``: the side of a patch; ``tokens``: one
    axis for the image.
    """

    inner: tuple[str, ...]
    patch: int
    tokens: bool

    def methods(self) -> str:
        """``_pack`` and ``_unpack`` as static methods of a class."""
        if self.patch == 1:
            return _PLAIN
        order = [_AXES[name] for name in self.inner]
        forward = [0, 2, 4, *order] if self.tokens else [0, *order, 2, 4]
        back = [forward.index(axis) for axis in range(6)]
        p = self.patch
        image = f"(height // {p}) * (width // {p})" if self.tokens else f"height // {p}, width // {p}"
        features = f"channels * {p * p}"
        packed = f"batch, {image}, {features}" if self.tokens else f"batch, {features}, {image}"
        sides = {0: "batch", 1: "channels", 2: f"height // {p}", 3: str(p), 4: f"width // {p}", 5: str(p)}
        return f"""
    @staticmethod
    def _pack(latents: mx.array) -> mx.array:
        batch, channels, height, width = latents.shape
        patches = latents.reshape(batch, channels, height // {p}, {p}, width // {p}, {p})
        return patches.transpose({_joined(forward)}).reshape({packed})

    @staticmethod
    def _unpack(packed: mx.array, shape: tuple[int, ...]) -> mx.array:
        batch, channels, height, width = shape
        patches = packed.reshape({_joined(sides[axis] for axis in forward)})
        return patches.transpose({_joined(back)}).reshape(shape)
"""


_PLAIN = """
    @staticmethod
    def _pack(latents: mx.array) -> mx.array:
        batch, channels, height, width = latents.shape
        return latents.transpose(0, 2, 3, 1).reshape(batch, height * width, channels)

    @staticmethod
    def _unpack(packed: mx.array, shape: tuple[int, ...]) -> mx.array:
        batch, channels, height, width = shape
        return packed.reshape(batch, height, width, channels).transpose(0, 3, 1, 2)
"""


def packing(pattern: str) -> Packing | None:
    """The packing of a fact's pattern; None if it is not a packing."""
    match = _PATTERN.fullmatch(pattern)
    if match is None:
        return None
    return Packing(tuple(match["inner"].split()), int(match["patch"] or 1), match[1] is not None)


def _joined(parts) -> str:
    return ", ".join(map(str, parts))
