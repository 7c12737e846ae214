"""Decoded images as PNG, and pairs of them with their difference."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

AMPLIFIED = 16


def to_picture(decoded: np.ndarray) -> Image.Image:
    """A decoded image, (1, 3, H, W) or (1, 3, 1, H, W) in -1..1, as a picture."""
    image = np.asarray(decoded, np.float32).reshape(decoded.shape[0], decoded.shape[1], *decoded.shape[-2:])[0]
    scaled = np.clip(image / 2 + 0.5, 0, 1).transpose(1, 2, 0)
    return Image.fromarray((scaled[..., :3] * 255).round().astype(np.uint8))


def save_image(decoded: np.ndarray, path: Path) -> None:
    """Write a decoded image as PNG."""
    to_picture(decoded).save(path)


def difference(one: np.ndarray, other: np.ndarray, factor: float = 1.0) -> Image.Image:
    """|one - other| times ``factor``, black where both are equal."""
    gap = np.abs(np.asarray(one, np.float32) - np.asarray(other, np.float32)) * factor
    return to_picture(np.clip(gap, 0, 2) - 1)


def png(picture: Image.Image, longest: int = 512) -> bytes:
    """The picture's PNG bytes, made smaller when it is longer than ``longest``."""
    if max(picture.size) > longest:
        picture = picture.copy()
        picture.thumbnail((longest, longest))
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()
