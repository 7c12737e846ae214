"""Draw docs/tour/report.png: `picture.py CHECKPOINT PORTING_FOLDER OUTPUT`, with a Python that has torch, diffusers and
MLX.

A smooth random field goes through the VAE of the reference and through the port's: encode, then decode. From left to
right: the field, the reference's result, the port's, the difference, and the difference amplified.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

SIDE = 64  # the VAE has its real size: larger images take minutes on two cores

SHOWN = 192


def main(checkpoint: Path, porting: Path, output: Path) -> None:
    sys.path.insert(0, str(porting))
    from parity.explain.pictures import AMPLIFIED, difference, to_picture
    from PIL import Image

    field = smooth_field()
    theirs, own = through_reference(checkpoint, field), through_port(porting, checkpoint, field)
    scale = np.abs(theirs).max()  # with random weights, values exceed this range
    theirs, own = theirs / scale, own / scale
    pictures = [to_picture(field), to_picture(theirs), to_picture(own), difference(theirs, own),
                difference(theirs, own, AMPLIFIED)]  # fmt: skip
    sheet = Image.new("RGB", (len(pictures) * (SHOWN + 12) - 12, SHOWN), "white")
    for at, picture in enumerate(pictures):
        sheet.paste(picture.resize((SHOWN, SHOWN)), (at * (SHOWN + 12), 0))
    sheet.save(output, optimize=True)


def smooth_field() -> np.ndarray:
    """(1, 3, SIDE, SIDE) in -1..1: low-frequency waves with random directions and phases."""
    random = np.random.default_rng(42)
    y, x = np.mgrid[0:SIDE, 0:SIDE] / SIDE * 2 * np.pi
    waves = [
        sum(np.cos(a * x + b * y + c) for a, b, c in random.uniform([-3, -3, 0], [3, 3, 2 * np.pi], (6, 3)))
        for _ in range(3)
    ]
    field = np.stack(waves)[None]
    return (field / np.abs(field).max()).astype(np.float32)


def through_reference(checkpoint: Path, field: np.ndarray) -> np.ndarray:
    import torch
    from diffusers import AutoencoderKL

    vae = AutoencoderKL.from_pretrained(checkpoint / "vae", torch_dtype=torch.float32)
    with torch.no_grad():
        return vae.decode(vae.encode(torch.from_numpy(field)).latent_dist.mean).sample.numpy()


def through_port(porting: Path, checkpoint: Path, field: np.ndarray) -> np.ndarray:
    import mlx.core as mx
    from parity.answers import load_answers
    from parity.run import mlx_port

    vae = mlx_port.load(load_answers(porting).import_path, checkpoint, "float32", {}).model.vae
    return np.array(vae.decode(vae.encode(mx.array(field)))).reshape(field.shape)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
