"""Run inside an mflux environment: loads a one-layer LoRA by each pattern of a port's mapping and checks its effect.

``rendered_patterns.py MODEL CLASS``. Prints the patterns whose tensor changes nothing.
"""

import contextlib
import importlib
import io
import sys
import tempfile
from pathlib import Path

import mlx.core as mx
from mflux.models.common.lora.mapping.lora_loader import LoRALoader
from mlx import nn

OUT, INNER, RANK = 6, 4, 2
SHAPES = {"up": (OUT, RANK), "down": (RANK, INNER), "alpha": (), "lokr_w1": (3, 2), "lokr_w2": (2, 2)}
SHAPES |= {"dora_scale": (OUT, 1), "diff_b": (OUT,)}
# The other tensors that a file with this tensor has.
BESIDE = {"up": ("down",), "down": ("up",), "alpha": ("up", "down"), "lokr_w1": ("lokr_w2",), "lokr_w2": ("lokr_w1",)}
BESIDE |= {"dora_scale": ("lokr_w1", "lokr_w2"), "diff_b": ("up", "down")}


def patterns(target, kind: str) -> list[str]:
    return getattr(target, f"possible_{kind}_patterns", [])


def output(target, weights: dict, folder: Path) -> mx.array:
    mx.random.seed(0)
    layer = nn.Linear(INNER, OUT)
    module = nn.Module()
    module.layer = layer
    path = folder / "lora.safetensors"
    mx.save_safetensors(str(path), weights)
    with contextlib.redirect_stdout(io.StringIO()):
        LoRALoader.load_and_apply_lora([target], module, [str(path)], [1.0])
    return module.layer(mx.arange(INNER, dtype=mx.float32) + 1)


def unused(target, folder: Path) -> list[str]:
    found = []
    for kind, beside in BESIDE.items():
        for pattern in patterns(target, kind):
            # The other tensors use the same convention, as in a real file.
            place = patterns(target, kind).index(pattern)
            others = {patterns(target, other)[place % len(patterns(target, other))]: other for other in beside}
            made = {name: 3 + mx.random.normal(SHAPES[other]) for name, other in others.items()}
            try:
                before = output(target, made, folder)
            except ValueError:
                before = None  # half of a pair: mflux refuses it
            after = output(target, made | {pattern: 5 + mx.random.normal(SHAPES[kind])}, folder)
            if before is not None and mx.allclose(before, after, atol=1e-3).item():
                found.append(pattern)
    return found


if __name__ == "__main__":
    model, name = sys.argv[1:]
    mapping = getattr(
        importlib.import_module(f"mflux.models.{model}.weights.{model}_lora_mapping"), f"{name}LoRAMapping"
    )
    with tempfile.TemporaryDirectory() as scratch:
        left = unused(mapping._target("layer"), Path(scratch))
    print("\n".join(left) or "all are used")
