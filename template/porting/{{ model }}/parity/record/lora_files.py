"""Random LoRA files in every key format in which such files are published, for all linear layers of a transformer.

Nothing is trained: an update with random numbers shows whether each number ends up in the right place.
"""

from __future__ import annotations

import json
import math
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

# Each mistake with an alpha gives a different factor: alpha is ignored, applied twice, or divided by the root of the
# rank.
RANK, ALPHA, OWN_ALPHA = 4, 12.0, 24.0  # OWN_ALPHA: of the one layer that alpha_pattern names
ENTRY = 80  # bytes of the header for one tensor, besides its key
DIRECTIONS = 4  # a weight is compared by its results for this many random inputs
LORA, LOKR, LOKR_FACTORS, DORA, LOKR_DORA = "LoRA", "LoKr", "LoKr in factors", "DoRA", "LoKr with DoRA"


@dataclass(frozen=True)
class Spelling:
    """The names in a file: ``pattern`` contains the layer's ``path`` (or ``joined``, with underscores).

    ``up`` and ``down`` follow it. ``alpha``: "tensor" for each layer, "metadata" in the header, or "" for none.
    ``scale`` is the strength at which the file is applied.
    """

    name: str
    pattern: str
    up: str = "lora_B.weight"
    down: str = "lora_A.weight"
    alpha: str = ""
    kind: str = LORA
    scale: float = 1.0
    size: float = 0.5  # size of the numbers in the up matrix

    def key(self, path: str, ending: str) -> str:
        return f"{self.pattern.format(path=path, joined=path.replace('.', '_'))}.{ending}"


OLD = {"up": "lora.up.weight", "down": "lora.down.weight"}
KOHYA = {"up": "lora_up.weight", "down": "lora_down.weight"}
SPELLINGS = (
    Spelling("diffusers", "transformer.{path}", scale=0.5),
    Spelling("diffusers_alpha", "transformer.{path}", alpha="metadata"),
    Spelling("diffusers_old", "transformer.{path}", **OLD),
    Spelling("adapter_name", "transformer.{path}", "lora_B.default.weight", "lora_A.default.weight"),
    Spelling("peft", "base_model.model.{path}"),
    Spelling("peft_transformer", "base_model.model.transformer.{path}"),
    Spelling("bare", "{path}"),
    Spelling("comfyui", "diffusion_model.{path}"),
    Spelling("comfyui_alpha", "diffusion_model.{path}", **KOHYA, alpha="tensor", scale=0.25),
    Spelling("kohya", "lora_unet_{joined}", **KOHYA, alpha="tensor", scale=0.25),
    Spelling("kohya_no_alpha", "lora_unet_{joined}", **KOHYA),
    Spelling("kohya_transformer", "lora_transformer_{joined}", **KOHYA, alpha="tensor"),
    Spelling("lokr", "diffusion_model.{path}", kind=LOKR, alpha="tensor"),
    Spelling("lokr_factors", "diffusion_model.{path}", kind=LOKR_FACTORS, alpha="tensor", scale=0.25),
    Spelling("lokr_diffusers", "transformer.{path}", kind=LOKR_FACTORS),
    Spelling("lycoris", "lycoris_{joined}", kind=LOKR_FACTORS, alpha="tensor"),
    Spelling("lycoris_dora", "lycoris_{joined}", kind=LOKR_DORA, alpha="tensor"),
    Spelling("dora", "transformer.{path}", kind=DORA),
)
# What a loader may add instead of the correct update; the reference records each one where it differs (record/lora.py).
TRANSPOSED = "transposed: its up and down matrices are swapped"
FACTORS_SWAPPED = "the factors of the Kronecker product (w1, w2) are swapped"
NO_MAGNITUDE = "the magnitude of DoRA is ignored"
COLUMNS = "DoRA divides by the norm of columns, not of rows"
MISTAKES = (TRANSPOSED, FACTORS_SWAPPED, NO_MAGNITUDE, COLUMNS)
ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")  # the layers that diffusers' own training scripts train
TRAINED = Spelling("attention", "transformer.{path}", scale=0.5)
# The initial values for training: so small that a layer which only one side trains does not affect the others.
START = Spelling("start", "transformer.{path}", size=1e-5)


def write_file(folder: Path, spelling: Spelling, layers: dict[str, tuple[int, int]]) -> dict[str, list[str]]:
    """Write ``<folder>/<name>.safetensors`` for ``layers`` (path: outputs, inputs). Returns each layer's keys."""
    from safetensors.numpy import save_file

    tensors: dict[str, np.ndarray] = {}
    keys: dict[str, list[str]] = {}
    for path, shape in layers.items():
        own = {spelling.key(path, ending): values for ending, values in _matrices(spelling, path, shape).items()}
        keys[path] = list(own)
        tensors |= own
    metadata = {"format": "pt"}
    if spelling.alpha == "metadata":
        metadata["lora_adapter_metadata"] = json.dumps(_adapter_config(list(layers)))
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / f"{spelling.name}.safetensors", metadata=metadata)
    return keys


def directions(inputs: int) -> np.ndarray:
    """Fixed random inputs of a layer, (inputs, DIRECTIONS). Both sides generate the same numbers."""
    return np.random.default_rng(inputs).standard_normal((inputs, DIRECTIONS)).astype(np.float32)


def file_size(spelling: Spelling, layers: dict[str, tuple[int, int]]) -> int:
    """Bytes of the file that write_file writes for ``layers``."""
    entries = ((path, name, part) for path, shape in layers.items() for name, part in _parts(spelling, shape).items())
    return sum(len(spelling.key(path, name)) + ENTRY + 4 * math.prod(part[0]) for path, name, part in entries)


def shapes(spelling: Spelling, layers: dict[str, tuple[int, int]]) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor in a file, by its key."""
    return {
        spelling.key(path, name): part[0]
        for path, shape in layers.items()
        for name, part in _parts(spelling, shape).items()
    }


def _matrices(spelling: Spelling, path: str, shape: tuple[int, int]) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(zlib.crc32(f"{spelling.name} {path}".encode()))
    return {
        name: np.asarray(size * rng.standard_normal(numbers) + mean, np.float32)
        for name, (numbers, size, mean) in _parts(spelling, shape).items()
    }


def _parts(spelling: Spelling, shape: tuple[int, int]) -> dict[str, tuple[tuple[int, ...], float, float]]:
    """Each tensor of one layer: its shape, and the size and the mean of its random numbers."""
    outputs, inputs = shape
    found = _kronecker(shape, spelling.kind)
    if spelling.kind in (LORA, DORA):
        found = {spelling.down: ((RANK, inputs), inputs**-0.5, 0.0), spelling.up: ((outputs, RANK), spelling.size, 0.0)}
    if spelling.kind == DORA:
        found["lora_magnitude_vector"] = (outputs,), 0.1, 1.0
    if spelling.kind == LOKR_DORA:
        found["dora_scale"] = (outputs, 1), 0.1, 1.0
    if spelling.alpha == "tensor":
        found["alpha"] = (), 0.0, ALPHA
    return found


def _kronecker(shape: tuple[int, int], kind: str) -> dict[str, tuple[tuple[int, ...], float, float]]:
    left = tuple(_factor(length) for length in shape)
    right = tuple(length // factor for length, factor in zip(shape, left, strict=True))
    found = {"lokr_w1": (left, 0.5, 0.0)}
    if kind == LOKR:
        return found | {"lokr_w2": (right, right[1] ** -0.5, 0.0)}
    return found | {
        "lokr_w2_a": ((right[0], RANK), 0.5, 0.0), "lokr_w2_b": ((RANK, right[1]), right[1] ** -0.5, 0.0),
    }  # fmt: skip


def _factor(length: int) -> int:
    return next(factor for factor in (4, 3, 2, 1) if length % factor == 0)


def _adapter_config(paths: list[str]) -> dict:
    # The metadata as diffusers writes it; one layer has its own alpha.
    return {
        "transformer.r": RANK, "transformer.lora_alpha": ALPHA, "transformer.target_modules": paths,
        "transformer.alpha_pattern": {paths[-1]: OWN_ALPHA}, "transformer.rank_pattern": {},
        "transformer.use_rslora": False,
    }  # fmt: skip
