"""Find patterns that a LoRA mapping lacks, for keys that spell a layer's name differently."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from dataclasses import dataclass

from mflux_port.checkpoint.headers import Tensor
from mflux_port.ledger.lora_keys import LoraKey


@dataclass(frozen=True)
class Alias:
    """A path to add, with ``endings``. ``layers``: the one layer that it names, or the candidates if not ``sure``."""

    path: str
    endings: tuple[str, ...]
    layers: tuple[str, ...]
    sure: bool

    def __str__(self) -> str:
        if not self.layers:
            return f"{self.path}: no layer of this shape"
        keys = f"{self.path}{{{','.join(self.endings)}}}"
        return f"{keys} -> {self.layers[0]}" if self.sure else f"{keys}: one of {', '.join(self.layers)}?"


def find_aliases(keys: list[LoraKey], tensors: dict[str, Tensor], transformer) -> list[Alias]:
    """One alias for each layer path of the unmatched keys; paths that differ only in block numbers are one."""
    linears = {
        path: tuple(layer.weight.shape)
        for path, layer in transformer.named_modules()
        if path and getattr(layer.get("weight"), "ndim", 0) == 2
    }
    spelt = {path.replace(".", "_"): path for path in linears}
    families = Counter(map(_open, linears))
    found: dict[str, Alias] = {}
    for (prefix, path), members in _by_layer(keys).items():
        exact = path if path in linears else spelt.get(path.replace(".", "_"))
        shape = _shape(members, tensors)
        layers = (exact,) if exact else _candidates(path, shape, linears)
        blocks = any(families[_open(layer)] > 1 for layer in layers)
        names = tuple(dict.fromkeys(map(_open, layers))) if blocks else tuple(layers)
        endings = tuple(sorted({key.ending for key in members}))
        alias = Alias(_open(prefix + path) if blocks else prefix + path, endings, names, bool(exact))
        found.setdefault(alias.path, alias)
    return list(found.values())


def _by_layer(keys: list[LoraKey]) -> dict[tuple[str, str], list[LoraKey]]:
    layers: dict[tuple[str, str], list[LoraKey]] = {}
    for key in keys:
        if key.matrix:
            layers.setdefault((key.prefix, key.path), []).append(key)
    return layers


def _shape(members: list[LoraKey], tensors: dict[str, Tensor]) -> tuple[int | None, int | None]:
    shapes = {key.matrix: tensors[key.name].shape for key in members}
    up, down = shapes.get("up", ()), shapes.get("down", ())
    return (up[0] if len(up) == 2 else None, down[1] if len(down) == 2 else None)


def _candidates(
    path: str, shape: tuple[int | None, int | None], linears: dict[str, tuple[int, ...]]
) -> tuple[str, ...]:
    # Candidates are layers of the same block and shape; a fused projection has three times the outputs of one layer.
    outputs, inputs = shape
    number = re.search(r"\d+", path)
    fitting = [
        name
        for name, (rows, columns) in linears.items()
        if inputs in (None, columns) and outputs in (None, rows, 3 * rows)
        if number is None or re.search(rf"(^|\D){number[0]}(\D|$)", name)
    ]
    fused = [name for name in fitting if outputs == 3 * linears[name][0]]
    if re.search("qkv", path) and fused:
        return tuple(name for name in fused if re.search(r"(to_|\b)[qkv](_proj)?$", name))
    plain = [name for name in fitting if outputs is None or outputs == linears[name][0]]
    spelling = path.replace(".", "_")
    return tuple(difflib.get_close_matches(spelling, plain, n=3, cutoff=0.4)) or tuple(sorted(plain)[:3])


def _open(path: str) -> str:
    return re.sub(r"(?<![A-Za-z0-9])\d+(?![A-Za-z0-9])", "{block}", path, count=1)
