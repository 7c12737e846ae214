"""Inference steps per model, and (until mflux 0.18) the list of known names."""

from __future__ import annotations

import json

from mflux_port.port.port import Port
from mflux_port.wiring.block import Block
from mflux_port.wiring.literals import entries, entry_blocks, find_table, require_table
from mflux_port.wiring.source import Source

ID = "defaults"
FILE = "src/mflux/cli/defaults/defaults.py"
REQUIRED = True


def not_applicable(port: Port) -> str | None:
    return None


def blocks(source: Source, port: Port) -> list[Block]:
    choices = find_table(source, "MODEL_CHOICES")
    steps = require_table(source, "MODEL_INFERENCE_STEPS")
    if choices is None:  # mflux 0.19 and later: names come from the registry, steps by canonical key
        return entry_blocks(source, steps, {c.key: f"{json.dumps(c.key)}: {c.steps}" for c in port.checkpoints})
    names = {name: checkpoint.steps for checkpoint in port.checkpoints for name in checkpoint.aliases}
    listed = entry_blocks(source, choices, {name: json.dumps(name) for name in names})
    return [
        *(block._replace(name=f"choice {block.name}") for block in listed),
        *entry_blocks(source, steps, {name: f"{json.dumps(name)}: {count}" for name, count in names.items()}),
    ]


def read_back(source: Source, port: Port, wired: bool) -> str | None:
    choices = find_table(source, "MODEL_CHOICES")
    listed = entries(source, require_table(source, "MODEL_INFERENCE_STEPS"))
    for checkpoint in port.checkpoints:
        for name in (checkpoint.key,) if choices is None else checkpoint.aliases:
            found = [getattr(value, "value", None) for key, value in listed if key == name]
            if found != ([checkpoint.steps] if wired else []):
                return f"{name} would have the steps {found}"
            if choices is not None and [key for key, _ in entries(source, choices)].count(name) != wired:
                return f"{name} would not be listed once in MODEL_CHOICES"
    return None
