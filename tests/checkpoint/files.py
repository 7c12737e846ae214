"""Safetensors files without data, written by hand: a header, then a hole in the file."""

from __future__ import annotations

import json
import os
import struct
from math import prod
from pathlib import Path

from mflux_port.checkpoint.headers import DTYPE_BITS

WIDTHS = {"BF16": 2, "F32": 4, "F16": 2, "I64": 8}


def write_header(path: Path, tensors: dict, dtype: str = "BF16") -> Path:
    """A safetensors file with ``tensors`` (name: shape); its data is a hole."""
    header, end = {}, 0
    for name, shape in tensors.items():
        size = WIDTHS[dtype] * prod(shape)
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [end, end + size]}
        end += size
    return write_raw(path, json.dumps(header).encode(), end)


def write_raw(path: Path, header: bytes, data: int = 0, claim: int | None = None) -> Path:
    """A file with any header, a claimed length and a hole of ``data`` bytes after it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack("<Q", len(header) if claim is None else claim) + header)
    os.truncate(path, 8 + len(header) + data)
    return path


def write_sharded(folder: Path, tensors: dict, count: int, base: str, index: bool = True) -> list[Path]:
    """``tensors`` in ``count`` shards, with or without the index."""
    names, paths, weight_map = list(tensors), [], {}
    for number in range(count):
        part = names[number * len(names) // count : (number + 1) * len(names) // count]
        path = folder / f"{base}-{number + 1:05d}-of-{count:05d}.safetensors"
        paths.append(write_header(path, {name: tensors[name] for name in part}))
        weight_map |= dict.fromkeys(part, path.name)
    if index:
        text = json.dumps({"metadata": {"total_size": 0}, "weight_map": weight_map})
        (folder / f"{base}.safetensors.index.json").write_text(text)
    return paths


TRANSFORMER = {
    "x_embedder.weight": (64, 16),
    "x_embedder.bias": (64,),
    **{f"transformer_blocks.{block}.attn.to_q.weight": (64, 64) for block in range(4)},
    "proj_out.weight": (16, 64),
}


def write_typed(path: Path, tensors: dict, metadata: dict | None = None) -> Path:
    """A safetensors file with ``tensors`` (name: (type, shape)) and the header's metadata; its data is a hole."""
    header, end = {"__metadata__": metadata} if metadata else {}, 0
    for name, (dtype, shape) in tensors.items():
        size = (DTYPE_BITS[dtype] * prod(shape) + 7) // 8
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [end, end + size]}
        end += size
    return write_raw(path, json.dumps(header).encode(), end)
