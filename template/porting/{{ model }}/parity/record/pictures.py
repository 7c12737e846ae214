"""Draw pictures for runs without an image file: colours, shapes, some text and grain."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

# Grain as in photos. Without it, MLX's group norms lose digits in flat areas: at 384x256 a correct encoder is off by
# 2.5e-4.
GRAIN = 6
DRAWN = (((230, 60, 40), (30, 80, 200)), ((250, 210, 40), (20, 140, 90)), ((150, 40, 170), (240, 240, 230)))


def default_picture(path: Path, width: int, height: int, number: int = 0) -> Path:
    """Draw one picture; each ``number`` has different colours and positions of the shapes."""
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    values = np.roll(np.stack([x, y, 0.5 + 0.5 * np.sin(6 * x * y)], axis=-1), number, axis=-1)
    image = Image.fromarray((255 * values).astype(np.uint8))
    draw, (round_one, square) = ImageDraw.Draw(image), DRAWN[number]
    left = width // 8 * (1 + number)
    draw.ellipse((left, height // 8, left + width // 3, height // 2), fill=round_one)
    draw.rectangle((width // 2, height // 2, width - width // 8, height - height // 6), fill=square)
    draw.text((width // 8, height - height // 5), "parity" if not number else f"image {number + 1}", fill=(255,) * 3)
    grain = np.random.default_rng(number).normal(scale=GRAIN, size=(height, width, 3))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.clip(np.asarray(image) + grain, 0, 255).astype(np.uint8)).save(path)
    return path
