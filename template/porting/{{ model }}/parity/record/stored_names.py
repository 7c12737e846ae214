"""Give the tensors in a twin's files the reference's names: a library may write other names than it reads."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from parity.record.components import read_json
from parity.record.recording_schema import json_object

PREFIXES = {"CLIPTextModel": "text_model."}  # if the reference's files are not there; transformers 5 writes none


def write_stored_names(source: Path, target: Path, kind: str) -> None:
    """Give the tensors in ``target``'s weight files the names of ``source``, or the names known for such files."""
    for path in sorted(target.glob("*.safetensors")):
        header, rest = _parts(path)
        names = [name for name in header if name != "__metadata__"]
        stored = stored_names(source)
        prefix = _prefix(names, stored) if stored else PREFIXES.get(kind, "")
        if not prefix or any(name.startswith(prefix) for name in names):
            continue
        renamed = {name if name == "__metadata__" else prefix + name: entry for name, entry in header.items()}
        data = json.dumps(renamed).encode()
        data += b" " * (-len(data) % 8)
        path.write_bytes(len(data).to_bytes(8, "little") + data + rest)


def write_index(folder: Path) -> None:
    """Write the index of a sharded checkpoint (tensor to file): some loaders read only that."""
    paths = sorted(folder.glob("*.safetensors"))
    table = {name: path.name for path in paths for name in _header(path) if name != "__metadata__"}
    for path in paths[:1]:
        size = sum(one.stat().st_size for one in paths)
        index = {"metadata": {"total_size": size}, "weight_map": table}
        path.with_name(f"{path.name}.index.json").write_text(json.dumps(index, indent=1), encoding="utf-8")


def stored_names(source: Path) -> set[str]:
    """The names of a component's tensors, from its index or its files' headers; empty when only the config is there."""
    for path in sorted(source.glob("*.safetensors.index.json")):
        table = read_json(path).get("weight_map")
        if isinstance(table, dict):
            return set(table)
    return {name for path in source.glob("*.safetensors") for name in _header(path)}


def _prefix(names: list[str], stored: set[str]) -> str:
    """The prefix that most of ``names`` have in the files; empty when there is none."""
    found: Counter[str] = Counter()
    for name in names:
        found.update(other.removesuffix(name) for other in stored if other.endswith(f".{name}") or other == name)
    prefix, count = found.most_common(1)[0] if found else ("", 0)
    return prefix if 2 * count > len(names) else ""


def _header(path: Path) -> dict:
    # A real model's file may be larger than memory.
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        return json_object(file.read(length), "the header")


def _parts(path: Path) -> tuple[dict, bytes]:
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    return json_object(data[8 : 8 + length], "the header"), data[8 + length :]
