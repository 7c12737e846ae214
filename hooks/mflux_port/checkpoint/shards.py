"""Find the safetensors files that diffusers or transformers would load from a folder.

diffusers takes the files that its index names, or the single file if there is no index; transformers takes the single
file first. Files under names that neither library writes are read only if there are no others: by an index, as shards,
or one file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from mflux_port.checkpoint.headers import Header
from mflux_port.errors import PortError, short_repr

# The file names of each library, and whether its index comes before its single file.
_LOADERS = {"diffusers": ("diffusion_pytorch_model", True), "transformers": ("model", False)}
_VARIANTS = ("", "bf16", "fp16", "fp32", "fp8", "non_ema", "ema")  # file names in the order of preference
_SHARD = re.compile(r"(?P<base>.+?)[-_.](?P<number>\d{1,6})-of-(?P<count>\d{1,6})(?P<rest>[.]\w+)?[.]safetensors")
_PART = re.compile(r"(?P<base>|.+?[-_.](?:part[-_.]?)?)(?P<number>\d{1,6})[.]safetensors")
_VARIANT = re.compile(r"(?P<base>.+?)[.](?P<variant>bf16|fp16|fp32|fp8|non_ema|ema)$")


@dataclass
class WeightSet:
    """The files of one component's weights. ``others`` are weight files in the same folder that do not belong to it."""

    folder: str
    names: list[str]
    variant: str
    index: str
    others: list[str]
    bytes: int
    read_header: Callable[[str], Header]
    weight_map: dict[str, str] = field(default_factory=dict)

    def read(self) -> Header:
        """Every tensor by name.

        Raises PortError when there is none, when shards repeat one or lack one of the index.
        """
        found = Header()
        shard_of: dict[str, str] = {}
        for name in self.names:
            header = self.read_header(name)
            repeated = next((tensor for tensor in header if tensor in found), None)
            if repeated:
                raise PortError(
                    f"{name} and {shard_of[repeated]} both hold tensor {repeated!r}; keep one checkpoint in the folder"
                )
            found.update(header)
            found.metadata |= header.metadata
            shard_of.update(dict.fromkeys(header, name))
        if not found:
            raise PortError(f"{', '.join(self.names)} holds no tensor; download the checkpoint again")
        folder = f"{self.folder}/" if self.folder else ""
        for tensor, shard in self.weight_map.items():
            if shard_of.get(tensor) != f"{folder}{shard}":
                raise PortError(
                    f"{self.index} says that {shard} holds {tensor!r}, and it does not; download both again"
                )
        return found


@dataclass
class _Choice:
    """``index`` is empty for files that no index names."""

    names: list[str]
    variant: str = ""
    index: str = ""


def choose_weights(source, folder: str, library: str = "", config: dict | None = None) -> WeightSet:
    """The weights that ``library`` would load from ``folder``. Raises PortError when it has several checkpoints."""
    prefix = f"{folder}/" if folder else ""
    here = {PurePosixPath(name).name for name in source.files if str(PurePosixPath(name).parent) == (folder or ".")}
    here = {name for name in here if not name.startswith("._")}
    choice = (
        _named_by_config(here, config or {}) or _by_loader(here, library) or _by_any_index(here, source.path(folder))
    )
    choice = choice or _without_index(here, source.path(folder))
    weight_map = _read_index(source, f"{prefix}{choice.index}", prefix) if choice.index else {}
    names = sorted(f"{prefix}{name}" for name in (set(weight_map.values()) or choice.names))
    others = sorted(
        f"{prefix}{name}" for name in here if name.endswith(".safetensors") and f"{prefix}{name}" not in names
    )
    size = sum(source.files[name] for name in names)
    index = f"{prefix}{choice.index}" if choice.index else ""
    return WeightSet(folder, names, choice.variant, index, others, size, source.header, weight_map)


def _named_by_config(here: set[str], config: dict) -> _Choice | None:
    # transformers lets a config name the file.
    name = config.get("transformers_weights")
    if not isinstance(name, str) or name not in here:
        return None
    return _Choice([], index=name) if name.endswith(".json") else _Choice([name])


def _by_loader(here: set[str], library: str) -> _Choice | None:
    order = [library] if library in _LOADERS else []
    order += [name for name in _LOADERS if name not in order]
    for name in order:
        base, index_first = _LOADERS[name]
        for variant in _VARIANTS:
            indexes = [_Choice([], variant, index) for index in _index_names(base, variant) if index in here]
            single = _file_name(base, variant)
            singles = [_Choice([single], variant)] if single in here else []
            found = [*indexes, *singles] if index_first else [*singles, *indexes]
            if found:
                return found[0]
    return None


def _file_name(base: str, variant: str) -> str:
    return f"{base}.{variant}.safetensors" if variant else f"{base}.safetensors"


def _index_names(base: str, variant: str) -> tuple[str, ...]:
    # The name that both libraries write, the one that diffusers used to write, and one that some repos use.
    if not variant:
        return (f"{base}.safetensors.index.json",)
    parts = ("safetensors.index.{}.json", "safetensors.{}.index.json", "{}.safetensors.index.json")
    return tuple(f"{base}.{part.format(variant)}" for part in parts)


def _by_any_index(here: set[str], where: object) -> _Choice | None:
    indexes = sorted(name for name in here if name.endswith(".json") and ".safetensors." in name and ".index" in name)
    if len(indexes) > 1:
        raise PortError(f"{where} holds several checkpoints ({', '.join(indexes)}); keep one index")
    return _Choice([], index=indexes[0]) if indexes else None


def _without_index(here: set[str], where: object) -> _Choice:
    files = sorted(name for name in here if name.endswith(".safetensors"))
    if parts := _numbered_parts(files):
        return _Choice(parts)
    groups: dict[tuple[str, str, bool], list[str]] = {}
    for name in files:
        groups.setdefault(_group(name), []).append(name)
    bases = sorted({base for base, _, _ in groups})
    if len(bases) > 1:
        raise PortError(f"{where} holds several checkpoints ({', '.join(bases)}); keep one, or point to its file")
    # Files without a variant come first; shards come before a single file.
    key = min(groups, key=lambda key: (_VARIANTS.index(key[1]), not key[2]))
    if key[2]:
        _verify_complete(groups[key], where)
    return _Choice(groups[key], key[1])


def _numbered_parts(files: list[str]) -> list[str]:
    # `0.safetensors`, `model_part_1.safetensors`: these are parts only if no number is missing.
    parts = [part for name in files if (part := _PART.fullmatch(name))]
    numbers = sorted(int(part["number"]) for part in parts)
    one_base = len(parts) == len(files) > 1 and len({part["base"] for part in parts}) == 1
    return files if one_base and numbers in (list(range(len(files))), list(range(1, len(files) + 1))) else []


def _group(name: str) -> tuple[str, str, bool]:
    """The base name of a file, its variant, and whether it is a shard."""
    shard = _SHARD.fullmatch(name)
    base = f"{shard['base']}{shard['rest'] or ''}" if shard else name.removesuffix(".safetensors")
    variant = _VARIANT.fullmatch(base)
    return (variant["base"], variant["variant"], bool(shard)) if variant else (base, "", bool(shard))


def _verify_complete(names: list[str], where: object) -> None:
    shards = [_SHARD.fullmatch(name) for name in names]
    counts = {int(shard["count"]) for shard in shards}
    missing = sorted(set(range(1, max(counts) + 1)) - {int(shard["number"]) for shard in shards})
    if missing or len(counts) > 1:
        first = missing[0] if missing else "?"
        raise PortError(f"{where} lacks shard {first} of {max(counts)}; download the rest of the checkpoint")


def _read_index(source, index: str, prefix: str) -> dict[str, str]:
    where = source.path(index)
    weight_map = _weight_map(source, index)
    for shard in sorted(set(weight_map.values())):
        if PurePosixPath(shard).name != shard or "\\" in shard or not shard.endswith(".safetensors"):
            raise PortError(
                f"{where} names {short_repr(shard)}, which is not a safetensors file in its folder; do not use this checkpoint"
            )
    missing = sorted(shard for shard in set(weight_map.values()) if f"{prefix}{shard}" not in source.files)
    if missing:
        shown = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
        verb = "is" if len(missing) == 1 else "are"
        raise PortError(f"{where} names {shown}, which {verb} missing; download the rest of the checkpoint")
    return weight_map


def _weight_map(source, index: str) -> dict[str, str]:
    try:
        weight_map = json.loads(source.read(index).decode("utf-8"))["weight_map"]
        if isinstance(weight_map, dict) and weight_map and all(isinstance(name, str) for name in weight_map.values()):
            return weight_map
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    raise PortError(f"{source.path(index)} is not a JSON object with a weight_map of file names; download it again")
