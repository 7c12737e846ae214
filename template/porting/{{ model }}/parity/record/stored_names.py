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
    stored = stored_names(source)
    for path in sorted(target.glob("*.safetensors")):
        header, rest = _parts(path)
        names = [name for name in header if name != "__metadata__"]
        changes = _renamed(names, stored) if stored else _prefixed(names, PREFIXES.get(kind, ""))
        if not changes:
            continue
        data = json.dumps({changes.get(name, name): entry for name, entry in header.items()}).encode()
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


def _prefixed(names: list[str], prefix: str) -> dict[str, str]:
    return {} if any(name.startswith(prefix) for name in names) else {name: prefix + name for name in names}


def _renamed(names: list[str], stored: set[str]) -> dict[str, str]:
    """The names that the files have for those of ``names`` that they lack: with another prefix, if one is found."""
    by_tail = _by_tail(stored)
    missing = [name for name in names if name not in stored]
    pairs = Counter(pair for name in missing for pair in _prefixes(name, by_tail))
    changes = {}
    for name in missing:
        fitting = (new + name[len(old) :] for (old, new), _ in pairs.most_common() if name.startswith(old))
        found = next((other for other in fitting if other in stored), None)
        changes |= {name: found} if found else {}
    taken = set(changes.values())
    return changes if len(taken) == len(changes) and not taken & set(names) else {}


def _by_tail(stored: set[str]) -> dict[str, list[str]]:
    """The stored names, indexed by each of their suffixes that start at a dot."""
    found: dict[str, list[str]] = {}
    for name in stored:
        parts = name.split(".")
        for start in range(len(parts)):
            found.setdefault(".".join(parts[start:]), []).append(name)
    return found


def _prefixes(name: str, by_tail: dict[str, list[str]]) -> list[tuple[str, str]]:
    """A name's prefix, and the stored prefix before the longest ending that exactly one stored name shares with it."""
    parts = name.split(".")
    for start in range(len(parts)):
        tail = ".".join(parts[start:])
        if len(by_tail.get(tail, ())) == 1:
            return [(name.removesuffix(tail), by_tail[tail][0].removesuffix(tail))]
    return []


def _header(path: Path) -> dict:
    # A real model's file may be larger than memory.
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        return json_object(file.read(length), "the header")


def _parts(path: Path) -> tuple[dict, bytes]:
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    return json_object(data[8 : 8 + length], "the header"), data[8 + length :]
