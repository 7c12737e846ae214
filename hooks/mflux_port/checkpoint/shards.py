"""Which safetensors files of a folder are its weights: one file, shards with or without an index, variants beside."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from mflux_port.checkpoint.headers import Tensor
from mflux_port.errors import PortError

# What diffusers and transformers themselves write; others lie beside these in some repos.
_CANONICAL = ("diffusion_pytorch_model", "model")
_NAME = re.compile(
    r"(?P<base>.+?)(?:[.](?P<variant>fp16|bf16|fp32|fp8|non_ema|ema))?"
    r"(?:-(?P<number>\d{5})-of-(?P<count>\d{5}))?[.]safetensors"
)


@dataclass
class WeightSet:
    """The files of one component's weights. ``others`` are weight files in the same folder that do not belong to it."""

    folder: str
    names: list[str]
    variant: str
    index: str
    others: list[str]
    bytes: int
    read_header: Callable[[str], dict[str, Tensor]]
    weight_map: dict[str, str] = field(default_factory=dict)

    def read(self) -> dict[str, Tensor]:
        """Every tensor by name. Raises PortError when shards repeat a tensor, or lack one that the index lists."""
        found: dict[str, Tensor] = {}
        shard_of: dict[str, str] = {}
        for name in self.names:
            header = self.read_header(name)
            repeated = next((tensor for tensor in header if tensor in found), None)
            if repeated:
                raise PortError(
                    f"{name} and {shard_of[repeated]} both hold tensor {repeated!r}; keep one checkpoint in the folder"
                )
            found.update(header)
            shard_of.update(dict.fromkeys(header, name))
        folder = f"{self.folder}/" if self.folder else ""
        for tensor, shard in self.weight_map.items():
            if shard_of.get(tensor) != f"{folder}{shard}":
                raise PortError(
                    f"{self.index} says that {shard} holds {tensor!r}, and it does not; download both again"
                )
        return found


def choose_weights(source, folder: str) -> WeightSet:
    """The weights that the reference would load from ``folder``: the canonical name without a variant, if there is one."""
    prefix = f"{folder}/" if folder else ""
    here = sorted(
        name
        for name in source.files
        if name.endswith(".safetensors") and str(PurePosixPath(name).parent) == (folder or ".")
    )
    groups: dict[tuple[str, str, bool], list[str]] = {}
    for name in here:
        match = _NAME.fullmatch(PurePosixPath(name).name)
        if match and not PurePosixPath(name).name.startswith("._"):
            key = (match["base"], match["variant"] or "", match["number"] is not None)
            groups.setdefault(key, []).append(name)
    base, variant, sharded = key = _choose(groups, source.path(folder))
    index = _index_name(source.files, prefix, base, variant) if sharded else ""
    weight_map = _read_index(source, index, prefix) if index else {}
    names = sorted({f"{prefix}{shard}" for shard in weight_map.values()}) if index else groups[key]
    if sharded and not index:
        _verify_complete(names, source.path(folder))
    others = [name for name in here if name not in names]
    size = sum(source.files[name] for name in names)
    return WeightSet(folder, names, variant, index, others, size, source.header, weight_map)


def _choose(groups: dict[tuple[str, str, bool], list[str]], where: object) -> tuple[str, str, bool]:
    canonical = [key for key in groups if key[0] in _CANONICAL] or list(groups)
    bases = {key[0] for key in canonical}
    if len(bases) > 1:
        raise PortError(
            f"{where} holds several checkpoints ({', '.join(sorted(bases))}); keep one, or point to its file"
        )
    # Without a variant before with one; bf16 before fp16 before the rest; shards before a single copy of them.
    order = {"": 0, "bf16": 1, "fp16": 2}
    return min(canonical, key=lambda key: (order.get(key[1], 3), not key[2]))


def _index_name(files: dict[str, int], prefix: str, base: str, variant: str) -> str:
    part = f".{variant}" if variant else ""
    # diffusers writes the variant before `.json`, transformers before `.safetensors`.
    names = (f"{prefix}{base}.safetensors.index{part}.json", f"{prefix}{base}{part}.safetensors.index.json")
    return next((name for name in names if name in files), "")


def _read_index(source, index: str, prefix: str) -> dict[str, str]:
    where = source.path(index)
    try:
        weight_map = json.loads(source.read(index).decode("utf-8"))["weight_map"]
        sound = isinstance(weight_map, dict) and all(isinstance(shard, str) for shard in weight_map.values())
    except (ValueError, KeyError, TypeError, RecursionError):
        sound = False
    if not sound or not weight_map:
        raise PortError(f"{where} is not a JSON object with a weight_map of file names; download it again")
    for shard in sorted(set(weight_map.values())):
        if PurePosixPath(shard).name != shard or "\\" in shard or not shard.endswith(".safetensors"):
            raise PortError(
                f"{where} names {shard!r}, which is not a safetensors file in its folder; do not use this checkpoint"
            )
        if f"{prefix}{shard}" not in source.files:
            raise PortError(f"{where} names {shard}, which is missing; download the rest of the checkpoint")
    return weight_map


def _verify_complete(names: list[str], where: object) -> None:
    matches = [_NAME.fullmatch(PurePosixPath(name).name) for name in names]
    count = int(matches[0]["count"])
    numbers = {int(match["number"]) for match in matches}
    missing = sorted(set(range(1, count + 1)) - numbers)
    if missing or any(int(match["count"]) != count for match in matches):
        raise PortError(
            f"{where} lacks shard {missing[0] if missing else '?'} of {count}; download the rest of the checkpoint"
        )
