"""``porting/<model>/lora_modules.json``: the modules that a LoRA of the port trains, as a draft found them.

Each path (``{block}`` stands for a number) has its number of blocks, or null without one. A port without the file has
the modules that the template renders.
"""

from __future__ import annotations

import json
from pathlib import Path

from mflux_port.checkout.tree import read_bytes
from mflux_port.errors import PortError
from mflux_port.files.parsing import parse_json

LORA_MODULES = "porting/{model}/lora_modules.json"
_MOST_BLOCKS = 10_000

LoraModules = tuple[tuple[str, int | None], ...]


def read_lora_modules(checkout: Path, model: str) -> LoraModules:
    """The paths and their numbers of blocks, in the file's order; empty without a file. Raises PortError."""
    path = checkout / LORA_MODULES.format(model=model)
    data = read_bytes(path)
    if data is None:
        return ()
    try:
        modules = parse_json(data)
    except ValueError:
        modules = None
    if not isinstance(modules, dict) or not all(_is_count(name, count) for name, count in modules.items()):
        raise PortError(
            f"{path} is not a table of modules with their numbers of blocks; delete it and run `mflux-port draft` again"
        )
    return tuple(modules.items())


def lora_modules_text(modules: dict[str, int | None]) -> str:
    """The file's text for the modules of a draft."""
    return json.dumps(modules, indent=1) + "\n"


def _is_count(name: str, count: object) -> bool:
    if "{block}" not in name:
        return count is None
    return type(count) is int and 0 < count <= _MOST_BLOCKS
