"""Run inside an environment with diffusers: adds full-size headers of its networks to a folder of configs."""

import json
import os
import struct
import sys
from pathlib import Path

import diffusers
import torch
import transformers

# Prefixes that repos have before the class's current names.
PREFIXES = {"CLIPTextModel": "text_model."}


def tensors_of(folder: Path, library: str, kind: str) -> dict[str, list[int]]:
    config = json.loads((folder / "config.json").read_text())
    with torch.device("meta"):
        if library == "diffusers":
            module = getattr(diffusers, kind).from_config(config)
        else:
            plain = {key: value for key, value in config.items() if key != "model_type"}
            module = getattr(transformers, kind)(transformers.AutoConfig.for_model(config["model_type"], **plain))
    first: dict[int, str] = {}
    for name, tensor in module.state_dict(keep_vars=True).items():
        first.setdefault(id(tensor), name)
    shapes = {name: list(tensor.shape) for name, tensor in module.state_dict().items()}
    prefix = PREFIXES.get(kind, "")
    return {name if name.startswith(prefix) else prefix + name: shapes[name] for name in first.values()}


def write_header(path: Path, tensors: dict[str, list[int]]) -> None:
    header, end = {}, 0
    for name, shape in tensors.items():
        size = 2 * torch.Size(shape).numel()
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    raw = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(raw)) + raw)
    os.truncate(path, 8 + len(raw) + end)


def main(root: Path) -> None:
    for name, entry in json.loads((root / "model_index.json").read_text()).items():
        if isinstance(entry, list) and (root / name / "config.json").is_file():
            stem = "diffusion_pytorch_model" if entry[0] == "diffusers" else "model"
            write_header(root / name / f"{stem}.safetensors", tensors_of(root / name, *entry))
        elif isinstance(entry, list) and "tokenizer" in name:
            (root / name / "tokenizer.json").write_text("{}")


main(Path(sys.argv[1]))
